"""GitLab's code quality report, shown in a merge request: https://docs.gitlab.com/ci/testing/code_quality/."""

from gradcheck.core.severity import Severity
from gradcheck.formats.views.asides import asides
from gradcheck.formats.views.documents import dumps
from gradcheck.formats.views.places import Place
from gradcheck.formats.views.problem import Problem, cost_words, told, where_words
from gradcheck.formats.views.problems import hashed, home_of, problems
from gradcheck.gates.gate import GateReport
from gradcheck.reports.formatter import RenderOptions, formatter

Json = dict[str, object]
SEVERITY_WORDS: dict[Severity, str] = {"error": "critical", "warning": "major", "note": "info"}
"""GitLab's words; "blocker" is left for a target that could not be checked."""
MAX_ISSUES = 2000
NOTES = "notes"


@formatter(GateReport, "gitlab")
def render(gate: GateReport, options: RenderOptions) -> str:
    """One issue a problem, and one of severity info for what each target has to say beside."""
    found = problems(gate, options, MAX_ISSUES)
    beside = asides(gate)
    issues = [_issue(problem) for problem in found.shown]
    for name, home in home_of(gate, options).items():
        texts = [str(aside) for aside in beside if name in aside.targets]
        issues += [_note(name, home, "; ".join(texts))] if texts else []
    general = [str(aside) for aside in beside if not aside.targets]
    if found.left_out:
        general.insert(0, f"left out to keep this bounded: {found.left_out}")
    if general and gate.results:
        name, home = next(iter(home_of(gate, options).items()))
        issues.append(_note("gate", home, "; ".join(general)))
    return dumps(issues)


def _issue(problem: Problem) -> Json:
    severity = "blocker" if problem.unjudged else SEVERITY_WORDS[problem.severity]
    return {
        "type": "issue",
        "check_name": problem.title,
        "description": _description(problem),
        "categories": ["Bug Risk"],
        "severity": severity,
        "fingerprint": problem.fingerprint,
        "location": _location(problem.place),
    }


def _description(problem: Problem) -> str:
    where, cost = where_words(problem), cost_words(problem)
    parts = [f"{problem.code}: {told(problem)}" if problem.rule else told(problem)]
    parts += [f"Where: {where}." if where else "", f"Cost: {cost}." if cost else ""]
    parts.append(f"Target: {problem.target}.")
    return " ".join(part for part in parts if part)


def _note(target: str, home: Place, text: str) -> Json:
    return {
        "type": "issue",
        "check_name": NOTES,
        "description": f"{target}: {text}",
        "categories": ["Clarity"],
        "severity": "info",
        "fingerprint": hashed(NOTES, target),
        "location": _location(home),
    }


def _location(place: Place) -> Json:
    return {"path": place.path, "lines": {"begin": place.line}}
