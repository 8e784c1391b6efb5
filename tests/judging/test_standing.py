"""Whether a repaired step is better, worse, or another one."""

import math
from dataclasses import replace

import pytest

from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.reports.report import ParameterRecord, Report
from gradcheck.reports.standing import Standing, changed_gradients, difference, loss_changed
from gradcheck.trace.events import Failure
from gradcheck.trace.model import Environment
from tests.judging.drawn import Drawing

CPU = Environment(versions=(), python="3.11", platform="", device="cpu")
GPU = replace(CPU, device="cuda:0")
LINE = Location(file="model.py", line=3, text="line 3")


def record(
    fqn: str, gradient: str = "flows", norm: float | None = 1.0, **fields: object
) -> ParameterRecord:
    known = {
        "shape": (8, 8),
        "dtype": "float32",
        "num_elements": 64,
        "requires_grad": gradient != "frozen",
        "group": fqn,
        **fields,
    }
    return ParameterRecord(fqn=fqn, gradient=gradient, grad_norm=norm, **known)  # type: ignore[arg-type]


def found(code: str, *parameters: str, severity: str = "error", **fields: object) -> Finding:
    return Finding(
        code=code,
        rule=code,
        severity=severity,  # type: ignore[arg-type]
        message="",
        parameters=parameters,
        **fields,  # type: ignore[arg-type]
    )


def failure(stage: str) -> Failure:
    return Failure(
        stage=stage,  # type: ignore[arg-type]
        type="RuntimeError",
        message="no",
        frame=-1,
        user_frame=-1,
        module=-1,
        call=-1,
    )


def step(
    *records: ParameterRecord,
    findings: tuple[Finding, ...] = (),
    loss: float | None = 2.0,
    raised: str = "",
    backward: bool = True,
    environment: Environment = CPU,
    unjudged: str = "",
) -> Standing:
    """A recorded step with ``records``; ``raised`` in forward or backward."""
    draw = Drawing()
    trace = replace(
        draw.loss(draw.leaf("a")),
        environment=environment,
        backward_ran=backward,
        failure=failure(raised) if raised else None,
    )
    report = Report(
        findings=findings,
        parameters=records,
        breaks=(),
        skipped=(),
        environment=environment,
        loss=loss,
        unjudged=unjudged,
    )
    return Standing(trace=trace, report=report)


A, B = record("a"), record("b")
NO_A = record("a", "missing", None)
WELL = step(A, B)
STARVED = step(NO_A, B, findings=(found("GC202", "a"),))


def test_the_loss_is_a_number_or_nan() -> None:
    assert step(loss=0.0).loss == 0.0
    assert math.isnan(step(loss=None).loss)


def test_errors_are_sorted_and_one_for_each() -> None:
    findings = (
        found("GC301"),
        found("GC202"),
        found("GC301"),
        found("GC102", severity="warning"),
        found("GC103", severity="note"),
    )
    standing = step(findings=findings)
    assert standing.errors == ("GC202", "GC301", "GC301")
    assert [standing.has(code) for code in ("GC102", "GC202", "GC999")] == [True, True, False]
    assert not step().has("GC202")


def test_the_places_of_errors() -> None:
    findings = (
        found("GC202", module="block", location=LINE),
        found("GC301"),
        found("GC102", severity="warning", module="block"),
    )
    standing = step(findings=findings)
    here, nowhere = ("GC202", "block", LINE), ("GC301", None, None)
    assert standing.error_places() == {here, nowhere}
    assert standing.error_places("GC202") == {here}
    assert standing.error_places("GC102") == set()


@pytest.mark.parametrize(
    ("fields", "stage"),
    [
        ({"raised": "forward", "backward": False}, 0),
        ({"raised": "backward", "backward": False}, 1),
        ({"raised": "backward", "backward": True}, 1),
        ({"backward": False}, 1),
        ({}, 2),
    ],
)
def test_how_far_a_step_came(fields: dict[str, object], stage: int) -> None:
    assert step(**fields).stage == stage  # type: ignore[arg-type]


