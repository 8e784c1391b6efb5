"""Fake tensors beside real ones: what is known, what is remembered, and what takes memory."""

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensor

from gradcheck.loading.fake.mode import MAX_REAL_ELEMENTS, fake_mode


@pytest.fixture
def mode() -> Any:
    return fake_mode()


def unknown(mode: Any, *shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return FakeTensor(mode, torch.empty(shape, dtype=dtype, device="meta"), torch.device("cpu"))


def facts(tensor: torch.Tensor) -> object:
    assert isinstance(tensor, FakeTensor)
    return (tensor.shape, tensor.stride(), tensor.storage_offset(), tensor.dtype, tensor.is_conj())


def test_what_known_tensors_make_stays_known_while_it_is_small(mode: Any) -> None:
    with mode:
        few, many = torch.arange(2**11), torch.arange(2**14)
        assert bool((few[:, None] >= few[None, :]).any())
        assert bool((many >= 0).all())
        assert isinstance(many[:, None] >= many[None, :], FakeTensor)
        assert int((many > 5).nonzero().sum()) > 0  # so many that the values decide how many


def test_what_is_too_large_to_stay_known_is_still_written_in_place(mode: Any) -> None:
    pixels = torch.ones(MAX_REAL_ELEMENTS + 1)
    with mode:
        pixels.mul_(3)
        pixels[1:].add_(1)
        assert isinstance(pixels + 1, FakeTensor)
    assert (pixels[0], pixels[1]) == (3, 4)


def normalized(unknown: torch.Tensor, known: torch.Tensor) -> None:
    """Writes the running mean, which is the fourth argument."""
    rows, one = unknown.expand(2, 4), torch.ones(4)
    torch.ops.aten._native_batch_norm_legit(rows, None, None, known, one, True, 0.1, 1e-5)


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda unknown, known: known.add_(unknown), id="in place"),
        pytest.param(lambda unknown, known: torch.add(unknown, 1, out=known), id="out"),
        pytest.param(normalized, id="a later argument"),
    ],
)
def test_an_unknown_value_is_not_written_into_a_known_tensor(mode: Any, write: Any) -> None:
    known, weight = torch.zeros(4), unknown(mode, 4)
    with mode, pytest.raises(DataDependentOutputException):
        write(weight, known)


def test_a_known_value_is_written_into_an_unknown_tensor(mode: Any) -> None:
    weight = unknown(mode, 4)
    with mode:
        assert facts(weight.add_(torch.ones(4))) == facts(weight)


def test_an_answer_is_that_of_torch_the_second_time_as_well(mode: Any) -> None:
    with mode:
        for _ in range(2):
            base = unknown(mode, 4, 6)
            view = base.t()[1:].unsqueeze(0)
            assert facts(view) == ((1, 5, 4), (5, 1, 6), 1, torch.float32, False)
            assert view.untyped_storage()._cdata == base.untyped_storage()._cdata
            assert facts(base.to(memory_format=torch.contiguous_format) * 2)[1] == (6, 1)  # type: ignore[index]
            assert facts(base.half() + base)[3] is torch.float32  # type: ignore[index]


def test_what_is_only_sometimes_a_view_is_not_taken_for_one(mode: Any) -> None:
    for _ in range(2):
        turned = unknown(mode, 4, 6).t()
        copied = mode.__torch_dispatch__(torch.ops.aten.contiguous.default, (), (turned,))
        assert copied.untyped_storage()._cdata != turned.untyped_storage()._cdata


def test_a_conjugate_is_not_taken_for_what_it_is_the_conjugate_of(mode: Any) -> None:
    with mode:
        plain = unknown(mode, 2, 2, dtype=torch.complex64)
        assert not plain.view(4).is_conj()
        assert plain.conj().view(4).is_conj()
        assert not plain.view(4).is_conj()


def test_gradients_are_asked_for_where_they_are_wanted(mode: Any) -> None:
    with mode:
        frozen, trained = unknown(mode, 3, 3), unknown(mode, 3, 3).requires_grad_()
        assert not (frozen @ frozen).requires_grad
        assert (frozen @ trained).requires_grad
        with torch.no_grad():
            assert not (frozen @ trained).requires_grad
        assert (frozen @ trained).grad_fn is not None


@pytest.mark.parametrize("other", [torch.ones(4), 0.5], ids=["a tensor", "a number"])
def test_fractions_are_not_written_into_integers(mode: Any, other: Any) -> None:
    codes, weight = unknown(mode, 4, dtype=torch.int8), unknown(mode, 4)
    with mode:
        with pytest.raises(RuntimeError, match="can't be cast to the desired output type"):
            codes.mul_(other)
        assert weight.mul_(other) is weight
        assert codes.mul_(2) is codes
