"""Weights stored in codes are told from numbers by what they hold, whichever quantizer made them."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcheck
from gradcheck.recording.packing import (
    is_quantized,
    logical_shape,
    module_bits,
    storage_dtype,
)


class Wrapped(torch.Tensor):
    """A matrix of which one byte an element (or half of it) is stored, as torchao and optimum-quanto do."""

    def __new__(cls, codes: torch.Tensor, scale: torch.Tensor, columns: int) -> "Wrapped":
        shape = (codes.shape[0], columns)
        return torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.float32)

    def __init__(self, codes: torch.Tensor, scale: torch.Tensor, columns: int) -> None:
        self.codes, self.scale = codes, scale

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        return ["scale", "codes"], None

    def matrix(self) -> torch.Tensor:
        repeats = self.shape[1] // self.codes.shape[1]
        return self.codes.float().repeat_interleave(repeats, 1) * self.scale

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is F.linear:
            return F.linear(args[0], args[1].matrix(), *args[2:], **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs or {})

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.detach.default:
            return Wrapped(args[0].codes, args[0].scale, args[0].shape[1])
        raise NotImplementedError(f"{func} of codes")


def wrapped(rows: int = 16, columns: int = 16, per_byte: int = 1) -> Wrapped:
    torch.manual_seed(0)
    codes = torch.randint(-9, 9, (rows, columns // per_byte), dtype=torch.int8)
    return Wrapped(codes, torch.full((rows, 1), 0.01), columns)


class Packed(nn.Module):
    """Codes in a parameter, like HQQ's, or in a buffer, like GPTQ's; two of them a byte."""

    def __init__(self, *, buffer: bool) -> None:
        super().__init__()
        self.in_features, self.out_features = 16, 32
        codes = torch.zeros(16 * 32 // 8, 1, dtype=torch.int32)
        if buffer:
            self.register_buffer("qweight", codes)
            self.register_buffer("scales", torch.ones(32))
        else:
            self.W_q = nn.Parameter(codes.view(torch.uint8), requires_grad=False)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(16, 16), nn.Linear(16, 16, bias=False)
        self.outer.weight = nn.Parameter(wrapped(), requires_grad=False)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.outer(self.inner(x)).pow(2).mean()}


@pytest.mark.parametrize("per_byte", [1, 2, 4])
def test_a_wrapper_of_codes_is_the_matrix_it_looks_like(per_byte: int) -> None:
    weight = nn.Parameter(wrapped(per_byte=per_byte), requires_grad=False)
    layer = nn.Linear(16, 16, bias=False)
    layer.weight = weight
    assert is_quantized(weight)
    assert logical_shape(weight, layer) == (16, 16)
    assert storage_dtype(weight) is torch.int8
    assert module_bits(layer) == 8 // per_byte


def test_a_wrapper_of_numbers_is_not_quantized() -> None:
    weight = Wrapped(torch.zeros(4, 4), torch.ones(4, 1), 4)
    assert not is_quantized(weight)
    assert storage_dtype(weight) is torch.float32


@pytest.mark.parametrize("buffer", [True, False])
def test_a_module_without_a_floating_matrix_says_how_its_codes_are_packed(buffer: bool) -> None:
    layer = Packed(buffer=buffer)
    assert module_bits(layer) == 4
    for parameter in layer.parameters():
        assert logical_shape(parameter, layer) == (32, 16)
        assert logical_shape(parameter, None) == tuple(parameter.shape)


def test_ordinary_modules_are_not_quantized() -> None:
    masked = nn.Linear(4, 4)
    masked.register_buffer("mask", torch.ones(4, 4, dtype=torch.int64))
    counting = nn.Module()
    counting.register_buffer("position_ids", torch.arange(64))
    for module in (masked, counting, nn.Embedding(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 4).half()):
        assert module_bits(module) is None
        assert all(tuple(p.shape) == logical_shape(p, module) for p in module.parameters())


def test_a_layer_that_multiplies_with_its_wrapped_codes_is_no_finding() -> None:
    model, batch = Net(), {"x": torch.randn(4, 16)}
    codes, identity = model.outer.weight.codes.clone(), id(model.outer.weight)
    report = gradcheck.inspect(model, batch)
    assert report.healthy
    assert not report.findings
    record = next(p for p in report.parameters if p.fqn == "outer.weight")
    assert (record.shape, record.num_elements, record.dtype) == ((16, 16), 256, "int8")
    assert id(model.outer.weight) == identity
    assert torch.equal(model.outer.weight.codes, codes)


def test_wrapped_codes_that_are_set_to_train_are_found() -> None:
    model = Net()
    model.outer.weight.requires_grad_(True)
    codes = [f.code for f in gradcheck.inspect(model, {"x": torch.randn(4, 16)}).findings]
    assert "GC103" in codes


class Described(torch.Tensor):
    """A wrapper that names more in ``__tensor_flatten__`` than tensors: whatever the test wants."""

    names: tuple[str, ...] = ()

    def __tensor_flatten__(self) -> tuple[list[str], Any]:
        if "raises" in self.names:
            raise RuntimeError("not made to be taken apart")
        return list(self.names), None


@pytest.mark.parametrize(
    "names", [("mesh",), ("inner", "mesh"), ("itself",), ("missing",), ("raises",), ("none",), ()]
)
def test_a_wrapper_may_name_what_is_no_tensor(names: tuple[str, ...]) -> None:
    weight: Any = torch.ones(3, 4).as_subclass(Described)
    weight.mesh, weight.none, weight.itself = object(), None, weight
    weight.inner, weight.names = torch.ones(3, 4), names
    assert not is_quantized(weight)
    assert logical_shape(weight, None) == (3, 4)
    assert storage_dtype(weight) == torch.float32


def test_codes_beside_what_is_no_tensor_are_found() -> None:
    weight: Any = torch.ones(3, 4).as_subclass(Described)
    weight.inner, weight.mesh = torch.zeros(3, 4, dtype=torch.int8), object()
    weight.names = ("mesh", "inner")
    assert is_quantized(weight)
    assert storage_dtype(weight) == torch.int8
