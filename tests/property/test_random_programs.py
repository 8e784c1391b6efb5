"""On random programs, written out as Python source, gradcheck says what plain torch says.

``GRADCHECK_PROGRAMS=20000 pytest tests/property/test_random_programs.py`` looks longer, ``GRADCHECK_SEED=5000`` at the
programs from this seed on; ``python -m tests.property.programs`` shows what a seed or a kind of statement comes to.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import pytest
import torch

from gradcheck.reports.report import Report
from tests.property.programs import plain_torch
from tests.property.programs.comparing import Checked, checked, shown
from tests.property.programs.drawing import drawn, one
from tests.property.programs.kinds import Kind, everything, kind
from tests.property.programs.program import Program, Source, source, statements
from tests.property.programs.shrinking import shrunk
from tests.property.seeds import NUM_PROGRAMS, SEED, TIMEOUT_S

CHUNK = 60
STATEMENTS = [it for it in everything() if "ins" not in it.inputs]
CUTS = [it for it in STATEMENTS if it.cuts]

pytestmark = [
    pytest.mark.property,
    pytest.mark.timeout(TIMEOUT_S),
    pytest.mark.core,
    # what torch says of the very defects that are built here
    pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad=True:UserWarning"),
    # torch 2.9 to 2.12, once in a process: the program that meets it first would count as one that does not run
    pytest.mark.filterwarnings("ignore:Converting a tensor:UserWarning"),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The tensors are tiny: threads only wait for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def failure(program: Program) -> str:
    """What is wrong, with the smallest program that shows it; empty where nothing is."""

    def wrong(candidate: Program) -> list[str]:
        found = checked(candidate, "program")
        return [] if found is None else found.wrong()

    if not wrong(program):
        return ""
    small = shrunk(program, lambda candidate: bool(wrong(candidate)))
    return "\n".join([*wrong(small), shown(small)])


@pytest.mark.parametrize("of", STATEMENTS, ids=lambda it: it.name)
@pytest.mark.parametrize("last", [False, True], ids=["a layer after it", "nothing after it"])
def test_each_kind_of_statement_alone(of: Kind, last: bool) -> None:
    assert failure(one(of, last=last)) == ""


@pytest.mark.parametrize("first", range(0, NUM_PROGRAMS, CHUNK))
def test_random_programs(first: int) -> None:
    for seed in range(SEED + first, SEED + min(first + CHUNK, NUM_PROGRAMS)):
        found = failure(drawn(seed))
        assert not found, f"seed {seed}\n{found}"


def test_the_programs_are_of_every_kind() -> None:
    seen: Counter[str] = Counter()
    for seed in range(1000):
        seen.update({item.kind.name for item in statements(drawn(seed).root)})
    rare = {it.name: seen[it.name] for it in everything() if seen[it.name] < 2}
    assert set(rare) <= {it.name for it in everything() if "rare" in it.tags}, rare


def test_the_programs_are_healthy_broken_and_in_between() -> None:
    seen: Counter[str] = Counter()
    for seed in range(150):
        text = source(drawn(seed))
        try:
            truth = plain_torch.truth(text, "program")
        except plain_torch.Healed:
            seen["does not run healed"] += 1
            continue
        states = set(truth.states.values())
        seen["raises"] += truth.error is not None
        seen["whole"] += bool(text.cuts) and not truth.breaks
        seen["broken"] += bool(truth.lost)
        seen["partial"] += bool(set(truth.breaks) - truth.lost)
        seen["flows and is missing"] += {"flows", "missing"} <= states
    assert min(seen[it] for it in ("whole", "broken", "partial", "flows and is missing")) >= 10
    assert seen["does not run healed"] + seen["raises"] <= 15, seen


@pytest.mark.parametrize(
    "of", [it for it in CUTS if "reentrant" not in it.name], ids=lambda it: it.name
)
def test_a_cut_takes_gradients_and_healed_it_gives_them_back(of: Kind) -> None:
    """The oracle alone: what is written as a cut is one, and the healed program is whole."""
    truth = plain_torch.truth(source(one(of)), "program")
    assert truth.error is None
    assert set(truth.healed.values()) - {"frozen"} == {"flows"}
    assert truth.breaks or truth.faint


def test_healing_keeps_the_loss() -> None:
    for of in CUTS:
        text = source(one(of))
        losses = [_loss(text, active) for active in (None, frozenset())]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5), of.name


def _loss(text: Source, active: frozenset[tuple[int, int]] | None) -> float:
    module = plain_torch.module_of(text.text(active), "program")
    model, batch = module.build()
    return float(module.loss_fn(model, batch).detach())


def test_a_wrong_report_is_noticed() -> None:
    found = checked(one(kind("detach")), "program")
    assert found is not None
    assert found.wrong() == []
    report = found.report
    (cut,) = (it for it in report.breaks if it.starved)
    (error,) = (it for it in report.findings if it.severity == "error")
    assert cut.location is not None
    assert error.location is not None
    elsewhere = dataclasses.replace(cut.location, line=cut.location.line + 1)
    other = report.parameters[-1]
    assert other.fqn not in cut.starved
    for wrong in (
        dataclasses.replace(report, breaks=()),
        dataclasses.replace(report, findings=()),
        _with_break(report, dataclasses.replace(cut, location=elsewhere)),
        _with_break(report, dataclasses.replace(cut, location=None)),
        _with_break(report, dataclasses.replace(cut, starved=cut.starved[1:])),
        _with_break(report, dataclasses.replace(cut, starved=(*cut.starved, other.fqn))),
        _with_break(report, dataclasses.replace(cut, partial=(other.fqn,))),
        dataclasses.replace(report, findings=(dataclasses.replace(error, location=elsewhere),)),
        dataclasses.replace(
            report,
            parameters=(*report.parameters[:-1], dataclasses.replace(other, gradient="missing")),
        ),
    ):
        assert _against(found, wrong).wrong()


def test_a_false_alarm_is_noticed() -> None:
    found, healthy = checked(one(kind("detach")), "program"), checked(one(kind("add")), "program")
    assert found is not None
    assert healthy is not None
    assert healthy.wrong() == []
    assert _against(
        healthy, dataclasses.replace(healthy.report, findings=found.report.findings)
    ).wrong()
    assert _against(
        healthy, dataclasses.replace(healthy.report, breaks=found.report.breaks)
    ).wrong()


def test_a_failing_program_is_made_small() -> None:
    def fails(program: Program) -> bool:
        return any(item.kind.name == "item" for item in statements(program.root))

    program = next(it for it in map(drawn, range(1000)) if fails(it))
    small = shrunk(program, fails)
    names = [item.kind.name for item in statements(small.root)]
    assert "item" in names
    assert len(names) <= 3 < len(list(statements(program.root)))


def _with_break(report: Report, cut: object) -> Report:
    return dataclasses.replace(report, breaks=(cut,))


def _against(found: Checked, report: Report) -> Checked:
    return dataclasses.replace(found, report=report)
