"""The Report as a JSON document; its schema is published as ``docs/report.schema.json``."""

import json

from gradcheck.core.formatter import RenderOptions, formatter
from gradcheck.core.report import Report


@formatter("json")
def render(report: Report, options: RenderOptions) -> str:  # noqa: ARG001 (one signature for all formats)
    """Every field of the report; the same report gives the same text at any width."""
    return json.dumps(report.to_dict(), indent=2, allow_nan=False)
