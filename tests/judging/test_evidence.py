"""How a finding about a break is filled: its evidence, its severity, and whose line it is."""

from dataclasses import replace

import pytest

from gradcheck.core.location import Location
from gradcheck.findings.evidence import (
    break_evidence,
    break_finding,
    concerned,
    finding,
    library_of,
    loss_of_gradient,
)
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.judging.chain import ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.trace.rows import NONE, Frame, Switch
from gradcheck.trace.trace import Trace
from tests.judging.drawn import UNMARKED, Drawing

WORDS = {"what": "What.", "why": "Why.", "remedy": "Do this."}
SITE = "/venv/lib/python3.11/site-packages"


def detached() -> tuple[Trace, ChainBreak]:
    """``a`` is detached on line 3 of the module block."""
    draw = Drawing()
    h = draw.call("linear", draw.batch(), draw.leaf("a"), module="block")
    cut = draw.detach(h, line=3, module="block")
    trace = draw.loss(draw.call("linear", cut, draw.leaf("b")))
    return trace, chain_of(trace).breaks[0]


def switched(**fields: object) -> tuple[Trace, ChainBreak]:
    """``a`` is read under a ``no_grad`` on line 3 of the module tower."""
    draw = Drawing()
    with draw.no_grad(**{"line": 3, "module": "tower", **fields}):  # type: ignore[arg-type]
        h = draw.call("linear", draw.batch(), draw.leaf("a"), line=4, module="block")
    trace = draw.loss(draw.call("linear", h, draw.leaf("b")))
    return trace, chain_of(trace).breaks[0]


def at(trace: Trace, line: int, file: str = f"{SITE}/somelib/layer.py", **fields: object) -> Trace:
    """``trace`` with its ``line`` in an installed package."""
    frames = list(trace.frames)
    frames[line] = replace(frames[line], **{"file": file, "library": True, **fields})  # type: ignore[arg-type]
    return replace(trace, frames=tuple(frames))


def test_a_finding_is_filled_from_indices() -> None:
    trace, _ = detached()
    place = Location(file="model.py", line=3, text="line 3")
    repair = Repair(name="cure", summary="Cures it.")
    assert finding(
        trace,
        "GC202",
        "warning",
        **WORDS,
        module=0,
        at=place,
        parameters=frozenset({1, 0}),
        evidence=(("tensor", "fp32[2, 8]"), ("empty", "")),
        repairs=(repair,),
    ) == Finding(
        code="GC202",
        rule="detached-tensor",
        severity="warning",
        message="What. Why. Do this.",
        module="block",
        location=place,
        parameters=("a", "b"),
        evidence=(("tensor", "fp32[2, 8]"),),
        repairs=(repair,),
        num_elements=128,
    )


def test_a_finding_about_nothing_in_particular() -> None:
    trace, _ = detached()
    assert finding(trace, "GC201", "error", **WORDS) == Finding(
        code="GC201",
        rule="loss-without-graph",
        severity="error",
        message="What. Why. Do this.",
    )


def test_the_evidence_of_a_break() -> None:
    trace, broken = detached()
    assert break_evidence(trace, broken) == (
        ("tensor", "fp32[2, 8]"),
        ("made by", f"linear in block, model.py:{UNMARKED}"),
        ("cut by", "Tensor.detach in block, model.py:3"),
        ("switched off by", ""),
        ("seen", ""),
        ("costs", "1 parameter tensor (64 elements)"),
        ("times", ""),
        ("certainty", ""),
    )


def test_the_evidence_of_a_break_that_says_more() -> None:
    trace, broken = detached()
    more = replace(
        broken,
        call=NONE,
        value=NONE,
        times=2,
        inferred=True,
        detail="numpy",
        starved=frozenset(),
        partial=frozenset({0, 1}),
    )
    assert break_evidence(trace, more) == (
        ("tensor", ""),
        ("made by", ""),
        ("cut by", ""),
        ("switched off by", ""),
        ("seen", "numpy"),
        ("costs", "2 parameter tensors (128 elements)"),
        ("times", "2 calls of the step"),
        ("certainty", "inferred: the call itself was not seen"),
    )


def test_the_first_rows_of_the_tables_are_rows() -> None:
    trace, broken = detached()
    first = dict(break_evidence(trace, replace(broken, call=0, value=0)))
    assert first["tensor"] == "fp32[2, 8]"
    assert first["made by"] == "outside the step (batch or constant)"
    assert first["cut by"] == f"linear in block, model.py:{UNMARKED}"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "no_grad in tower, model.py:3"),
        ({"decorated": "Net.forward"}, "no_grad on Net.forward in tower, model.py:3"),
        (
            {"module": None, "kind": "inference_mode"},
            "inference_mode in the loss function, model.py:3",
        ),
        ({"line": NONE}, "no_grad in tower"),
    ],
)
def test_who_switched_autograd_off(fields: dict[str, object], text: str) -> None:
    trace, broken = switched(**fields)
    assert dict(break_evidence(trace, broken))["switched off by"] == text


def test_who_is_concerned_and_what_it_costs() -> None:
    trace, broken = detached()
    assert concerned(broken) == frozenset({0})
    assert loss_of_gradient(trace, broken) == (
        "1 parameter tensor (64 elements) before it get no gradient"
    )
    both = replace(broken, partial=frozenset({1}))
    assert concerned(both) == frozenset({0})
    partial = replace(broken, starved=frozenset(), partial=frozenset({0, 1}))
    assert concerned(partial) == frozenset({0, 1})
    assert loss_of_gradient(trace, partial) == (
        "2 parameter tensors (128 elements) before it get a gradient, "
        "without the part that comes through here"
    )


