"""What one step needs, from any of the things that a factory may return."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from torch.utils.data import DataLoader

from gradcheck.core.target import Target
from gradcheck.errors import LoadError
from gradcheck.internals.libraries import prepared_inputs
from gradcheck.loading.batches.batch import make_batch
from gradcheck.loading.sources import Source
from gradcheck.subject import LossFunction, Subject

RETURNS = (
    "model, batch; model, batch, loss_fn; a dict of model, batch, loss_fn and optimizer; a model of transformers or "
    "PEFT alone; or a Trainer. A DataLoader is a batch too"
)
_KEYS = {"model", "batch", "loss_fn", "optimizer"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """As the factory gave them: nothing has been checked yet."""

    model: Any
    batch: Any
    loss_fn: Any = None
    optimizer: Any = None
    loss: str = "loss_fn of the factory"
    """What ``loss_fn`` is, for the report."""
    origin: str = "from the factory"
    """Where the batch is from."""
    made_batch: str = ""
    """What the batch is, where it was made as the options say; empty where the factory made it."""
    setup: tuple[tuple[str, str], ...] = ()
    """More that the factory says was set up."""


def parts_of(made: object, target: Target) -> Parts | None:
    """The parts of a step; None where ``made`` is nothing of what is accepted (``RETURNS``).

    Raises:
        BatchError: where a model came alone and no batch can be made for it.
        LoadError: where a DataLoader has no batch.
    """
    parts = _parts(made, target)
    if parts is not None and isinstance(parts.batch, DataLoader):
        return replace(parts, batch=_first_batch(parts.batch, parts.model), origin=_LOADED)
    return parts


_LOADED = "the first of the factory's DataLoader"


def _parts(made: object, target: Target) -> Parts | None:
    if _is(made, "transformers.trainer", "Trainer"):
        return _of_trainer(made)
    if _is_transformer(made):
        return _alone(made, target)
    match made:
        case Subject():
            return Parts(**{key: getattr(made, key) for key in (*_KEYS, "setup")})
        case Mapping() if {"model", "batch"} <= set(made) <= _KEYS:
            return Parts(**made)
        case (model, batch, *rest) if len(rest) <= 1:
            return Parts(model=model, batch=batch, loss_fn=rest[0] if rest else None)
    return None


def _is(made: object, module: str, name: str) -> bool:
    """Whether ``made`` is an instance of a class: only where its module is imported can there be one."""
    found = sys.modules.get(module)
    return found is not None and isinstance(made, getattr(found, name))


def _is_transformer(made: object) -> bool:
    return _is(made, "transformers.modeling_utils", "PreTrainedModel") or _is(
        made, "peft.peft_model", "PeftModel"
    )


def _alone(model: Any, target: Target) -> Parts:
    """With a batch as for a model that is loaded by its name."""
    base = model.get_base_model() if _is(model, "peft.peft_model", "PeftModel") else model
    name = base.name_or_path or ""
    folder = Path(name) if name and Path(name).exists() else None
    batch, ((_, said),) = make_batch(base, target, Source(name=name, folder=folder))
    return Parts(model=model, batch=batch, made_batch=said)


def _first_batch(loader: DataLoader[Any], model: Any) -> Any:
    """Where the model's first parameter is, as a loop puts it."""
    try:
        batch = next(iter(loader))
    except StopIteration:
        raise LoadError(
            "the factory's DataLoader has no batch; give it a dataset with rows"
        ) from None
    parameter = next(model.parameters(), None) if hasattr(model, "parameters") else None
    if not isinstance(batch, Mapping) or parameter is None:
        return batch
    return {
        key: value.to(parameter.device) if hasattr(value, "to") else value
        for key, value in batch.items()
    }


class _Begun(BaseException):
    """Ends ``Trainer.train()`` at its first step; no handler of an ``Exception`` is to take it for its own."""


def _of_trainer(trainer: Any) -> Parts:
    """The first step of ``Trainer.train()``, for which all that it sets up has been set up."""
    model, inputs, options = _first_step(trainer)
    name = type(trainer).__name__
    return Parts(
        model=model,
        batch=prepared_inputs(trainer, inputs),
        loss_fn=_trainer_loss(trainer, options),
        optimizer=trainer.optimizer,
        loss=f"compute_loss of the {name}",
        origin=f"the first of the {name}",
    )


def _first_step(trainer: Any) -> tuple[Any, Any, dict[str, Any]]:
    """(model, inputs, what ``compute_loss`` is given besides) of the first call of ``training_step``."""
    begun: list[tuple[Any, Any, dict[str, Any]]] = []

    def training_step(
        model: Any, inputs: Any, num_items_in_batch: Any = None, **_: Any
    ) -> NoReturn:
        begun.append((model, inputs, {"num_items_in_batch": num_items_in_batch}))
        raise _Begun

    callbacks = trainer.callback_handler.callbacks
    trainer.callback_handler.callbacks = [it for it in callbacks if not _is_a_library_s(it)]
    trainer.training_step = training_step
    try:
        trainer.train()
    except _Begun:
        return begun[0]
    finally:
        del trainer.training_step
        trainer.callback_handler.callbacks = callbacks
    raise LoadError(
        f"train() of the factory's {type(trainer).__name__} ends before its first step; "
        "give it a dataset with rows, and max_steps or epochs over 0"
    )


def _is_a_library_s(callback: object) -> bool:
    """Whether it shows progress or reports to a service: what a user wrote may change what trains, and stays."""
    return type(callback).__module__.startswith("transformers.")


def _trainer_loss(trainer: Any, options: dict[str, Any]) -> LossFunction:
    def loss_fn(model: Any, batch: Mapping[str, Any]) -> Any:
        model.train()
        with trainer.compute_loss_context_manager():
            return trainer.compute_loss(model, dict(batch), **options)

    return loss_fn
