"""SARIF 2.1.0, for code scanning and editors: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html."""

from collections.abc import Iterable

from gradcheck.core.severity import Severity
from gradcheck.core.words import counted
from gradcheck.formats.views.asides import Aside, asides, listed
from gradcheck.formats.views.documents import dumps
from gradcheck.formats.views.places import Place
from gradcheck.formats.views.problem import Problem, cost_words, told, where_words
from gradcheck.formats.views.problems import problems
from gradcheck.formats.views.rule_pages import RulePage, rule_page
from gradcheck.formats.views.text import APPLICABILITY, clean
from gradcheck.formats.views.verdict import verdict
from gradcheck.gates.gate import GateReport, TargetResult
from gradcheck.reports.formatter import RenderOptions, formatter

Json = dict[str, object]
SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
REPOSITORY, PACKAGES = "%SRCROOT%", "%PACKAGES%"
"""Names of what relative URIs are relative to; GitHub reads the first as the root of the repository."""
BASES: dict[str, Json] = {
    REPOSITORY: {"description": {"text": "The root of the repository."}},
    PACKAGES: {"description": {"text": "Where Python packages are installed."}},
}
MAX_RESULTS = 5000
"""GitHub shows no more of a run, and refuses one with over 25,000."""
MAX_TARGETS = 500
MAX_DESCRIPTION = 1000
"""GitHub refuses a description over 1,024 characters."""
MAX_RULE_TEXT = 8000


@formatter(GateReport, "sarif")
def render(gate: GateReport, options: RenderOptions) -> str:
    """One run; a result for each problem, the rules that it names, and what did not run as notifications."""
    made = problems(gate, options, MAX_RESULTS)
    found = made.shown
    codes = list(dict.fromkeys(problem.code for problem in found))
    notes = asides(gate)
    if made.left_out:
        words = f"left out to keep this bounded: {made.left_out}"
        notes.insert(0, Aside(kind="noted", text=words))
    run: Json = {
        "tool": {"driver": _driver(gate, found, codes)},
        "automationDetails": {"id": _run_id(gate)},
        "originalUriBaseIds": BASES,
        "columnKind": "unicodeCodePoints",
        "invocations": [_invocation(found, notes)],
        "results": [_result(problem, codes) for problem in found],
        "properties": {"targets": [_target(result) for result in gate.results[:MAX_TARGETS]]},
    }
    return dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]})


def _target(result: TargetResult) -> Json:
    """How a target stands, which results alone do not say of a healthy one."""
    told: Json = {"name": clean(result.name, 200), "status": result.status}
    if result.report is not None:
        told["verdict"] = verdict(result.report)
    return told


def _run_id(gate: GateReport) -> str:
    """Tells the uploads of one commit apart: a gate is one, each inspected target is one."""
    one = gate.results[0].name if len(gate.results) == 1 and not gate.configuration else ""
    return f"gradcheck/{_plain(one)}/" if one else "gradcheck/"


def _plain(name: str) -> str:
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in name)[:100]


def _driver(gate: GateReport, found: list[Problem], codes: Iterable[str]) -> Json:
    worst: dict[str, Severity] = {}
    for problem in found:
        worst.setdefault(problem.code, problem.severity)
    return {
        "name": "gradcheck",
        "version": gate.version,
        "semanticVersion": gate.version,
        "shortDescription": {
            "text": "Says which tensor breaks the autograd chain of a model in training, where and why."
        },
        "rules": [_rule(rule_page(code), worst[code]) for code in codes],
    }


def _rule(page: RulePage, severity: Severity) -> Json:
    return {
        "id": page.code,
        "name": page.name,
        "shortDescription": {"text": page.summary},
        "fullDescription": {"text": clean(page.why, MAX_DESCRIPTION) or page.summary},
        "help": {"text": page.text[:MAX_RULE_TEXT], "markdown": page.markdown[:MAX_RULE_TEXT]},
        "defaultConfiguration": {"level": severity},
        "properties": {"tags": ["gradcheck", page.family]},
    }


