"""What a gate has to tell, one problem a row: the one path by which every format for tools gets its content."""

import hashlib
import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from gradcheck.core.location import Location
from gradcheck.core.severity import SEVERITIES, Severity
from gradcheck.core.words import counted
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.formats.views.gate_verdict import drift_words
from gradcheck.formats.views.places import Place, place_of
from gradcheck.formats.views.problem import COULD_NOT_RUN, LOCK_DRIFT, Problem
from gradcheck.formats.views.text import clean, clean_lines
from gradcheck.formats.views.verdict import by_severity
from gradcheck.gates.baseline import fingerprint
from gradcheck.gates.gate import GateReport, TargetResult
from gradcheck.reports.formatter import RenderOptions

LOCK_REMEDY = "Where that is meant, gradcheck gate --update-lock accepts it."
FACTORY = re.compile(r"(?<=\.py):[\w.]+$")
"""The function after the file of a factory."""
MAX_MESSAGE = 4000
MAX_NAME = 200
MAX_EVIDENCE = 12
MAX_DRIFT = 20
MAX_PARAMETERS = 20
_DIGITS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Problems:
    """The first problems of a gate, and what is behind them."""

    shown: list[Problem]
    left_out: str
    """``4,990 errors, 12 notes``; empty where all are shown."""
    total: int


def problems(
    gate: GateReport, options: RenderOptions, limit: int, severity: Severity | None = None
) -> Problems:
    """What is wrong, or what of it has this severity; the first ``limit`` problems.

    What could not run comes first, then what fails, then by severity; what is equal as the gate has it.
    """
    homes = home_of(gate, options)
    raw = [pair for result in gate.results for pair in _raw(result)]
    raw = [pair for pair in raw if severity in (None, _severity(pair[1]))]
    raw.sort(key=lambda pair: _rank(*pair))
    made = [_problem(result, about, homes, options) for result, about in raw[:limit]]
    left = Counter(_severity(about) for _, about in raw[limit:])
    words = ", ".join(counted(left[kind], kind) for kind in SEVERITIES if left[kind])
    return Problems(shown=_told_apart(made), left_out=words, total=len(raw))


About = Finding | Literal["could-not-run", "lock-drift"]
"""What a problem is made from: a finding, or one of ``OWN_RULES``."""


def _raw(result: TargetResult) -> Iterator[tuple[TargetResult, About]]:
    if _unsaid(result):
        yield result, COULD_NOT_RUN
    for finding in by_severity(result.findings):
        yield result, finding
    if result.drift:
        yield result, LOCK_DRIFT


def _unsaid(result: TargetResult) -> bool:
    """Whether the target could not run and no finding of its own says where and why: a step that hung has one."""
    return result.could_not_run is not None and not result.failing


def _severity(about: About) -> Severity:
    return about.severity if isinstance(about, Finding) else "error"


def _fails(result: TargetResult, about: About) -> bool:
    return SEVERITIES.index(_severity(about)) <= SEVERITIES.index(result.fail_on)


def _rank(result: TargetResult, about: About) -> tuple[bool, bool, int]:
    order = SEVERITIES.index(_severity(about))
    fails = _fails(result, about)
    return not (fails and result.could_not_run is not None), not fails, order


def _told_apart(found: Iterable[Problem]) -> list[Problem]:
    """The problems with fingerprints of their own: those that are alike are counted."""
    seen: Counter[str] = Counter()
    unique = []
    for problem in found:
        seen[problem.fingerprint] += 1
        number = seen[problem.fingerprint]
        unique.append(replace(problem, fingerprint=f"{problem.fingerprint}:{number}"))
    return unique


def home_of(gate: GateReport, options: RenderOptions) -> dict[str, Place]:
    """The line of the repository that stands for each target, by its name."""
    declared = dict(options.declared)
    return {
        clean(result.name, MAX_NAME): _home(result, declared.get(result.name), options)
        for result in gate.results
    }


def _home(result: TargetResult, declared: Location | None, options: RenderOptions) -> Place:
    if declared is not None:
        place = place_of(declared, options)
        if place.base == "repository":
            return place
    file = FACTORY.sub("", result.target)
    place = place_of(Location(file=file, line=1, text=""), options)
    outside = place.base == "elsewhere"  # no path from the root leads there: its name stands for it
    path = posixpath.basename(place.path.rstrip("/")) if outside else place.path
    return Place(path=path or "target", line=1, text="", base="repository")


def _problem(
    result: TargetResult, about: About, homes: dict[str, Place], options: RenderOptions
) -> Problem:
    name = clean(result.name, MAX_NAME)
    match about:
        case "could-not-run":
            fate = "could not run" if result.report is None else "was not judged"
            message = f"{name} {fate}: {_ended(result.could_not_run or '')}"
            return _own(COULD_NOT_RUN, name, message, homes[name])
        case "lock-drift":
            lines = [drift_words(drift) for drift in result.drift[:MAX_DRIFT]]
            more = len(result.drift) - MAX_DRIFT
            lines += [f"{counted(more, 'more group')} differ"] if more > 0 else []
            message = f"What trains in {name} is not what gradcheck.lock holds. {LOCK_REMEDY}"
            return _own(LOCK_DRIFT, name, message, homes[name], tuple(lines))
        case _:
            made = _of_finding(about, name, homes[name], options)
            fails = _fails(result, about)
            stopped = fails and result.could_not_run is not None
            return replace(made, failing=fails, unjudged=stopped)


def _ended(sentence: str) -> str:
    """``sentence`` with a mark at its end, for another one to follow."""
    sentence = clean(sentence, MAX_MESSAGE)
    return sentence if sentence.endswith((".", "!", "?", "…")) else f"{sentence}."


def _own(code: str, target: str, message: str, home: Place, items: tuple[str, ...] = ()) -> Problem:
    return Problem(
        target=target,
        code=code,
        rule="",
        severity="error",
        failing=True,
        unjudged=code == COULD_NOT_RUN,
        message=clean(message, MAX_MESSAGE),
        items=items,
        place=home,
        source=None,
        fingerprint=hashed(code, target),
    )


def _of_finding(finding: Finding, target: str, home: Place, options: RenderOptions) -> Problem:
    source = place_of(finding.location, options) if finding.location else None
    in_repository = source is not None and source.base == "repository"
    return Problem(
        target=target,
        code=clean(finding.code, 16),
        rule=clean(finding.rule, 80),
        severity=finding.severity,
        failing=False,
        message=clean(finding.message, MAX_MESSAGE),
        place=source if source is not None and in_repository else home,
        source=source,
        module=clean(finding.module or "", 400),
        parameters=tuple(clean(fqn, MAX_NAME) for fqn in finding.parameters[:MAX_PARAMETERS]),
        num_parameters=len(finding.parameters),
        num_elements=finding.num_elements,
        evidence=tuple(
            (clean(label, 40), clean(value, 400))
            for label, value in finding.evidence[:MAX_EVIDENCE]
            if label != "costs"  # told from the parameters
        ),
        repairs=tuple(map(_cleaned, finding.repairs[:4])),
        fingerprint=hashed(target, fingerprint(finding)),
    )


def _cleaned(repair: Repair) -> Repair:
    return replace(
        repair,
        name=clean(repair.name, 80),
        summary=clean(repair.summary, 400),
        snippet="\n".join(clean_lines(repair.snippet)),
    )


def hashed(*parts: str) -> str:
    """A fingerprint of ``parts``, which are clean."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]
