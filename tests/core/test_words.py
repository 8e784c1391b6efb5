"""Names that fold, and the other words of findings."""

import pytest

from gradcheck.core.words import counted, folded, listed, ranged
from gradcheck.findings.wording import raised_text
from gradcheck.trace.events import Failure


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], ()),
        (["a.b"], ("a.b",)),
        ([f"layers.{i}.q" for i in range(32)], ("layers.0-31.q",)),
        (["layers.0.q", "layers.2.q", "layers.3.q"], ("layers.0,2-3.q",)),
        (["layers.0.q", "layers.1.k"], ("layers.0.q", "layers.1.k")),
        ([f"l.{i}.e.{j}" for i in (0, 1) for j in (0, 1, 2)], ("l.0-1.e.0-2",)),
        (["l.0.e.0", "l.0.e.1", "l.1.e.5"], ("l.0.e.0-1", "l.1.e.5")),
        (["fc1", "fc2"], ("fc1", "fc2")),
        (["0", "1", "3"], ("0-1,3",)),
        (["x.1", "x.1"], ("x.1",)),
    ],
)
def test_layers_fold_into_ranges(names: list[str], expected: tuple[str, ...]) -> None:
    assert folded(names) == expected


def test_ranges() -> None:
    assert ranged([0, 1, 2, 3, 7]) == "0-3,7"
    assert ranged([]) == ""


def test_long_lists_say_how_many_more() -> None:
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert listed([""]) == "the model itself"


def test_siblings_share_their_parent() -> None:
    names = [f"layers.{i}.{name}" for i in (0, 1) for name in ("q", "v")]
    assert listed(names) == "layers.0-1.{q,v}"
    assert listed(["x", "x.q"]) == "x, x.q"


def test_counts() -> None:
    assert counted(1, "tensor") == "1 tensor"
    assert counted(1024, "tensor") == "1,024 tensors"


def test_an_exception_is_shown_in_one_bounded_line() -> None:
    known = {"stage": "forward", "type": "ValueError", "frame": 0, "user_frame": 0, "module": 0}
    assert raised_text(Failure(message="", call=-1, **known)) == "ValueError"
    assert raised_text(Failure(message="a\nb", call=-1, **known)) == "ValueError: a"
    assert len(raised_text(Failure(message="x" * 5000, call=-1, **known))) < 300
