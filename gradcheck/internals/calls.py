"""Private names that calls and modules of torch are known by, where they are told apart by name."""

from __future__ import annotations

from gradcheck.internals.entry import module_named, named

_TORCH = ">=2.4"

SET_GRAD_ENABLED = named(
    "torch._C._set_grad_enabled",
    _TORCH,
    why="What no_grad, enable_grad and set_grad_enabled all call: the function mode sees that one.",
)
MAKE_SUBCLASS = named(
    "torch.Tensor._make_subclass",
    _TORCH,
    why="nn.Parameter(tensor) is that call, which shares the data and drops the graph; no function mode sees it.",
)
UNSAFE_VIEW = "aten::" + named(
    "torch.ops.aten._unsafe_view",
    _TORCH,
    why="A view whose schema does not say so: the operator that matmul ends with.",
)
FUNCTIONAL_CALL = named(
    "torch.nn.utils.stateless._functional_call",
    _TORCH,
    why="What torch.func.functional_call calls, from wherever it was imported, before it swaps the parameters.",
)
READING_NO_CONTENT = frozenset(
    {
        named("torch.Tensor._typed_storage", _TORCH, why="Asks for the memory, as storage() does."),
        named("torch._assert", _TORCH, why="Control flow of traced code; its result is no tensor."),
        named("torch._assert_async", _TORCH, why="The same on an accelerator."),
        named("torch.Tensor._is_view", _TORCH, why="A question about the tensor."),
        named(
            "torch._has_compatible_shallow_copy_type",
            _TORCH,
            why="Asked of every parameter by Module.to.",
        ),
        named("torch.Tensor._version", _TORCH, why="A question about the tensor."),
    }
)
"""Calls that read no content which could reach a loss: not recorded."""
PUBLIC_HOMES = {
    module_named("torch._C._nn", _TORCH, why="Where functions of C say that they live."): (
        "torch.nn.functional"
    ),
    module_named("torch._VF", _TORCH, why="Where functions of C say that they live."): "torch",
}
"""Where functions say that they live, and where the user finds them."""
TENSOR_METHODS = module_named(
    "torch._tensor", _TORCH, why="Where Tensor.backward lives: told apart from others of its name."
)
DECORATORS = module_named(
    "torch.utils._contextlib",
    _TORCH,
    why="Where torch's decorators that enter a context are made: only what they wrap is unwrapped.",
)
