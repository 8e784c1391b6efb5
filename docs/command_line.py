"""The page of the command line, made from the program itself."""

import inspect
import re
from collections.abc import Iterator
from typing import Any

import typer.main

from gradcheck.cli.app import app

MADE = (
    "<!-- Made by docs/build.py from the commands' options: edit those, then run `make docs`. -->\n"
)
WORDS = re.compile(
    r"(?<![\w`/-])(--[a-z][\w-]*|[\w./-]+\.(?:py|toml|lock|json|md)(?::\w+)?)(?![\w`])"
)
"""Options and files in a text."""
HEAD = """\
# The command line

`gradcheck COMMAND --help` shows the same in the terminal, `gradcheck --version` the version.
`gradcheck --install-completion` teaches your shell the commands, options, formats and rules.

| exit status | meaning |
|---|---|
| 0 | healthy: judged, and no finding at or over `--fail-on` |
| 1 | findings at or over `--fail-on` |
| 2 | could not run, or not judged: bad input, a load failure, out of memory, no backward, gradcheck's own failure |
"""


def command_line() -> str:
    """The page: each command with its arguments, its options by section, and their defaults."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("gradcheck", [], resilient_parsing=True)
    parts = [MADE, HEAD]
    for name, command in group.commands.items():
        inner = command.make_context(name, [], parent=context, resilient_parsing=True)
        parts += _command(name, command, inner)
    return "\n".join(parts).rstrip() + "\n"


def _command(name: str, command: Any, context: Any) -> Iterator[str]:
    yield f"## gradcheck {name}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\ngradcheck {name} {usage}\n```\n"
    yield f"{_marked(inspect.cleandoc(command.help or ''))}\n"
    sections: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            kind = "Arguments" if parameter.param_type_name == "argument" else "General"
            panel = getattr(parameter, "rich_help_panel", None) or kind
            sections.setdefault(panel, []).append(_option(*record))
    for title, lines in sections.items():
        yield f"**{title}**\n"
        yield "\n".join(lines) + "\n"


def _option(name: str, text: str) -> str:
    """One line of the list: its name as code, what it does, its default."""
    text = " ".join(text.replace("\\[", "[").split())
    found = re.search(r"\s*\[(?:default: (?P<default>[^\]]*)|[^\]]*)\]$", text)
    words = text[: found.start()] if found else text
    default = found["default"].partition(";")[0].strip("()") if found and found["default"] else ""
    name = " ".join(name.split()).replace("\\[", "[")
    return f"- `{name}`: {_marked(words)}" + (f" Default: `{default}`." if default else "")


def _marked(text: str) -> str:
    """``text`` with its options and files as code."""
    return WORDS.sub(r"`\1`", text)
