"""``gradcheck rule [CODE]``."""

from __future__ import annotations

import difflib
import itertools
import re
from typing import TYPE_CHECKING, Annotated

import typer

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus
from gradcheck.errors import SettingsError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from gradcheck.findings.rule import Rule


def completed_code(incomplete: str) -> list[tuple[str, str]]:
    """The codes that begin so, each with its rule's name, for the shell's completion."""
    from gradcheck.findings.rule import RULES

    rules = RULES.all().items()
    return [(code, rule.name) for code, rule in rules if code.startswith(incomplete)]


Code = Annotated[
    str | None,
    typer.Argument(
        help="Code (GC301), name, or prefix (GC3); without it all rules are listed.",
        autocompletion=completed_code,
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="The traceback of an error.")]
MAX_PAGE_WIDTH = 100
"""Columns over which a page's paragraphs are hard to read."""


@command
def rule(code: Code = None, debug: Debug = False) -> ExitStatus:  # noqa: ARG001 (read by command)
    """List the rules, or show the page of one.

    A page says what the rule finds, why that breaks training, and what repairs it; without color it is plain Markdown.
    """
    from gradcheck.cli.options import RunOptions
    from gradcheck.cli.output import print_text, render_options
    from gradcheck.findings.rule import RULES
    from gradcheck.formats.terminal.report import rendered

    chosen = matching(code, RULES.all())
    options = render_options(RunOptions())
    if code is None or is_prefix(code):
        print_text(rendered(_table(chosen), width=options.width, color=options.color))
    elif options.color:
        width = min(options.width, MAX_PAGE_WIDTH)
        print_text(rendered(_page(chosen[0]), width=width, color=True))
    else:
        print_text(_title(chosen[0]) + chosen[0].page)
    return ExitStatus.HEALTHY


def is_prefix(code: str) -> bool:
    """Whether ``code`` means a family or several rules: ``GC3``."""
    return re.fullmatch(r"gc\d{0,2}", code.strip(), re.IGNORECASE) is not None


def matching(code: str | None, rules: dict[str, Rule]) -> list[Rule]:
    """The rules that ``code`` means: one by its code or name, a family by its prefix, all for None.

    Raises:
        SettingsError: where it means none; the text names near matches.
    """
    if code is None:
        return list(rules.values())
    wanted = code.strip().lower()
    names = {key: found for found in rules.values() for key in (found.code.lower(), found.name)}
    if wanted in names:
        return [names[wanted]]
    family = [found for found in rules.values() if found.code.lower().startswith(wanted)]
    if family and is_prefix(wanted):
        return family
    near = difflib.get_close_matches(wanted, names, n=4, cutoff=0.5)
    near += [name for name in names if wanted in name and len(wanted) > 3][:3]
    hints = dict.fromkeys(f"{names[name].code} {names[name].name}" for name in near)
    hint = f"; near: {', '.join(sorted(hints)[:4])}" if hints else ""
    raise SettingsError(f"there is no rule {code!r}{hint}; `gradcheck rule` lists all")


def _table(rules: list[Rule]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("code", no_wrap=True, style="bold")
    table.add_column("name", no_wrap=True)
    table.add_column("what it finds", overflow="fold")
    for family, members in itertools.groupby(rules, key=lambda rule: rule.family):
        table.add_row("", Text(family, style="bold cyan"), "")
        for rule in members:
            table.add_row(rule.code, Text(rule.name), Text(rule.summary))
    return table


def _title(rule: Rule) -> str:
    return f"# {rule.code} {rule.name}\n\n"


def _page(rule: Rule) -> RenderableType:
    from rich.console import Group
    from rich.markdown import Markdown
    from rich.text import Text

    title = Text.assemble((f"{rule.code} ", "bold cyan"), (rule.name, "bold"), f"  {rule.family}")
    return Group(title, Text(), Markdown(rule.page, code_theme="ansi_light", hyperlinks=False))
