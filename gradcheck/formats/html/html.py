"""HTML: a page of its own in one file, or a fragment for a notebook."""

from gradcheck.formats.html.fix_fragment import fix_fragment
from gradcheck.formats.html.fix_page import fix_page
from gradcheck.formats.html.fragment import fragment_of
from gradcheck.formats.html.gate_page import gate_page
from gradcheck.formats.html.page import page
from gradcheck.formats.html.scope import Scope
from gradcheck.gates.gate import GateReport
from gradcheck.reports.formatter import RenderOptions, formatter
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report


@formatter(Report, "html")
def render(report: Report, options: RenderOptions) -> str:
    """Everything that a model says is escaped and bounded; the page loads nothing and sends nothing."""
    return fragment_of(report, options) if options.fragment else page(report, _scope(options))


@formatter(FixReport, "html")
def render_fix(report: FixReport, options: RenderOptions) -> str:
    """The step before and after, side by side."""
    if options.fragment:
        return fix_fragment(report, options)
    return fix_page(report, _scope(options), dry_run=options.dry_run)


@formatter(GateReport, "html")
def render_gate(gate: GateReport, options: RenderOptions) -> str:
    """All targets in one page."""
    return gate_page(gate, _scope(options))


def _scope(options: RenderOptions) -> Scope:
    return Scope(factor=options.factor, options=options)
