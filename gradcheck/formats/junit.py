"""JUnit XML, which every continuous integration shows as tests: a suite a target, a case a rule.

The form is that of the schema of Jenkins' xUnit plugin (junit-10.xsd), which the readers of GitLab, Azure and others
accept as well.
"""

from dataclasses import dataclass
from xml.etree import ElementTree

from gradcheck.findings.rule import step_rules
from gradcheck.formats.views.asides import asides
from gradcheck.formats.views.problem import (
    COULD_NOT_RUN,
    LOCK_DRIFT,
    Problem,
    cost_words,
    where_words,
)
from gradcheck.formats.views.problems import problems
from gradcheck.formats.views.text import APPLICABILITY, clean
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.gates.gate import GateReport, TargetResult
from gradcheck.reports.formatter import RenderOptions, formatter
from gradcheck.reports.report import Report

MAX_CASES = 2000
"""Problems told of, over all targets."""
MAX_SUITES = 500
MAX_PROPERTIES = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """A test case and how it ended."""

    element: ElementTree.Element
    outcome: str
    """"failures", "errors", "skipped" or "": the attribute of the suite that counts it."""


@formatter(GateReport, "junit")
def render(gate: GateReport, options: RenderOptions) -> str:
    """A rule without a finding passes, as does one under ``fail_on``; one that did not run is skipped and says why."""
    found = problems(gate, options, MAX_CASES)
    by_target: dict[str, list[Problem]] = {}
    for problem in found.shown:
        by_target.setdefault(problem.target, []).append(problem)
    notes = asides(gate)
    root = ElementTree.Element("testsuites", name="gradcheck")
    for result in gate.results[:MAX_SUITES]:
        name = clean(result.name, 200)
        own = [str(note) for note in notes if name in note.targets]
        root.append(_suite(result, name, by_target.get(name, []), own))
    if found.left_out or len(gate.results) > MAX_SUITES:
        root.append(_left_out(found.left_out, len(gate.results) - MAX_SUITES))
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode", xml_declaration=False)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n'


def _suite(
    result: TargetResult, name: str, found: list[Problem], notes: list[str]
) -> ElementTree.Element:
    cases = [_problem_case(name, problem) for problem in found]
    if result.could_not_run is None:
        cases += _rule_cases(result, name, {problem.code for problem in found})
    if result.locked and not result.drift and result.could_not_run is None:
        cases.append(_Case(element=_element(name, "trains what the lock holds"), outcome=""))
    suite = _counted(f"gradcheck.{name}", cases, result.duration_s)
    if result.report is not None:
        notes = [f"{verdict_word(result.report)}: {verdict(result.report)}", *notes]
        suite.insert(0, _properties(result.report))
    if notes:
        ElementTree.SubElement(suite, "system-out").text = "\n".join(notes)
    return suite


def _properties(report: Report) -> ElementTree.Element:
    """What was inspected, and with which versions."""
    made = ElementTree.Element("properties")
    pairs = [*report.setup, ("device", report.environment.device), *report.environment.versions]
    for name, value in pairs[:MAX_PROPERTIES]:
        ElementTree.SubElement(made, "property", name=clean(name, 80), value=clean(value, 400))
    return made


def _counted(name: str, cases: list[_Case], duration_s: float) -> ElementTree.Element:
    ends = [case.outcome for case in cases]
    counts = {key: str(ends.count(key)) for key in ("failures", "errors", "skipped")}
    time = {"time": f"{duration_s:.3f}"} if duration_s else {}
    suite = ElementTree.Element(
        "testsuite", {"name": name, "tests": str(len(cases)), **counts, **time}
    )
    suite.extend(case.element for case in cases)
    return suite


def _element(target: str, name: str) -> ElementTree.Element:
    return ElementTree.Element("testcase", classname=f"gradcheck.{target}", name=name)


def _problem_case(target: str, problem: Problem) -> _Case:
    where = problem.module or str(problem.source or problem.place)
    names = {COULD_NOT_RUN: "can be checked", LOCK_DRIFT: "trains what the lock holds"}
    element = _element(target, names.get(problem.code, f"{problem.title} in {where}"))
    if not problem.failing:
        ElementTree.SubElement(element, "system-out").text = f"{problem.severity}: {_told(problem)}"
        return _Case(element=element, outcome="")
    broke = problem.unjudged
    end = ElementTree.SubElement(
        element, "error" if broke else "failure", type=problem.code, message=problem.message[:500]
    )
    end.text = _told(problem)
    return _Case(element=element, outcome="errors" if broke else "failures")


def _told(problem: Problem) -> str:
    lines = [problem.message, *problem.items]
    lines += [f"where: {where_words(problem)}" if where_words(problem) else ""]
    lines += [f"cost: {cost_words(problem)}" if cost_words(problem) else ""]
    lines += [f"{label}: {value}" for label, value in problem.evidence]
    lines += [
        f"repair ({APPLICABILITY[r.applicability]}): {r.summary}\n{r.snippet}"
        for r in problem.repairs
    ]
    lines.append(f"more: gradcheck rule {problem.code}" if problem.rule else "")
    return "\n".join(line for line in lines if line)


def _rule_cases(result: TargetResult, target: str, found: set[str]) -> list[_Case]:
    """A case for each rule that found nothing, and for each that did not run."""
    skipped = {rule.code: rule.reason for rule in result.report.skipped} if result.report else {}
    ignored = {entry.code: entry.reason for entry in result.ignored}
    cases = []
    for code, rule in step_rules().items():
        if code in found:
            continue
        element = _element(target, f"{code} {rule.name}")
        reason = next((why for prefix, why in ignored.items() if code.startswith(prefix)), "")
        reason = reason or skipped.get(code, "")
        if reason or code in skipped:
            ElementTree.SubElement(element, "skipped", message=clean(reason, 400))
        cases.append(_Case(element=element, outcome="skipped" if reason or code in skipped else ""))
    return cases


def _left_out(findings: str, num_suites: int) -> ElementTree.Element:
    """A suite that says what the file does not hold, so that it does not look complete."""
    words = [f"{findings} left out" if findings else ""]
    words += [f"{num_suites:,} targets left out" if num_suites > 0 else ""]
    element = _element("left out", "everything is in this file")
    message = ", ".join(word for word in words if word) + ": --format json holds all"
    ElementTree.SubElement(element, "failure", type="left-out", message=message)
    return _counted("gradcheck.left out", [_Case(element=element, outcome="failures")], 0.0)
