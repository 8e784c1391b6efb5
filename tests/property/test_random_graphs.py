"""On random module graphs with random cuts, gradcheck says what plain autograd says.

``GRADCHECK_SEED=7 pytest tests/property/test_random_graphs.py`` looks at other graphs.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from hypothesis import HealthCheck, example, given, note, seed, settings

import gradcheck
from gradcheck.reports.report import Break, Report
from tests.property import plain, steps
from tests.property.graphs import (
    CUTS,
    KINDS,
    PLAIN,
    Construction,
    GraphSpec,
    LayerSpec,
    StepSpec,
    constructed,
    graph_specs,
)
from tests.property.seeds import NUM_GRAPHS, SEED, TIMEOUT_S

pytestmark = [
    pytest.mark.property,
    pytest.mark.timeout(TIMEOUT_S),
    pytest.mark.core,
    # torch's own remark on the very defect that is built here
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning"),
]
Test = TypeVar("Test", bound=Callable[..., None])


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The tensors are tiny: threads only wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


deterministic = settings(
    max_examples=NUM_GRAPHS,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


def seeded(test: Test) -> Test:
    """Other graphs where GRADCHECK_SEED asks for them; a failure names it."""
    return seed(SEED)(test) if SEED else test


def starved(report: Report) -> set[str]:
    return {fqn for cut in report.breaks for fqn in cut.starved}


def partly_cut(report: Report) -> set[str]:
    return {fqn for cut in report.breaks for fqn in cut.partial}


def disagreements(report: Report, spec: GraphSpec) -> list[str]:
    """Where the report differs from plain autograd (who starves) and from the construction (where)."""
    graph = constructed(spec)
    model, batch = plain.built(spec)
    cut_off = plain.cut_off(model, batch) - graph.unused
    found = []
    if starved(report) != cut_off:
        found.append(f"starved: {sorted(starved(report))}, autograd says {sorted(cut_off)}")
    some_left = {fqn for fqn in graph.used - cut_off if graph.cuts_of(fqn)}
    if partly_cut(report) - starved(report) != some_left:
        found.append(
            f"partly cut: {sorted(partly_cut(report))}, by construction {sorted(some_left)}"
        )
    expected = verdict(graph, cut_off)
    if expected is not None and report.healthy is not expected:
        codes = [f"{finding.code} {finding.severity}" for finding in report.findings]
        found.append(f"healthy: {report.healthy} {codes}, autograd says {expected}")
    states = {record.fqn: record.gradient for record in report.parameters}
    if states != plain.gradients(model, batch):
        found.append(f"gradients: {states}, autograd says {plain.gradients(model, batch)}")
    return found + wrong_places(report, graph, cut_off)


def verdict(graph: Construction, cut_off: set[str]) -> bool | None:
    """Healthy or not; None where plain autograd cannot tell.

    That is so where the only thing odd is a parameter that nothing uses, or one whose gradient comes by one path while
    a reentrant checkpoint cuts another: present, and wrong.
    """
    if cut_off or not graph.used:
        return False
    reentrant = {name for name, kind in KINDS.items() if kind.reentrant}
    wrong = any(graph.cuts_of(fqn) & reentrant for fqn in graph.healthy)
    return None if graph.unused or wrong else True


def wrong_places(report: Report, graph: Construction, cut_off: set[str]) -> list[str]:
    """Breaks on a line that cuts none of their parameters, and parameters whose cut is not named."""
    found = []
    named: Counter[str] = Counter()
    for cut in report.breaks:
        for fqn in (*cut.starved, *cut.partial):
            expected = {steps.LINES[name] for name in graph.cuts_of(fqn)}
            if line_of(cut) not in expected:
                found.append(f"{fqn} is cut on lines {sorted(expected)}, not on {line_of(cut)}")
        named.update(cut.starved)
    found += [f"{fqn} starves and no break names it" for fqn in sorted(cut_off) if not named[fqn]]
    return found


def line_of(cut: Break) -> int | None:
    """The line in ``steps.py``, or None where the break is placed elsewhere."""
    if cut.location is None or Path(cut.location.file).name != "steps.py":
        return None
    return cut.location.line


def one_cut(kind: str, *, trainable: bool = True) -> GraphSpec:
    """A layer, a step of ``kind`` on top of it, another layer."""
    num_layers = KINDS[kind].num_layers
    layers = tuple(LayerSpec(trainable, trainable) for _ in range(num_layers + 2))
    middle = StepSpec(kind, (0,) * KINDS[kind].num_inputs, tuple(range(1, num_layers + 1)))
    top = StepSpec("linear", (1,), (num_layers + 1,))
    return GraphSpec(layers, (StepSpec("linear", (-1,), (0,)), middle, top), (2,))


def without_grad_input(kind: str) -> GraphSpec:
    """A reentrant checkpoint straight on the batch, under a trainable layer."""
    num_layers = KINDS[kind].num_layers
    layers = tuple(LayerSpec(True, True) for _ in range(num_layers + 1))
    bottom = StepSpec(kind, (-1,) * KINDS[kind].num_inputs, tuple(range(num_layers)))
    return GraphSpec(layers, (bottom, StepSpec("linear", (0,), (num_layers,))), (1,))


def inspected(spec: GraphSpec) -> Report:
    model, batch = plain.built(spec)
    return gradcheck.inspect(model, batch, plain.loss_fn)


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_step_alone(kind: str) -> None:
    assert disagreements(inspected(one_cut(kind)), one_cut(kind)) == []


@pytest.mark.parametrize("kind", [kind for kind in CUTS if KINDS[kind].reentrant])
def test_a_reentrant_checkpoint_on_the_batch(kind: str) -> None:
    spec = without_grad_input(kind)
    assert disagreements(inspected(spec), spec) == []


TRAINS = LayerSpec(weight=True, bias=True)
FOUND = {
    "a prebound function on the result of another": GraphSpec(
        (TRAINS,),
        (
            StepSpec("linear", (-1,), (0,)),
            StepSpec("straight_through", (0,), ()),
            StepSpec("straight_through", (1,), ()),
        ),
        (2,),
    ),
    "a detached alias of a buffer that was written": GraphSpec(
        (TRAINS, TRAINS),
        (
            StepSpec("linear", (-1,), (0,)),
            StepSpec("copy_into_buffer", (0,), ()),
            StepSpec("linear", (1,), (1,)),
            StepSpec("detach", (1,), ()),
        ),
        (2, 3),
    ),
    "a write through a view of what was made without gradients": GraphSpec(
        (TRAINS, TRAINS, TRAINS),
        (
            StepSpec("linear", (-1,), (0,)),
            StepSpec("linear", (-1,), (1,)),
            StepSpec("write_through_view_of_cut", (0, 1), ()),
            StepSpec("linear", (2,), (2,)),
        ),
        (3,),
    ),
}
"""Graphs on which longer runs once found a disagreement."""


@pytest.mark.parametrize("spec", FOUND.values(), ids=FOUND)
def test_graphs_that_once_went_wrong(spec: GraphSpec) -> None:
    assert disagreements(inspected(spec), spec) == []


@seeded
@given(graph_specs())
@deterministic
def test_random_graphs(spec: GraphSpec) -> None:
    note(f"GRADCHECK_SEED={SEED}")
    wrong = disagreements(inspected(spec), spec)
    for line in wrong:
        note(line)
    assert wrong == []


@seeded
@given(graph_specs(most_steps=25, most_cuts=8))
@settings(deterministic, max_examples=max(10, NUM_GRAPHS // 8))
def test_large_random_graphs(spec: GraphSpec) -> None:
    note(f"GRADCHECK_SEED={SEED}")
    assert disagreements(inspected(spec), spec) == []


@seeded
@given(graph_specs())
@example(one_cut("reentrant_inner_detach"))
@deterministic
def test_the_construction_agrees_with_autograd(spec: GraphSpec) -> None:
    """The two oracles, neither of which knows gradcheck, tell the same story."""
    graph = constructed(spec)
    model, batch = plain.built(spec)
    assert plain.cut_off(model, batch) - graph.unused == graph.starved
    assert set(plain.gradients(model, batch)) >= set(graph.parameters)
    for fqn in graph.starved:
        assert graph.cuts_of(fqn)


def test_the_graphs_are_of_every_kind() -> None:
    seen: Counter[str] = Counter()
    many = 500

    @given(graph_specs())
    @settings(deterministic, max_examples=many)
    def collect(spec: GraphSpec) -> None:
        graph = constructed(spec)
        seen.update({step.kind for step in spec.steps})
        seen["healthy" if not graph.starved else "broken"] += 1
        seen["partly starved"] += bool(graph.starved and graph.healthy)

    collect()
    assert all(seen[kind] for kind in KINDS), seen
    assert min(seen["healthy"], seen["broken"], seen["partly starved"]) > many // 10, seen


def test_every_cut_has_its_line() -> None:
    marks = {op.cut for kind in KINDS.values() for op in kind.ops if op.cut}
    marks |= {name for name, kind in KINDS.items() if kind.reentrant}
    assert marks == set(steps.LINES)
    assert not set(PLAIN) & set(steps.LINES)


def test_a_wrong_report_is_noticed() -> None:
    spec = one_cut("detach")
    report = inspected(spec)
    (cut,) = (b for b in report.breaks if b.starved)
    assert cut.location is not None
    elsewhere = dataclasses.replace(cut.location, line=cut.location.line + 1)
    assert disagreements(dataclasses.replace(report, breaks=()), spec)
    assert disagreements(dataclasses.replace(report, findings=()), spec)
    for wrong in (
        dataclasses.replace(cut, location=elsewhere),
        dataclasses.replace(cut, location=None),
        dataclasses.replace(cut, starved=cut.starved[1:]),
        dataclasses.replace(cut, starved=(*cut.starved, "steps.2.layers.0.weight")),
    ):
        assert disagreements(dataclasses.replace(report, breaks=(wrong,)), spec)


def test_a_partial_break_that_is_left_out_is_noticed() -> None:
    spec = one_cut("straight_through_detach")
    report = inspected(spec)
    assert partly_cut(report)
    assert disagreements(report, spec) == []
    assert disagreements(dataclasses.replace(report, breaks=()), spec)
