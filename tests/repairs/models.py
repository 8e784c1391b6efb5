"""Small broken models, each broken in one way (or two) that a repair has to find its way around."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import (
    CheckpointImpl,
    checkpoint_wrapper,
)
from torch.utils.checkpoint import checkpoint
from transformers import LlamaConfig, LlamaForCausalLM

WIDTH, VOCABULARY = 8, 16
Built = tuple[nn.Module, dict[str, Tensor]]


class Block(nn.Module):
    """A trainable layer."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(WIDTH, WIDTH)

    def forward(self, h: Tensor) -> Tensor:
        return h + torch.tanh(self.fc(h))


class Tower(nn.Module):
    """A frozen embedding before blocks that are checkpointed as transformers does it."""

    def __init__(self, *, reentrant: bool = True) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH).requires_grad_(False)
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(WIDTH, VOCABULARY)
        self.gradient_checkpointing = True
        self._gradient_checkpointing_func = partial(checkpoint, use_reentrant=reentrant)

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(block.__call__, *inputs)
        return block(*inputs)

    def encoded(self, ids: Tensor) -> Tensor:
        return self.embed(ids)

    def forward(self, ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        h = self.encoded(ids)
        for block in self.blocks:
            h = self.run(block, h)
        return {"loss": nn.functional.cross_entropy(self.head(h).flatten(0, 1), labels.flatten())}


class WithMethod(Tower):
    """Has the method that people know; its hook does what transformers' does."""

    def enable_input_require_grads(self) -> None:
        hook = self.embed.register_forward_hook(lambda _m, _i, output: output.requires_grad_(True))
        self._require_grads_hook = hook

    def disable_input_require_grads(self) -> None:
        self._require_grads_hook.remove()


class WritesInPlace(WithMethod):
    """Writes into the embedding's output: a leaf that requires a gradient must not be written."""

    def encoded(self, ids: Tensor) -> Tensor:
        h = self.embed(ids)
        h *= 2.0
        return h


class PairEmbedding(nn.Embedding):
    def forward(self, input: Tensor) -> tuple[Tensor, int]:  # noqa: A002 (torch's name)
        return super().forward(input), 3


class TupleEmbedding(WithMethod):
    """Its embedding returns a tuple, on which the known hook raises."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = PairEmbedding(VOCABULARY, WIDTH).requires_grad_(False)

    def encoded(self, ids: Tensor) -> Tensor:
        return self.embed(ids)[0]


class TwoTowers(WithMethod):
    """A second input through a convolution that the known hook does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv1d(2, WIDTH, 1).requires_grad_(False)
        self.vision = nn.ModuleList(Block() for _ in range(2))

    def forward(self, ids: Tensor, labels: Tensor, pixels: Tensor) -> dict[str, Tensor]:  # type: ignore[override]
        seen = self.patch(pixels).transpose(1, 2) * 0.5
        for block in self.vision:
            seen = self.run(block, seen)
        h = self.encoded(ids) + seen
        for block in self.blocks:
            h = self.run(block, h)
        return {"loss": nn.functional.cross_entropy(self.head(h).flatten(0, 1), labels.flatten())}


class ReadsWeight(WithMethod):
    """Reads the embedding's weight itself: no module to hook."""

    def encoded(self, ids: Tensor) -> Tensor:
        return nn.functional.embedding(ids, self.embed.weight)


class SharesState(WithMethod):
    """The blocks share a tensor through a dictionary that the reentrant checkpoint does not look into."""

    def forward(self, ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        h, shared = self.encoded(ids), {}
        for index, block in enumerate(self.blocks):
            h = self.run(Sharing(block, shared, index), h)
        return {"loss": nn.functional.cross_entropy(self.head(h).flatten(0, 1), labels.flatten())}


class Sharing:
    def __init__(self, block: nn.Module, shared: dict[str, Tensor], index: int) -> None:
        self.block, self.shared, self.index = block, shared, index

    def __call__(self, h: Tensor) -> Tensor:
        out = self.block(h)
        if self.index == 0:
            self.shared["first"] = out
        return out + self.shared["first"]

    @property
    def __self__(self) -> nn.Module:
        return self.block


class OwnFunction(ReadsWeight):
    """Holds the function that checkpoints under a name of its own, and no switch for it."""

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.remember_less = partial(checkpoint, use_reentrant=True, preserve_rng_state=False)

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        return self.remember_less(block.__call__, *inputs)


class Wrapped(ReadsWeight):
    """Its blocks are wrapped in torch.distributed's reentrant checkpoints."""

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        kind = CheckpointImpl.REENTRANT
        self.blocks = nn.ModuleList(
            checkpoint_wrapper(b, checkpoint_impl=kind) for b in self.blocks
        )


class TimmLike(SharesState):
    """Shares state between reentrant checkpoints called in its own source; the switch has another name."""

    def __init__(self) -> None:
        super().__init__()
        self.gradient_checkpointing = False
        self.grad_checkpointing = True

    def run(self, block: nn.Module, *inputs: Any) -> Any:
        if self.grad_checkpointing and self.training:
            return checkpoint(block, *inputs, use_reentrant=True)
        return block(*inputs)


class TurnsAway(WithMethod):
    """Cuts its first blocks off where the embedding's output requires a gradient."""

    def forward(self, ids: Tensor, labels: Tensor) -> dict[str, Tensor]:
        h = embedded = self.encoded(ids)
        for index, block in enumerate(self.blocks):
            h = self.run(block, h)
            if index == 1 and embedded.requires_grad:
                h = h.detach() + 0 * embedded
        return {"loss": nn.functional.cross_entropy(self.head(h).flatten(0, 1), labels.flatten())}


def hooked_and_written() -> Built:
    """The known hook is on already, and the code writes into the leaf that it makes."""
    model, batch = tower(WritesInPlace)
    model.enable_input_require_grads()  # type: ignore[operator]
    return model, batch


def tokens(seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, VOCABULARY, (2, 3), generator=generator)
    return {"ids": ids, "labels": ids.flip(1)}


def tower(kind: type[Tower]) -> Built:
    torch.manual_seed(0)
    batch = tokens()
    if kind is TwoTowers:
        batch["pixels"] = torch.ones(2, 2, 3)
    return kind().train(), batch


def llama(*, adapters: tuple[str, ...] = ("default",), reentrant: bool = False) -> PeftModel:
    """A tiny Llama with LoRA, whose B is not zero."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, bos_token_id=1, eos_token_id=2, pad_token_id=0,
    )  # fmt: skip
    lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = get_peft_model(LlamaForCausalLM(config), lora, adapter_name=adapters[0])
    for name in adapters[1:]:
        model.add_adapter(name, lora)
    if reentrant:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": True})
        base = model.get_base_model()
        if hasattr(base, "_require_grads_hook"):  # transformers 5 sets it of its own accord
            base.disable_input_require_grads()
    return model.train()


def llama_batch() -> dict[str, Tensor]:
    ids = tokens()["ids"]
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}


def reentrant_llama() -> Built:
    return llama(reentrant=True), llama_batch()


def frozen_and_reentrant() -> Built:
    model = llama(reentrant=True)
    model.requires_grad_(False)
    return model, llama_batch()


def disabled_and_reentrant() -> Built:
    model = llama(reentrant=True)
    model.base_model.disable_adapter_layers()
    return model, llama_batch()


def merged_and_reentrant() -> Built:
    model = llama(reentrant=True)
    model.merge_adapter()
    return model, llama_batch()


def wrapped_with_a_cache() -> Built:
    """The wrapped layers add to the cache for generation once more when they are run again."""
    model = llama()
    layers = model.get_base_model().model.layers
    kind = CheckpointImpl.REENTRANT
    for index, layer in enumerate(layers):
        layers[index] = checkpoint_wrapper(layer, checkpoint_impl=kind)
    return model, llama_batch()


def fed_by_embeddings() -> Built:
    model = llama(reentrant=True)
    batch = llama_batch()
    embedded = model.get_input_embeddings()(batch.pop("input_ids")).detach()
    return model, {**batch, "inputs_embeds": embedded}


def no_adapter_and_reentrant() -> Built:
    model = llama(reentrant=True).unload()
    return model.requires_grad_(False), llama_batch()


class Case(NamedTuple):
    """A broken model and the repairs that must stand in the end, in their order."""

    build: Callable[[], Built]
    verified: tuple[str, ...]
    rejected: tuple[str, ...] = ()


ENABLE, HOOK, ANCHOR = "enable-input-require-grads", "hook-entries", "anchor-checkpoints"
NON_REENTRANT = "use-non-reentrant-checkpointing"
CASES = {
    "method": Case(partial(tower, WithMethod), (ENABLE,)),
    "no method": Case(partial(tower, Tower), (HOOK,), (ENABLE,)),
    "writes in place": Case(partial(tower, WritesInPlace), (HOOK,), (ENABLE,)),
    "tuple": Case(partial(tower, TupleEmbedding), (HOOK,), (ENABLE,)),
    "two towers": Case(partial(tower, TwoTowers), (ENABLE, HOOK)),
    "no module": Case(partial(tower, ReadsWeight), (NON_REENTRANT,), (ENABLE,)),
    "shared state": Case(partial(tower, SharesState), (NON_REENTRANT,), (ENABLE,)),
    "own function": Case(partial(tower, OwnFunction), (NON_REENTRANT,), (ENABLE,)),
    "wrapped": Case(partial(tower, Wrapped), (NON_REENTRANT,), (ENABLE,)),
    "timm-like": Case(partial(tower, TimmLike), ("checkpointing-off",), (ENABLE, NON_REENTRANT)),
    "turns away": Case(partial(tower, TurnsAway), (NON_REENTRANT,), (ENABLE, HOOK)),
    "cache": Case(wrapped_with_a_cache, (ENABLE, "no-cache")),
    "hooked and written": Case(hooked_and_written, ("clone-outputs",)),
    "llama": Case(reentrant_llama, (ENABLE,)),
    "frozen and reentrant": Case(frozen_and_reentrant, ("make-adapters-trainable", ENABLE)),
    "disabled and reentrant": Case(disabled_and_reentrant, ("enable-adapters", ENABLE)),
    "merged and reentrant": Case(merged_and_reentrant, ("unmerge", ENABLE)),
    "inputs_embeds": Case(fed_by_embeddings, (HOOK,), (ENABLE,)),
    "no adapter and reentrant": Case(no_adapter_and_reentrant, ("attach-adapter",)),
}
