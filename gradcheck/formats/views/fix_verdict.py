"""What every format for people says first of a FixReport: the verdict in one line."""

from gradcheck.core.words import counted
from gradcheck.formats.views.gate_verdict import gate_verdict, gate_word
from gradcheck.formats.views.text import clean
from gradcheck.formats.views.verdict import verdict, verdict_word
from gradcheck.gates.gate import GateReport, Judged
from gradcheck.reports.outcome import FixReport, NotTried

MAX_NAMES = 3


def fix_word(report: FixReport, *, dry_run: bool = False) -> str:
    """``REPAIRED`` (``REPAIRABLE``), ``STILL BROKEN``, ``NOT JUDGED``, or ``HEALTHY`` with nothing to repair."""
    if report.after.verdict == "not-judged":
        return verdict_word(report.after)
    if not report.healthy:
        return "STILL BROKEN"
    if not report.verified:
        return "HEALTHY"
    return "REPAIRABLE" if dry_run else "REPAIRED"


def fix_verdict(report: FixReport) -> str:
    """The verdict after its word: by what, or why not."""
    repairs = list(dict.fromkeys(outcome.repair.name for outcome in report.verified))
    names = named(repairs)
    if report.after.verdict == "not-judged":
        return verdict(report.after)
    if report.healthy and names:
        return f"by {names}, verified on the recorded step"
    if report.healthy:
        return f"nothing to repair: {verdict(report.after)}"
    if names:
        return f"{names} {'helps, and is' if len(repairs) == 1 else 'help, and are'} not enough"
    tried = sum(not isinstance(outcome, NotTried) for outcome in report.outcomes)
    if tried:
        return f"{counted(tried, 'repair')} tried, and none helps: see what is left"
    return "no repair of the loaded model can help: see what is left"


def headline(report: Judged, *, dry_run: bool = False) -> str:
    """The first line of a report of any kind."""
    if isinstance(report, GateReport):
        return f"{gate_word(report)}  {gate_verdict(report)}"
    if isinstance(report, FixReport):
        return f"{fix_word(report, dry_run=dry_run)}  {fix_verdict(report)}"
    return f"{verdict_word(report)}  {verdict(report)}"


def named(names: list[str], limit: int = MAX_NAMES) -> str:
    """``a``, ``a and b``, ``a, b, c and 2 more``."""
    shown = [clean(name, 60) for name in names[:limit]]
    more = len(names) - len(shown)
    last = f"{more:,} more" if more else shown.pop() if len(shown) > 1 else ""
    return ", ".join(shown) + (f" and {last}" if last else "")
