"""The reports as JSON documents; their schemas are published under ``docs/``: report, fix and gate.schema.json."""

from gradcheck.formats.views.documents import dumps
from gradcheck.gates.gate import GateReport
from gradcheck.reports.formatter import RenderOptions, formatter
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report


@formatter(Report, "json")
@formatter(FixReport, "json")
@formatter(GateReport, "json")
def render(judged: Report | FixReport | GateReport, options: RenderOptions) -> str:  # noqa: ARG001
    """Every field; the same report gives the same text at any width."""
    return dumps(judged.to_dict())
