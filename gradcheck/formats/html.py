"""HTML: a page of its own, or a fragment for a notebook."""

from gradcheck.core.formatter import RenderOptions, fix_formatter, formatter
from gradcheck.core.outcome import FixReport
from gradcheck.core.report import Report
from gradcheck.formats.fix_html_fragment import fix_fragment
from gradcheck.formats.html_fragment import fragment_of


@formatter("html")
def render(report: Report, options: RenderOptions) -> str:
    """The Report."""
    return fragment_of(report, options)


@fix_formatter("html")
def render_fix(report: FixReport, options: RenderOptions) -> str:
    """The FixReport."""
    return fix_fragment(report, options)
