"""What torch keeps of tensors, of their memory, and of the state that a thread is in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

from gradcheck.internals.entry import internal

if TYPE_CHECKING:
    import torch


@internal("torch.Tensor._version", ">=2.4")
def version_of(tensor: torch.Tensor) -> int:
    """How often the memory was written in place, as far as autograd was told. Inference tensors raise."""
    return tensor._version


def counted_version(tensor: torch.Tensor) -> int:
    """How often the memory of ``tensor`` was written in place; -1 where nobody counts, as in inference mode."""
    try:
        return version_of(tensor)
    except RuntimeError:
        return -1


@internal("torch.Tensor._base", ">=2.4")
def base_of(tensor: torch.Tensor) -> torch.Tensor | None:
    """The tensor that this one is a view of, whose history a write through the view changes too."""
    return tensor._base


@internal("torch.Tensor._backward_hooks", ">=2.4")
@internal("torch.Tensor._post_accumulate_grad_hooks", ">=2.4")
def tensor_hooks(tensor: torch.Tensor) -> tuple[dict[Any, Any] | None, dict[Any, Any] | None]:
    """The hooks on a tensor and on its accumulated gradient, as they are now: torch hands out no list of them."""
    found = (tensor._backward_hooks, tensor._post_accumulate_grad_hooks)
    return tuple(None if hooks is None else dict(hooks) for hooks in found)  # type: ignore[return-value]  # two of them


def put_tensor_hooks(
    tensor: torch.Tensor, before: tuple[dict[Any, Any] | None, dict[Any, Any] | None]
) -> None:
    """The hooks of ``tensor`` as ``tensor_hooks`` gave them; the tables that torch knows of stay the ones they are."""
    for now, then in zip(
        (tensor._backward_hooks, tensor._post_accumulate_grad_hooks), before, strict=True
    ):
        if now is not None and dict(now) != (then or {}):
            now.clear()
            now.update(then or {})


@internal("torch.UntypedStorage._cdata", ">=2.4")
def storage_address(tensor: torch.Tensor) -> int:
    """A number that tensors over the same storage share: ``data_ptr`` is 0 without memory, and differs for views.

    Raises:
        RuntimeError, NotImplementedError: for sparse tensors, and wrappers without a storage of their own.
    """
    return int(tensor.untyped_storage()._cdata)


@internal("torch._foreach_norm", ">=2.4")
def norms_of(tensors: list[torch.Tensor], dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    """The 2-norms of many tensors, worked out in ``dtype`` in one call: thousands of parameters one by one are slow."""
    import torch

    return torch._foreach_norm(tensors, 2.0, dtype=dtype)


@internal("torch._C.DisableTorchFunctionSubclass", ">=2.4")
def plain_access_class() -> type[AbstractContextManager[None]]:
    """In its body an attribute of a tensor is looked up without the ``__torch_function__`` of its class."""
    import torch

    return cast("type[AbstractContextManager[None]]", torch._C.DisableTorchFunctionSubclass)


@internal("torch._C.DisableTorchFunction", ">=2.4")
def without_function_modes() -> AbstractContextManager[None]:
    """In its body no function mode sees a call: what the recorder asks is none of the step."""
    import torch

    return torch._C.DisableTorchFunction()


@internal("torch._C._len_torch_function_stack", ">=2.4")
def function_mode_counter() -> Callable[[], int]:
    """Counts the function modes that would see a call: none inside of a torch call, which is one node itself."""
    import torch

    return torch._C._len_torch_function_stack


@internal("torch.overrides._get_current_function_mode", ">=2.4")
def innermost_function_mode() -> object:
    """The mode that sees a call first; None where there is none. Leaving a mode pops whatever is innermost."""
    from torch.overrides import _get_current_function_mode

    return _get_current_function_mode()


@internal("torch.utils._python_dispatch", ">=2.4")
def python_dispatch() -> Any:
    """The module of the mode that sees every operator, also what C++ calls: documented, and exported nowhere."""
    from torch.utils import _python_dispatch

    return _python_dispatch


@internal("torch._C._current_graph_task_id", ">=2.4")
def graph_task_reader() -> Callable[[], int]:
    """Reads the number of the backward pass that runs on this thread, -1 where none does: modules run there again."""
    import torch

    return torch._C._current_graph_task_id


@internal("torch._ops.OpOverload._schema", ">=2.4")
def schema_of(operator: object) -> Any | None:
    """What an operator takes, gives and writes; None for what has no schema. Only its text is public."""
    return getattr(operator, "_schema", None)


@internal("torch._ops.OpOverloadPacket", ">=2.4")
def operator_schema(function: object) -> Any | None:
    """The schema of ``torch.ops.namespace.name``, an operator or the packet of its overloads; None for others."""
    schema = schema_of(function)
    if schema is None and type(function).__name__ == "OpOverloadPacket":
        overloads: Any = function
        schema = schema_of(getattr(overloads, overloads.overloads()[0]))
    return schema


@internal("torch._C._functorch.maybe_current_level", ">=2.4")
def transform_level_reader() -> Callable[[], int | None]:
    """Reads how deep in ``vmap``, ``grad`` and their kin the thread is, None outside: tensors are wrapped in there."""
    import torch

    return torch._C._functorch.maybe_current_level


@internal("torch._C._functorch.is_functorch_wrapped_tensor", ">=2.4")
@internal("torch._C._functorch.get_unwrapped", ">=2.4")
def bare_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """What ``vmap``, ``grad`` and their kin have wrapped: it alone has memory, and the history that backward goes."""
    from torch._C import _functorch as transforms

    while transforms.is_functorch_wrapped_tensor(tensor):
        tensor = transforms.get_unwrapped(tensor)
    return tensor


@internal("torch._functorch.apis", ">=2.4")
def functorch_apis() -> Any:
    """A module beside those that ``torch.func`` is made of: their folder tells their frames from the user's."""
    from torch._functorch import apis

    return apis


@internal("torch.ops.aten._unsafe_index", ">=2.4")
@internal("torch.ops.aten._index_put_impl_", ">=2.4")
@internal("torch.ops.aten._unsafe_index_put", ">=2.4")
def indexing_operators() -> set[Any]:
    """The operators that take masks among their indices: torch's own code calls the private ones for ``x[mask]``."""
    import torch

    aten = torch.ops.aten
    public = {aten.index, aten.index_put, aten.index_put_}
    return public | {aten._unsafe_index, aten._index_put_impl_, aten._unsafe_index_put}


@internal("torch._subclasses.fake_tensor", ">=2.4")
@internal("torch._subclasses.fake_tensor.FakeTensor", ">=2.4")
@internal("torch._subclasses.fake_tensor.FakeTensorMode", ">=2.4")
@internal("torch._subclasses.fake_tensor.DataDependentOutputException", ">=2.4")
@internal("torch._subclasses.fake_tensor.in_kernel_invocation_manager", ">=2.4")
@internal("torch._subclasses.fake_tensor.log", ">=2.4")
def fake_tensors() -> Any:
    """The module of fake tensors: a model without weights is recorded with them, and nothing public has a device."""
    from torch._subclasses import fake_tensor

    return fake_tensor


def fake_tensor_class() -> type[torch.Tensor]:
    """The class of fake tensors; see ``fake_tensors``."""
    return cast("type[torch.Tensor]", fake_tensors().FakeTensor)