def test_who_is_reached() -> None:
    standing = step(
        A,
        record("waits", "zero", 0.0, explanation="waits for lora_B"),
        record("zero", "zero", 0.0),
        NO_A,
        record("cold", "frozen", None),
        record("cold flows", "flows", requires_grad=False, explanation="odd"),
    )
    assert standing.reached == frozenset({"a", "waits"})
    assert standing.trainable == frozenset({"a", "waits", "zero"})


def test_what_is_measured() -> None:
    assert WELL.measure() == (True, 2, 1.0, 0, 0)
    assert STARVED.measure() == (False, 2, 0.5, -1, -1)
    assert step().measure() == (True, 2, 0.0, 0, 0)
    warned = step(A, findings=(found("GC102", "a", severity="warning"),), backward=False)
    assert warned.measure() == (True, 1, 1.0, 0, 0)
    assert step(A, unjudged="nobody looked").measure() == (False, 2, 1.0, 0, 0)
    many = step(NO_A, findings=(found("GC202", "a", "b"), found("GC301", "c")))
    assert many.measure() == (False, 2, 0.0, -2, -3)


class TestBetter:
    def test_cured_is_better_and_never_the_other_way(self) -> None:
        assert WELL.better_than(STARVED, "GC999")
        assert not STARVED.better_than(WELL, "GC202")

    def test_equal_is_not_better(self) -> None:
        assert not STARVED.better_than(STARVED, "GC202")
        assert not WELL.better_than(WELL, "GC202")

    def test_of_equal_steps_the_findings_rule_is_gone(self) -> None:
        before = step(A, B, findings=(found("GC102", severity="warning"),))
        assert WELL.better_than(before, "GC102")
        assert not WELL.better_than(before, "GC103")
        assert not before.better_than(WELL, "GC102")
        assert not before.better_than(before, "GC102")

    def test_another_error_instead_is_not_better(self) -> None:
        error = found("GC202", "a")
        warned = (error, found("GC102", severity="warning"))
        before = step(NO_A, B, findings=warned)
        other = step(NO_A, B, findings=(found("GC301", "a"),))
        assert other.measure() == before.measure()
        assert not other.better_than(before, "GC102")
        assert STARVED.better_than(before, "GC102")

    def test_further_is_better_than_more(self) -> None:
        raised = step(A, B, findings=(found("GC202"),), raised="backward")
        assert STARVED.better_than(raised, "")

    def test_more_reached_is_better_than_fewer_errors(self) -> None:
        one = step(NO_A, B, findings=(found("GC202"),))
        two = step(A, B, findings=(found("GC202"), found("GC301")))
        assert two.better_than(one, "")
        assert not one.better_than(two, "")


class TestWorse:
    def test_nothing_worse(self) -> None:
        assert WELL.worse_than(STARVED) == ""
        assert WELL.worse_than(WELL) == ""

    def test_it_raises(self) -> None:
        raised = step(A, B, raised="backward")
        assert raised.worse_than(WELL) == "with it the backward raises RuntimeError: no"
        further = step(A, B, raised="forward")
        assert further.worse_than(raised) == "with it the forward raises RuntimeError: no"

    def test_it_raised_before_as_well(self) -> None:
        raised = step(A, B, raised="backward")
        assert raised.worse_than(raised) == ""

    def test_a_backward_that_did_not_run_raised_nothing(self) -> None:
        assert step(A, B, backward=False).worse_than(WELL) == ""

    def test_parameters_lose_the_gradient(self) -> None:
        after = step(record("b", "missing", None), NO_A)
        assert after.worse_than(WELL) == "with it the gradient of 2 parameter tensors is lost (a)"
        assert STARVED.worse_than(WELL) == "with it the gradient of 1 parameter tensor is lost (a)"

    def test_a_parameter_that_is_frozen_now_has_lost_nothing(self) -> None:
        assert step(record("a", "frozen", None), B).worse_than(WELL) == ""

    @pytest.mark.parametrize("loss", [math.nan, math.inf])
    def test_the_loss_is_spoilt(self, loss: float) -> None:
        assert step(A, B, loss=loss).worse_than(WELL) == f"with it the loss is {loss}"
        assert step(A, B, loss=loss).worse_than(step(A, B, loss=loss)) == ""

    def test_a_loss_that_could_not_be_read_is_not_spoilt(self) -> None:
        assert step(A, B, loss=None).worse_than(WELL) == ""
        assert WELL.worse_than(step(A, B, loss=None)) == ""


