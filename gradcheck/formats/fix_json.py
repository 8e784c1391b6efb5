"""The FixReport as a JSON document; its schema is published as ``docs/fix.schema.json``."""

from gradcheck.core.formatter import RenderOptions, fix_formatter
from gradcheck.core.outcome import FixReport
from gradcheck.formats.documents import dumps


@fix_formatter("json")
def render(report: FixReport, options: RenderOptions) -> str:  # noqa: ARG001 (one signature for all formats)
    """Both reports whole, and each repair with what became of it."""
    return dumps(report.to_dict())
