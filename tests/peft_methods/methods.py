"""Every method of PEFT, each configured for a tiny model."""

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import peft
import torch
from torch import Tensor

from tests.peft_methods.bases import HIDDEN, NUM_TOKENS, VOCABULARY, base, folder

LINEAR = ("q_proj", "v_proj", "down_proj")
"""What an adapter on linear layers is put on: square, narrowing and wide ones."""
SQUARE = ("q_proj", "o_proj")
TOKENS = (3, 4, 5)
"""Ids that stand in every row of the batch."""
PROMPT = {"num_virtual_tokens": 3}
ALL, UNPACKED, FLOAT32 = ("float32", "8bit", "4bit"), ("float32", "8bit"), ("float32",)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to configure PEFT."""

    config: Callable[[], Any]
    """A new configuration: PEFT writes into the one that it is given."""
    runs_on: tuple[str, ...] = ALL
    """The quantizations on which PEFT builds it and a step runs."""
    architecture: str = "llama"
    attach: Callable[[Any, Any], Any] = peft.get_peft_model
    inputs: Mapping[str, Tensor] = field(default_factory=dict)
    """What its batch holds besides tokens and labels."""
    needs: str = ""
    """A package that PEFT asks for."""

    @property
    def lacking(self) -> str:
        """Why it cannot be built here, if so: a package is missing, or this PEFT does not know it."""
        if self.needs and importlib.util.find_spec(self.needs) is None:
            return f"PEFT needs {self.needs} for it"
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.config()
        except (AttributeError, ImportError, TypeError):
            return "this version of PEFT does not know it"
        return ""


def built(method: Method, quantization: str) -> Any:
    torch.manual_seed(0)
    return method.attach(base(method.architecture, quantization), method.config()).train()


def batch(method: Method) -> dict[str, Tensor]:
    ids = torch.randint(
        6, VOCABULARY - len(TOKENS), (2, NUM_TOKENS), generator=torch.Generator().manual_seed(1)
    )
    ids[:, 2 : 2 + len(TOKENS)] = torch.tensor(TOKENS)
    rows = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids.clone()}
    return {**rows, **method.inputs}


def of(kind: str, **options: Any) -> Callable[[], Any]:
    return lambda: getattr(peft, kind)(task_type="CAUSAL_LM", **options)


def on(kind: str, targets: tuple[str, ...] = LINEAR, **options: Any) -> Callable[[], Any]:
    return of(kind, target_modules=list(targets), **options)


def lora(*targets: str, **options: Any) -> Callable[[], Any]:
    return on("LoraConfig", targets or LINEAR, r=4, **options)


def block_diagonal() -> Any:
    from peft.tuners.lora import BdLoraConfig

    blocks = BdLoraConfig(target_modules_bd_a=["q_proj"], target_modules_bd_b=["v_proj"], nblocks=2)
    return lora("q_proj", "v_proj", use_bdlora=blocks)()


def mixed(model: Any, config: Any) -> Any:
    """X-LoRA mixes adapters that were saved before; PEFT 0.21 knows them by their number only."""
    expert = on("LoraConfig", SQUARE, r=2, init_lora_weights=False)
    config.adapters = {}
    for name in ("0", "1"):
        peft.get_peft_model(base("llama", "float32"), expert()).save_pretrained(path := folder())
        config.adapters[name] = str(path)
    model.config.use_cache = False
    adapted = peft.get_peft_model(model, config)
    with torch.no_grad():  # asks for hidden states: transformers puts hooks of its own, for good
        adapted(input_ids=torch.tensor([TOKENS]))
    return adapted


FUSED = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
TASKS = {"task_ids": torch.tensor([0, 1])}
INVOCATION = {"alora_invocation_tokens": [TOKENS[0]]}
CONTEXT = {
    "cpt_token_ids": [3, 4, 5, 6],
    "cpt_mask": [1] * 4,
    "cpt_tokens_type_mask": [1, 2, 3, 4],
}

METHODS: dict[str, Method] = {
    "lora": Method(config=lora()),
    "rslora": Method(config=lora(use_rslora=True)),
    "dora": Method(config=lora(use_dora=True)),
    "pissa": Method(config=lora(init_lora_weights="pissa"), runs_on=FLOAT32),
    "olora": Method(config=lora(init_lora_weights="olora")),
    "orthogonal": Method(config=lora(init_lora_weights="orthogonal"), runs_on=FLOAT32),
    "lora bias": Method(config=lora(lora_bias=True)),
    "lora embedding": Method(config=lora("embed_tokens", "q_proj")),
    "lora modules_to_save": Method(config=lora(modules_to_save=["lm_head"])),
    "lora trainable tokens": Method(config=lora(trainable_token_indices=list(TOKENS))),
    "lora target_parameters": Method(
        architecture="mixtral", config=of("LoraConfig", r=4, target_modules=[], target_parameters=FUSED)
    ),
    "alora": Method(config=lora(**INVOCATION)),
    "bdlora": Method(config=block_diagonal),
    "adalora": Method(config=on("AdaLoraConfig", total_step=10, init_r=4)),
    "adamss": Method(config=on("AdamssConfig", r=8, num_subspaces=2), runs_on=FLOAT32, needs="sklearn"),
    "adaption prompt": Method(config=of("AdaptionPromptConfig", adapter_len=3, adapter_layers=1)),
    "beft": Method(config=on("BeftConfig")),
    "boft": Method(config=on("BOFTConfig", boft_block_size=4)),
    "c3a": Method(config=on("C3AConfig", block_size=16)),
    "cartridge": Method(config=of("CartridgeConfig", **PROMPT)),
    "cpt": Method(config=of("CPTConfig", **CONTEXT)),
    "deft": Method(config=on("DeftConfig", r=4), runs_on=FLOAT32),
    "delora": Method(config=on("DeloraConfig", r=4), runs_on=FLOAT32),
    "fourierft": Method(config=on("FourierFTConfig", n_frequency=20)),
    "frod": Method(config=on("FrodConfig", progressbar=False), runs_on=FLOAT32),
    "glora": Method(config=on("GloraConfig", r=4), runs_on=FLOAT32),
    "gralora": Method(config=on("GraloraConfig", r=4)),
    "gralora hybrid": Method(config=on("GraloraConfig", r=4, hybrid_r=2)),
    "hira": Method(config=on("HiraConfig", r=4)),
    "hra": Method(config=on("HRAConfig", r=4), runs_on=UNPACKED),
    "ia3": Method(config=on("IA3Config", feedforward_modules=["down_proj"])),
    "lily": Method(config=on("LilyConfig", r=4)),
    "ln tuning": Method(config=on("LNTuningConfig", ("input_layernorm", "norm"))),
    "loha": Method(config=on("LoHaConfig", r=4), runs_on=UNPACKED),
    "lokr": Method(config=on("LoKrConfig", r=4), runs_on=UNPACKED),
    "miss": Method(config=on("MissConfig", r=4)),
    "miss bat": Method(config=on("MissConfig", SQUARE, r=4, init_weights="bat")),
    "multitask prompt tuning": Method(
        config=of("MultitaskPromptTuningConfig", num_tasks=2, **PROMPT), inputs=TASKS
    ),
    "oft": Method(config=on("OFTConfig", oft_block_size=16)),
    "osf": Method(config=on("OSFConfig", effective_rank=4), runs_on=FLOAT32),
    "p-tuning": Method(config=of("PromptEncoderConfig", encoder_hidden_size=16, **PROMPT)),
    "p-tuning lstm": Method(
        config=of(
            "PromptEncoderConfig", encoder_hidden_size=16, encoder_reparameterization_type="LSTM", **PROMPT
        )
    ),
    "peanut": Method(config=on("PeanutConfig", r=4), runs_on=UNPACKED),
    "peanut deep": Method(config=on("PeanutConfig", r=4, depth=2), runs_on=UNPACKED),
    "poly": Method(config=on("PolyConfig", r=4, n_tasks=2, n_skills=2), inputs=TASKS),
    "prefix tuning": Method(config=of("PrefixTuningConfig", **PROMPT)),
    "prefix tuning projected": Method(
        config=of("PrefixTuningConfig", prefix_projection=True, encoder_hidden_size=16, **PROMPT)
    ),
    "prompt tuning": Method(config=of("PromptTuningConfig", **PROMPT)),
    "psoft": Method(config=on("PsoftConfig", r=4), runs_on=FLOAT32),
    "pvera": Method(config=on("PveraConfig", r=4)),
    "randlora": Method(config=on("RandLoraConfig", r=4)),
    "road": Method(config=on("RoadConfig", group_size=16)),
    "shadow": Method(config=of("ShadowConfig", target_modules=r".*\.layers\.\d+$", r=4)),
    "shira": Method(config=on("ShiraConfig", r=4)),
    "supertuning": Method(config=on("SupertuningConfig"), runs_on=FLOAT32),
    "supertuning lora": Method(config=on("SupertuningConfig", r=4, lora_alpha=8), runs_on=FLOAT32),
    "tinylora": Method(config=on("TinyLoraConfig", u=8), runs_on=FLOAT32),
    "trainable tokens": Method(config=of("TrainableTokensConfig", token_indices=list(TOKENS))),
    "unilora": Method(config=on("UniLoraConfig", theta_d_length=64)),
    "vblora": Method(config=on("VBLoRAConfig", num_vectors=8, vector_length=16)),
    "vera": Method(config=on("VeraConfig", r=4)),
    "waveft": Method(config=on("WaveFTConfig", n_frequency=20)),
    "xlora": Method(config=of("XLoraConfig", hidden_size=HIDDEN), attach=mixed, runs_on=FLOAT32),
}  # fmt: skip