@pytest.mark.parametrize(
    ("before", "after", "environment", "changed"),
    [
        (2.0, 2.0, CPU, False),
        (2.0, 2.0000001, CPU, True),
        (2.0, 2.001, GPU, False),
        (2.0, 2.1, GPU, True),
        (2.0, 2.003, GPU, True),
        (2.0, math.nan, CPU, False),
        (math.inf, 2.0, CPU, False),
        (None, 2.0, CPU, False),
    ],
)
def test_whether_the_loss_changed(
    before: float | None, after: float, environment: Environment, changed: bool
) -> None:
    reference = step(loss=before, environment=GPU)
    assert loss_changed(reference, step(loss=after, environment=environment)) is changed


class TestChangedGradients:
    def test_the_largest_difference_is_told(self) -> None:
        after = step(record("a", norm=1.5), record("b", norm=0.25), record("new", norm=9.0))
        reference = step(A, B, record("gone", norm=3.0))
        assert changed_gradients(reference, after) == (
            "the gradients differ from those without checkpointing by up to 75.0% in norm (b)"
        )

    def test_relative_to_the_reference(self) -> None:
        after = step(record("a", norm=5.0), record("b", norm=1.5))
        assert changed_gradients(step(record("a", norm=4.0), B), after) == (
            "the gradients differ from those without checkpointing by up to 50.0% in norm (b)"
        )

    def test_the_first_of_two_equal_ones(self) -> None:
        after = step(record("a", norm=1.5), record("b", norm=1.5))
        assert changed_gradients(WELL, after).endswith("50.0% in norm (a)")

    @pytest.mark.parametrize(
        "after",
        [
            step(A, B),
            step(record("a", norm=1.001), B),
            step(record("a", norm=0.9995), B),
            step(record("a", norm=None), B),
            step(record("a", norm=3.0, requires_grad=False), B),
            step(record("a", norm=3.0), B, loss=2.5),
        ],
    )
    def test_nothing_to_tell(self, after: Standing) -> None:
        assert changed_gradients(WELL, after) == ""

    def test_a_little_over_the_bound(self) -> None:
        after = step(record("a", norm=1.0011), B)
        assert changed_gradients(WELL, after).endswith("by up to 0.1% in norm (a)")

    @pytest.mark.parametrize(
        "a", [record("a", "zero", 0.0), record("a", "zero", 2.0), record("a", norm=0.0)]
    )
    def test_where_the_reference_had_none(self, a: ParameterRecord) -> None:
        assert changed_gradients(step(a, B), step(record("a", norm=3.0), B)) == ""

    def test_a_parameter_without_a_reference_does_not_hide_the_next(self) -> None:
        after = step(record("new"), record("a", norm=None), record("b", norm=2.0))
        assert changed_gradients(WELL, after).endswith("100.0% in norm (b)")

    def test_a_reference_that_did_not_run_tells_nothing(self) -> None:
        after = step(record("a", norm=3.0), B)
        assert changed_gradients(step(A, B, raised="backward"), after) == ""
        assert changed_gradients(WELL, after) != ""


class TestDifference:
    def test_of_a_cure(self) -> None:
        before = step(NO_A, B, findings=(found("GC202"), found("GC301"), found("GC202")))
        assert difference(before, WELL) == (
            "cures GC202, GC301; 2 of 2 trainable tensors with a gradient, before 1 of 2; loss 2 as before"
        )

    def test_of_half_a_cure(self) -> None:
        before = step(NO_A, findings=(found("GC202"), found("GC301")), loss=1.23456789)
        after = step(A, findings=(found("GC301"),), loss=3.0)
        assert difference(before, after) == (
            "cures GC202; 1 of 1 trainable tensor with a gradient, before 0 of 1; loss 3, before 1.23457"
        )

    def test_of_none(self) -> None:
        after = step(A, record("cold", "frozen", None), loss=math.nan)
        assert difference(WELL, after) == "1 of 1 trainable tensor with a gradient, before 2 of 2"

    def test_of_a_step_that_had_no_loss(self) -> None:
        assert difference(step(A, B, loss=None), WELL) == (
            "2 of 2 trainable tensors with a gradient, before 2 of 2; loss 2, before none"
        )
