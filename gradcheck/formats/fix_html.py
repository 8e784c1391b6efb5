"""The FixReport as a fragment of HTML for a notebook: what was done, then the report of the step as it is now."""

from gradcheck.core.formatter import RenderOptions, fix_formatter, render
from gradcheck.core.outcome import FixReport, NotTried, Outcome
from gradcheck.formats.fix_terminal import fix_word
from gradcheck.formats.html import CLASSES
from gradcheck.formats.html_tables import COLORS, colored, text
from gradcheck.formats.text import count
from gradcheck.formats.verdict import verdict

MAX_OUTCOMES = 20
KINDS = {"verified": "good", "rejected": "error", "not-tried": "dim"}


@fix_formatter("html")
def render_fix(report: FixReport, options: RenderOptions) -> str:
    """What a model says is escaped and bounded, as in the fragment of a Report."""
    tried = [outcome for outcome in report.outcomes if not isinstance(outcome, NotTried)]
    left_out = len(report.outcomes) - len(tried)
    rows = [_row(outcome) for outcome in tried[:MAX_OUTCOMES]]
    if left_out:
        rows.append(
            f'<div style="color:{COLORS["dim"]}">{count(left_out, "repair")} not tried</div>'
        )
    word = colored(fix_word(report), "good" if report.healthy else "error")
    head = f'<p style="margin:0 0 6px">{word} before: {text(verdict(report.before))}</p>'
    style = "font-family:system-ui,sans-serif;font-size:13px;line-height:1.45;max-width:120ch"
    body = "\n".join((head, *rows))
    fragment = render(report.after, "html", options)
    return f'<div class="{CLASSES}" style="{style}">\n{body}\n</div>\n{fragment}'


def _row(outcome: Outcome) -> str:
    status = colored(outcome.status, KINDS[outcome.status])
    name = f"{text(outcome.code, 16)} <b>{text(outcome.repair.name, 60)}</b>"
    return f"<div>{status} {name}: {text(outcome.reason, 400)}</div>"
