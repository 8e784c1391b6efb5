"""A Report of a program against what plain torch says of it."""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass

import gradcheck
from gradcheck.reports.report import Break, Report
from tests.property.programs import plain_torch
from tests.property.programs.plain_torch import Truth
from tests.property.programs.program import Cut, CutKey, Program, Source, source

_PLACED = frozenset({"GC202", "GC203", "GC204", "GC205", "GC206", "GC301", "GC302"})
"""Rules whose findings stand on the line that cuts."""


@dataclass(frozen=True)
class Checked:
    """One program, the truth about it, and the Report."""

    source: Source
    truth: Truth
    report: Report
    file: str

    def wrong(self) -> list[str]:
        """Where they differ, in words; empty where they agree."""
        found = list(self._verdict())
        if self.report.verdict == "not-judged":
            return found
        if self.truth.error is None:
            states = {record.fqn: record.gradient for record in self.report.parameters}
            found += [
                f"{fqn} is {states.get(fqn)}, in plain torch {state}"
                for fqn, state in self.truth.states.items()
                if states.get(fqn) != state
            ]
            if "non-finite" not in {*states.values(), *self.truth.healed.values()}:
                found += [*self._breaks(), *self._missed(), *self._findings(), *self._notes()]
        return found

    def _verdict(self) -> Iterator[str]:
        expected = self.verdict()
        if expected is not None and self.report.verdict != expected:
            codes = [f"{finding.code} {finding.severity}" for finding in self.report.findings]
            yield f"{self.report.verdict} {codes}, in plain torch {expected}"

    def verdict(self) -> str | None:
        """What the verdict must be; None where plain torch cannot tell.

        That is so where nothing is odd but a parameter that nothing uses, and where a gradient is there and
        incomplete by way of a checkpoint.
        """
        truth = self.truth
        states = set(truth.states.values())
        if truth.error is not None or truth.lost or "non-finite" in states:
            return "broken"
        unknown = {"missing", "non-finite"} & set(truth.healed.values())
        if not states & {"flows"} or unknown or truth.dim:
            return None
        ways = {cut.kind.name for cut in self.source.cuts if self._effective(cut.key)}
        return None if any("reentrant" in way or "function" in way for way in ways) else "healthy"

    def _effective(self, key: CutKey) -> bool:
        return any(key in keys for keys in self.truth.breaks.values())

    def _lines(self, fqn: str) -> set[int]:
        """Lines on which a break of this parameter may be placed."""
        keys = self.truth.breaks.get(fqn, set()) | self.truth.faint.get(fqn, set())
        cuts = self._cuts()
        outer = {key for it in keys for key in cuts[it].inside if self._effective(key)}
        return {line for key in keys | outer for line in cuts[key].lines}

    def _cuts(self) -> dict[CutKey, Cut]:
        return {cut.key: cut for cut in self.source.cuts}

    def _breaks(self) -> Iterator[str]:
        """Breaks on a line that cuts none of their parameters."""
        for cut in self.report.breaks:
            line = self._line(cut)
            for fqn in (*cut.starved, *cut.partial):
                if fqn in self.truth.dim:
                    continue
                if line not in self._lines(fqn) | self._guessed(fqn):
                    yield (
                        f"{fqn} is said to be cut on line {line} ({cut.cause}), in plain torch on "
                        f"{sorted(self._lines(fqn))}"
                    )
            for fqn in cut.starved:
                if fqn not in self.truth.lost | self.truth.dim:
                    yield f"{fqn} is said to starve on line {line}, and has a gradient"

    def _guessed(self, fqn: str) -> set[int]:
        """Where a parameter that is lost unseen may be told too: on any way out that leads nowhere else."""
        inferred = any("inferred" in it.kind.tags for it in self.source.cuts)
        if fqn not in self.truth.lost or not inferred:
            return set()
        return {line for it in self.source.cuts for line in it.lines}

    def _line(self, cut: Break) -> int | None:
        return cut.location.line if cut.location and cut.location.file == self.file else None

    def _missed(self) -> Iterator[str]:
        """Parameters whose loss is not named, and cuts that are not."""
        cuts = self._cuts()
        for fqn in sorted(self.truth.lost):
            if not any(fqn in cut.starved for cut in self.report.breaks):
                yield f"{fqn} is lost and no break says so"
        for fqn, keys in self.truth.breaks.items():
            placed = {self._line(it) for it in self.report.breaks if fqn in it.starved + it.partial}
            for key in keys:
                if self._is_inferred(key) and (placed or fqn not in self.truth.lost):
                    continue
                outer = {line for it in cuts[key].inside for line in cuts[it].lines}
                if not placed & (cuts[key].lines | outer):
                    yield f"{fqn} is cut by {cuts[key].kind.name} on {sorted(cuts[key].lines)}, unseen"

    def _is_inferred(self, key: CutKey) -> bool:
        """Whether what is cut, or something behind it, carries no sign of where it was."""
        numbers = [cut.key for cut in self.source.cuts]
        return any("inferred" in cut.kind.tags for cut in self.source.cuts[numbers.index(key) :])

    def _findings(self) -> Iterator[str]:
        """Errors in a wrong place, parameters lost of which no error speaks, and words that ``.grad`` contradicts."""
        lines = {
            line for fqn in self.truth.healed for line in self._lines(fqn) | self._guessed(fqn)
        }
        told = set()
        for finding in self.report.findings:
            where = finding.location.line if finding.location else None
            if finding.code in _PLACED and finding.severity == "error":
                told |= set(finding.parameters)
                if where not in lines and not self.truth.dim & set(finding.parameters):
                    yield f"{finding.code} on line {where}, which cuts nothing"
            if finding.code == "GC201":
                told |= self.truth.lost
            if finding.code == "GC102":
                for fqn in finding.parameters:
                    if self.truth.healed[fqn] != "missing" and fqn not in self.truth.dim:
                        yield f"{finding.code} says that {fqn} is unused"
        for fqn in sorted(self.truth.lost - told):
            yield f"no error speaks of {fqn}, which is lost"

    def _notes(self) -> Iterator[str]:
        yield from (note for note in self.report.notes if "the graphs show" in note)


def checked(program: Program, name: str) -> Checked | None:
    """``program`` inspected and compared; None where even the healed program does not run."""
    text = source(program)
    try:
        truth = plain_torch.truth(text, name)
    except plain_torch.Healed:
        return None
    module = plain_torch.module_of(text.text(), name)
    model, batch = module.build()
    report = gradcheck.inspect(model, batch, module.loss_fn)
    assert module.__file__ is not None
    return Checked(text, truth, report, module.__file__)


def problems(program: Program, name: str = "program") -> list[str]:
    """What is wrong with what gradcheck says of ``program``; a failure of its own counts."""
    try:
        found = checked(program, name)
    except Exception as error:
        return [f"{type(error).__name__}: {error}"]
    return [] if found is None else found.wrong()


def shown(program: Program) -> str:
    """The source of ``program`` with line numbers."""
    lines = source(program).text().splitlines()
    return "\n".join(f"{number:4} {line}" for number, line in enumerate(lines, 1) if line.strip())


def without_findings(checked: Checked) -> Checked:
    """The same with a Report that finds nothing."""
    return dataclasses.replace(
        checked, report=dataclasses.replace(checked.report, findings=(), breaks=())
    )
