"""The Report as a JSON document; its schema is published as ``docs/report.schema.json``."""

from gradcheck.core.formatter import RenderOptions, formatter
from gradcheck.core.report import Report
from gradcheck.formats.documents import dumps


@formatter("json")
def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 (one signature for all formats)
    """Every field of the report; the same report gives the same text at any width."""
    return dumps(report.to_dict())