def _invocation(found: list[Problem], notes: list[Aside]) -> Json:
    """How it went: a target that could not run makes it unsuccessful, and says so here as well."""
    failures = [problem for problem in found if problem.unjudged]
    return {
        "executionSuccessful": not failures,
        "toolExecutionNotifications": [
            {"level": "error", "message": {"text": _literal(problem.message)}}
            for problem in failures
        ],
        "toolConfigurationNotifications": [_notification(aside) for aside in notes],
    }


def _notification(aside: Aside) -> Json:
    about = f"{listed(aside.targets)}: " if aside.targets else ""
    note: Json = {"level": "note", "message": {"text": _literal(f"{about}{aside}")}}
    if len(aside.codes) == 1:
        note["associatedRule"] = {"id": aside.codes[0]}
    return note


def _result(problem: Problem, codes: list[str]) -> Json:
    result: Json = {
        "ruleId": problem.code,
        "ruleIndex": codes.index(problem.code),
        "kind": "fail",
        "level": problem.severity,
        "message": {"text": _literal(_message(problem))},
        "locations": [_location(problem)],
        "partialFingerprints": {
            "primaryLocationLineHash": problem.fingerprint,  # the one that GitHub reads
            "gradcheckFinding/v1": problem.fingerprint,
        },
        "properties": _properties(problem),
    }
    if problem.source not in (None, problem.place) and problem.source.uri:
        source = {
            "id": 1,
            **_physical(problem.source),
            "message": {"text": "The line that cuts the chain."},
        }
        result["relatedLocations"] = [source]
    return result


def _message(problem: Problem) -> str:
    """Plain text in paragraphs: the first sentence says what is wrong."""
    lines = [told(problem)]
    where = where_words(problem)
    if where:
        lines.append(f"Where: {where}")
    if cost_words(problem):
        lines.append(f"Cost: {cost_words(problem)}")
    lines += [
        f"Repair ({APPLICABILITY[r.applicability]}): {r.summary} {r.snippet}".rstrip()
        for r in problem.repairs
    ]
    lines.append(f"Target: {problem.target}")
    return "\n\n".join(lines)


def _literal(text: str) -> str:
    """``text`` for a message of SARIF, where ``[words](target)`` is a link (section 3.11.6)."""
    return text.replace("[", "\\[").replace("]", "\\]") if "](" in text else text


def _location(problem: Problem) -> Json:
    """A line of the repository, which code scanning needs, and the module, which has no line."""
    location = _physical(problem.place)
    if problem.module:
        name = problem.module.rpartition(".")[2]
        logical = {"name": name, "fullyQualifiedName": problem.module, "kind": "module"}
        location["logicalLocations"] = [logical]
    elif problem.parameters:
        location["logicalLocations"] = [_parameter(fqn) for fqn in problem.parameters]
    return location


def _parameter(fqn: str) -> Json:
    return {"name": fqn.rpartition(".")[2], "fullyQualifiedName": fqn, "kind": "member"}


def _physical(place: Place) -> Json:
    file: Json = {"uri": place.uri}
    if place.base != "elsewhere":
        file["uriBaseId"] = REPOSITORY if place.base == "repository" else PACKAGES
    region: Json = {"startLine": place.line}
    if place.text:
        region["snippet"] = {"text": place.text}
    return {"physicalLocation": {"artifactLocation": file, "region": region}}


def _properties(problem: Problem) -> Json:
    properties: Json = {"target": problem.target, "failing": problem.failing}
    if problem.num_parameters:
        properties["parameters"] = list(problem.parameters)
        properties["numParameters"] = problem.num_parameters
        properties["numElements"] = problem.num_elements
    more = problem.num_parameters - len(problem.parameters)
    if more > 0:
        properties["parametersLeftOut"] = f"{counted(more, 'more parameter')}"
    if problem.evidence:
        properties["evidence"] = [f"{label}: {value}" for label, value in problem.evidence]
    return properties