def test_a_break_that_starves_is_an_error_at_its_line() -> None:
    trace, broken = detached()
    repair = Repair(name="cure", summary="Cures it.")
    found = break_finding(trace, "GC202", broken, **WORDS, repairs=(repair,))
    evidence = tuple(pair for pair in break_evidence(trace, broken) if pair[1])
    assert found == Finding(
        code="GC202",
        rule="detached-tensor",
        severity="error",
        message="What. Why. Do this.",
        module="block",
        location=Location(file="model.py", line=3, text="line 3"),
        parameters=("a",),
        evidence=evidence,
        repairs=(repair,),
        num_elements=64,
    )


def test_a_partial_break_is_a_warning_and_what_is_given_wins() -> None:
    trace, broken = switched()
    partial = replace(broken, starved=frozenset(), partial=frozenset({0}))
    found = break_finding(trace, "GC203", partial, **WORDS)
    assert (found.severity, found.module, found.parameters) == ("warning", "tower", ("a",))
    place = Location(file="train.py", line=9, text="")
    given = break_finding(trace, "GC203", partial, **WORDS, severity="note", module=1, at=place)
    assert (given.severity, given.module, given.location) == ("note", "block", place)
    nowhere = break_finding(trace, "GC203", broken, **WORDS, module=NONE)
    assert (nowhere.severity, nowhere.module) == ("error", None)


def test_of_a_librarys_own_line_the_finding_says_so() -> None:
    trace, broken = detached()
    trace = at(trace, 3)
    trace = replace(
        trace, parameters=(replace(trace.parameters[0], module=0), *trace.parameters[1:])
    )
    found = break_finding(trace, "GC202", broken, **{**WORDS, "remedy": "Do A."})
    assert found.message == (
        "What. Why. The line is in somelib, and no setting of the training changes it: leave the modules out of "
        "target_modules, or freeze them. Where the code is yours to change: do A."
    )
    assert found.evidence[-1] == ("out of reach", "block: somelib cuts them off by itself")
    partial = replace(broken, starved=frozenset(), partial=frozenset({0}))
    found = break_finding(trace, "GC202", partial, **WORDS)
    assert found.message == "What. Why. Do this."
    assert "out of reach" not in dict(found.evidence)


class TestLibraryOf:
    def test_the_users_own_line_is_in_none(self) -> None:
        trace, broken = detached()
        assert library_of(trace, broken) == ""
        assert library_of(at(trace, 3, library=False), broken) == ""
        assert library_of(trace, replace(broken, frame=NONE)) == ""

    def test_a_break_without_a_line_is_nobodys(self) -> None:
        trace, broken = detached()
        last = len(trace.frames) - 1
        assert library_of(at(trace, last), replace(broken, frame=NONE)) == ""

    @pytest.mark.parametrize(
        ("file", "package"),
        [
            (f"{SITE}/somelib/layer.py", "somelib"),
            (f"{SITE}/single.py", "single"),
            ("/usr/lib/python3/dist-packages/somelib/a/b.py", "somelib"),
            ("C:\\venv\\Lib\\site-packages\\somelib\\layer.py", "somelib"),
            (f"{SITE}/outer/site-packages/vendored/x.py", "vendored"),
            ("/usr/lib/python3.11/contextlib.py", ""),
            ("site-packages/somelib/x.py", "somelib"),
            ("somelib/site-packages", ""),
        ],
    )
    def test_the_package_is_read_off_the_file(self, file: str, package: str) -> None:
        trace, broken = detached()
        assert library_of(at(trace, 3, file), broken) == package

    @pytest.mark.parametrize(
        "cause", ["reentrant-checkpoint", "hidden-input", "recompute-mismatch"]
    )
    def test_what_a_setting_does_is_no_librarys(self, cause: str) -> None:
        trace, broken = detached()
        assert library_of(at(trace, 3), replace(broken, cause=cause)) == ""

    def test_of_a_switch_its_own_line_counts(self) -> None:
        trace, broken = switched()
        assert library_of(at(trace, 3), broken) == "somelib"
        elsewhere = replace(broken, frame=4)
        assert library_of(at(trace, 4), elsewhere) == ""
        assert library_of(at(trace, 3), elsewhere) == "somelib"

    def test_of_a_decorator_its_line_counts_where_it_is_known(self) -> None:
        trace, broken = switched(decorated="Net.forward")
        assert library_of(at(trace, 3, text="@torch.no_grad()"), broken) == "somelib"
        assert library_of(at(trace, 3, text="@torch.no_grad()", library=False), broken) == ""

    @pytest.mark.parametrize("line", [3, NONE])
    def test_of_a_librarys_decorated_forward_the_module_tells(self, line: int) -> None:
        trace, broken = switched(decorated="Net.forward", line=line)
        assert library_of(trace, broken) == "tower"  # its type is tower.models.Net
        assert library_of(self.replaced(trace, module=NONE), broken) == ""
        assert library_of(self.replaced(trace, decorated="Net.generate"), broken) == ""

    def replaced(self, trace: Trace, **fields: object) -> Trace:
        switch: Switch = replace(trace.switches[0], **fields)  # type: ignore[arg-type]
        return replace(trace, switches=(switch,))


def test_the_line_of_a_statement_comes_along() -> None:
    trace, broken = detached()
    frames = list(trace.frames)
    frames[3] = Frame(
        file="model.py",
        line=3,
        function="forward",
        text="h = cut(",
        library=False,
        statement=((3, "h = cut("), (4, "h)")),
    )
    trace = replace(trace, frames=tuple(frames))
    found = break_finding(trace, "GC202", broken, **WORDS)
    assert found.location == Location(
        file="model.py", line=3, text="h = cut(", statement=((3, "h = cut("), (4, "h)"))
    )
