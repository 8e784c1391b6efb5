"""Hooks that repairs leave on a model. Each is one function, so that a second time can be told from the first."""

from collections.abc import Callable
from typing import Any

import torch

from gradcheck.editing.places import explained, modules_named
from gradcheck.errors import EditError
from gradcheck.internals.libraries import REQUIRE_GRADS_HOOK, REQUIRE_GRADS_HOOKS
from gradcheck.internals.modules import forward_hooks_of, forward_pre_hooks_of


def enable_input_require_grads(model: torch.nn.Module, fqns: tuple[str, ...]) -> None:
    """Calls the modules' own method, once: hooks of an earlier call are taken away first.

    transformers keeps the handles of the last call only, so that a second call would leak the first hooks
    (transformers/modeling_utils.py, 5.23).

    Raises:
        EditError: where there is no module, or the method fails.
    """
    if not fqns:
        raise EditError("the model has no enable_input_require_grads()")
    for holder in modules_named(model, fqns):
        owner: Any = holder
        if _has_handles(holder):
            owner.disable_input_require_grads()
        with explained("enable_input_require_grads()"):
            owner.enable_input_require_grads()


def _has_handles(holder: torch.nn.Module) -> bool:
    names = (REQUIRE_GRADS_HOOK, REQUIRE_GRADS_HOOKS)
    return any(vars(module).get(name) for module in holder.modules() for name in names)


def hook_outputs(model: torch.nn.Module, fqns: tuple[str, ...], hook: Callable[..., Any]) -> None:
    """``hook``, which is given the output, on the modules where it is not yet."""
    for module in modules_named(model, fqns):
        if all(held is not hook for held in forward_hooks_of(module).values()):
            module.register_forward_hook(hook)


def let_inputs_require_grad(model: torch.nn.Module, names: tuple[str, ...]) -> None:
    """A hook before the model's forward: its floating-point keyword arguments ``names`` require a gradient."""
    if any(isinstance(hook, InputsRequiringGrad) for hook in forward_pre_hooks_of(model).values()):
        return
    model.register_forward_pre_hook(InputsRequiringGrad(names), with_kwargs=True)


def requiring_grad(_module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
    """The output with its frozen floating-point tensors as copies of leaves that require a gradient.

    A copy, because writing in place into a leaf is refused.
    """
    return _mapped(output, lambda t: t.detach().requires_grad_(True).clone(), _is_frozen)


def cloned(_module: torch.nn.Module, _inputs: Any, output: Any) -> Any:
    """The output with its floating-point tensors copied."""
    return _mapped(output, torch.Tensor.clone, torch.Tensor.is_floating_point)


class InputsRequiringGrad:
    """Lets the named inputs of a forward require a gradient."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._names = names

    def __call__(
        self, _module: torch.nn.Module, arguments: Any, keywords: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """The arguments with those inputs replaced."""
        asked = {
            name: _mapped(value, lambda t: t.detach().requires_grad_(True), _is_frozen)
            if name in self._names
            else value
            for name, value in keywords.items()
        }
        return arguments, asked


def _is_frozen(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and not tensor.requires_grad


def _mapped(
    value: Any,
    change: Callable[[torch.Tensor], torch.Tensor],
    applies: Callable[[torch.Tensor], bool],
) -> Any:
    """``value`` with ``change`` done to the tensors in it, through tuples, lists and dictionaries (model outputs)."""
    if isinstance(value, torch.Tensor):
        return change(value) if applies(value) else value
    if isinstance(value, dict):
        changed = {key: _mapped(item, change, applies) for key, item in value.items()}
        for key, item in changed.items():
            if item is not value[key]:
                value[key] = item
        return value
    if isinstance(value, (tuple, list)):
        items = [_mapped(item, change, applies) for item in value]
        named = hasattr(value, "_fields")
        return type(value)(*items) if named else type(value)(items)
    return value
