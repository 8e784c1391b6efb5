"""Executes edits on a live model."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from typing_extensions import assert_never

from gradcheck.editing.adapters import (
    attach_adapter,
    call_adapters,
    drop_adapters,
    linear_targets,
)
from gradcheck.editing.checkpointing import set_checkpointing
from gradcheck.editing.hooks import (
    cloned,
    enable_input_require_grads,
    hook_outputs,
    let_inputs_require_grad,
    requiring_grad,
)
from gradcheck.editing.parallel import wrap_anew
from gradcheck.editing.places import modules_named, outermost, parameters_named
from gradcheck.editing.quantization import keep_unquantized
from gradcheck.errors import EditError
from gradcheck.findings import edit as kinds
from gradcheck.internals.calls import DECORATORS
from gradcheck.internals.sharding import Gathered, shard, sharded
from gradcheck.subject import Subject


def resolved(subject: Subject, edits: tuple[kinds.Edit, ...]) -> tuple[kinds.Edit, ...]:
    """``edits`` with the names filled in that only the live model tells."""
    return tuple(_resolved(subject.model, edit) for edit in edits)


def _resolved(model: torch.nn.Module, edit: kinds.Edit) -> kinds.Edit:
    if isinstance(edit, kinds.EnableInputRequireGrads) and not edit.modules:
        return replace(edit, modules=tuple(outermost(model, "enable_input_require_grads")))
    if isinstance(edit, kinds.AttachAdapter) and not edit.targets:
        return replace(edit, targets=linear_targets(model))
    return edit


def apply(subject: Subject, edits: tuple[kinds.Edit, ...]) -> None:
    """Makes ``edits`` on the model, in their order; a second time changes nothing more.

    Raises:
        EditError: where one cannot be made; those before it stand, so take a ``Snapshot`` first.
    """
    with subject.without_weights(), sharded(subject.model) as gathered:
        for edit in edits:
            _apply(subject, edit, gathered)
    if any(isinstance(edit, kinds.AddToOptimizer) and edit.gathered for edit in edits):
        shard(subject.model)  # as the optimizer holds them now


def _apply(subject: Subject, edit: kinds.Edit, gathered: tuple[Gathered, ...]) -> None:  # noqa: C901, PLR0912 (one case a kind of edit)
    model = subject.model
    match edit:
        case kinds.EnableInputRequireGrads(modules=fqns):
            enable_input_require_grads(model, fqns)
        case kinds.LetOutputsRequireGrad(modules=fqns):
            hook_outputs(model, fqns, requiring_grad)
        case kinds.LetInputsRequireGrad(names=names):
            let_inputs_require_grad(model, names)
        case kinds.CloneOutputs(modules=fqns):
            hook_outputs(model, fqns, cloned)
        case kinds.SetCheckpointing(mode=mode):
            set_checkpointing(model, mode)
        case kinds.SetTraining(module=fqn):
            modules_named(model, (fqn,))[0].train()
        case kinds.SetRequiresGrad():
            _set_requires_grad(model, edit)
        case kinds.CastParameters():
            for parameter in parameters_named(model, edit.parameters):
                parameter.data = parameter.data.to(getattr(torch, edit.dtype))
        case kinds.AddToOptimizer(parameters=fqns):
            _add_to_optimizer(subject, parameters_named(model, fqns), gathered)
        case kinds.CallAdapters():
            call_adapters(model, edit)
        case kinds.AttachAdapter():
            attach_adapter(model, edit)
        case kinds.DropAdapters(modules=fqns):
            _forget(subject.optimizer, drop_adapters(model, fqns))
        case kinds.UnwrapMethod(module=fqn, method=method):
            _unwrap(modules_named(model, (fqn,))[0], method)
        case kinds.SetArgument():
            _set_argument(modules_named(model, (edit.module,))[0], edit)
        case kinds.KeepUnquantized(modules=fqns):
            keep_unquantized(model, fqns)
        case kinds.SwitchOffCache():
            _switch_off_cache(model)
        case kinds.TieParameters(source=source, target=target):
            owner, _, name = target.rpartition(".")
            setattr(model.get_submodule(owner), name, parameters_named(model, (source,))[0])
        case _:
            assert_never(edit)


def _set_requires_grad(model: torch.nn.Module, edit: kinds.SetRequiresGrad) -> None:
    for parameter in parameters_named(model, edit.parameters):
        try:
            parameter.requires_grad_(edit.value)
        except RuntimeError as error:
            raise EditError(f"torch refuses: {error}") from error
    wrap_anew(model)


def _add_to_optimizer(
    subject: Subject, parameters: list[torch.nn.Parameter], gathered: tuple[Gathered, ...]
) -> None:
    optimizer = subject.optimizer
    if optimizer is None:
        raise EditError("no optimizer was given")
    shards = {id(it.copy): it.shard for it in gathered}
    for group in optimizer.param_groups:
        group["params"] = [shards.get(id(p), p) for p in group["params"]]
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    missing = [parameter for parameter in parameters if id(parameter) not in held]
    first = optimizer.param_groups[0]
    if missing and "initial_lr" in first:  # a scheduler counts the groups that it was made with
        first["params"] = [*first["params"], *missing]
    elif missing:
        options = {key: value for key, value in first.items() if key != "params"}
        optimizer.add_param_group({**options, "params": missing})


def _forget(optimizer: torch.optim.Optimizer | None, parameters: list[torch.nn.Parameter]) -> None:
    gone = {id(parameter) for parameter in parameters}
    for group in optimizer.param_groups if optimizer is not None else ():
        group["params"] = [held for held in group["params"] if id(held) not in gone]


def _switch_off_cache(model: torch.nn.Module) -> None:
    held: list[Any] = [vars(module).get("config") for module in model.modules()]
    configs = [config for config in held if isinstance(getattr(config, "use_cache", None), bool)]
    if not configs:
        raise EditError("no configuration of the model says use_cache")
    for config in configs:
        config.use_cache = False


def _unwrap(module: torch.nn.Module, method: str) -> None:
    """Binds the undecorated method to ``module``."""
    if method in vars(module):
        raise EditError(f"{method} was already replaced on the module itself")
    decorated: Any = inspect.getattr_static(type(module), method, None)
    inner = getattr(decorated, "__wrapped__", None)
    if inner is None or getattr(decorated, "__globals__", {}).get("__name__") != DECORATORS:
        raise EditError(f"{type(module).__name__}.{method} is not decorated by torch")
    setattr(module, method, inner.__get__(module))


def _set_argument(module: torch.nn.Module, edit: kinds.SetArgument) -> None:
    forward: Callable[..., Any] = module.forward
    if getattr(forward, "held_argument", None) == (edit.name, edit.value):
        return
    signature = inspect.signature(forward)
    if edit.name not in signature.parameters:
        raise EditError(f"{type(module).__name__}.forward has no argument {edit.name!r}")

    @functools.wraps(forward)
    def held(*arguments: Any, **keywords: Any) -> Any:
        bound = signature.bind(*arguments, **keywords)
        bound.arguments[edit.name] = edit.value
        return forward(*bound.args, **bound.kwargs)

    held.held_argument = (edit.name, edit.value)  # type: ignore[attr-defined]  # how a second time is told
    module.forward = held
