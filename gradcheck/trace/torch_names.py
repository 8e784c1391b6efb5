"""torch's names of operations and dtypes, by what they do to a gradient: the one place where they are listed."""

EXITS = frozenset(
    {"item", "tolist", "numpy", "__float__", "__int__", "__complex__", "__array__", "__dlpack__"}
)
"""Calls whose result is no tensor any more. ``__bool__`` and ``__index__`` are control flow, not data."""

ENTRIES = frozenset({
    "tensor", "as_tensor", "asarray", "from_numpy", "frombuffer", "scalar_tensor", "full",
    "new_tensor", "new_full", "full_like",
})  # fmt: skip
"""Calls that make a tensor from numbers of Python or NumPy."""

ZERO_DERIVATIVES = frozenset({
    "round", "round_", "floor", "floor_", "ceil", "ceil_", "trunc", "trunc_", "fix", "fix_", "sign",
    "sign_", "sgn", "sgn_", "heaviside", "floor_divide", "floor_divide_", "__floordiv__",
    "__rfloordiv__", "bernoulli", "bernoulli_",
})  # fmt: skip
"""Calls that autograd differentiates to zero everywhere (torch's derivatives.yaml: ``self: zeros_like(grad)``)."""

ZERO_PRESERVING = frozenset({
    "mul", "__mul__", "__rmul__", "mul_", "matmul", "__matmul__", "mm", "bmm", "kron", "to", "type",
    "float", "half", "bfloat16", "double", "view", "reshape", "transpose", "permute", "t", "T",
    "mT", "contiguous", "flatten", "unflatten", "squeeze", "unsqueeze", "expand", "dropout", "neg",
    "clone", "linear",
})  # fmt: skip
"""Calls whose result is zero where an operand is zero (``linear``: without a bias): it need not be looked at."""

SHAPE_ONLY = frozenset({
    "full_like", "new_full", "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like",
    "randint_like", "new_zeros", "new_ones", "new_empty", "new_empty_strided",
})  # fmt: skip
"""Calls that read a tensor for its shape, dtype and device alone."""

FIRST_ONLY = frozenset({"expand_as", "view_as", "reshape_as", "type_as", "to", "__deepcopy__"})
"""Calls that read only their first tensor for its content."""

SUMS = frozenset({
    "add", "add_", "sub", "sub_", "rsub", "__radd__", "__rsub__", "cat", "concat", "concatenate",
    "stack", "hstack", "vstack", "sum", "mean", "where", "index_add", "index_add_", "scatter_add",
    "scatter_add_", "__setitem__", "index_copy", "index_put", "index_put_", "masked_scatter",
    "masked_scatter_",
})  # fmt: skip
"""Calls that add or place their operands: a zero one does not hold back the gradient of the others."""

SUM_AND_PRODUCT = frozenset({"addmm", "baddbmm", "addbmm", "addmv", "addr", "addcmul"})
"""first + second * third"""

PRODUCT_AND_SUM = frozenset({"linear", "conv1d", "conv2d", "conv3d"})
"""first * second + third"""

INTEGRAL = ("int", "uint", "bool")

VIEWS = frozenset({
    "T", "__getitem__", "chunk", "contiguous", "expand", "expand_as", "flatten", "mT", "movedim",
    "narrow", "permute", "requires_grad_", "reshape", "select", "split", "squeeze", "swapaxes", "t",
    "to", "transpose", "unbind", "unflatten", "unsqueeze", "view", "view_as",
})  # fmt: skip
"""Last words of the names of the calls whose result is what they were given, or a view of it."""

TAKES_DATA = frozenset({"from_numpy", "tensor", "as_tensor", "asarray", "frombuffer"})
"""Calls that make a tensor from data; ``full`` and its kin take one number, which is known again if it left torch."""
