"""The program: its commands by name."""

import sys

import typer

from gradcheck.cli.demo import demo
from gradcheck.cli.env import env
from gradcheck.cli.fix import fix
from gradcheck.cli.gate import gate
from gradcheck.cli.help_page import SectionedCommand
from gradcheck.cli.inspect import inspect
from gradcheck.cli.recheck import recheck
from gradcheck.cli.rule import rule
from gradcheck.cli.run import run
from gradcheck.core.collector import collect_seldom
from gradcheck.version import VERSION

app = typer.Typer(
    name="gradcheck",
    help="Say which tensor breaks the autograd chain of an 8-bit or QLoRA model, where and why.",
    epilog="gradcheck COMMAND --help shows a command's options, gradcheck --version the version.",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_OF_THE_SCRIPT = {"allow_interspersed_args": False, "ignore_unknown_options": True}
"""What comes after the script is its own."""
for _command in (inspect, fix, run, gate, recheck, rule, demo, env):
    app.command(cls=SectionedCommand, context_settings=_OF_THE_SCRIPT if _command is run else None)(
        _command
    )


def main() -> None:
    """The entry point of ``gradcheck``.

    ``--version`` is seen to before Typer: an option of the whole program would make every help page import what Typer
    converts values with, a third of its time.
    """
    if sys.argv[1:] == ["--version"]:
        print(f"gradcheck {VERSION}")
        return
    if sys.argv[1:2] != ["run"]:  # a training makes garbage of its own
        collect_seldom()
    app(prog_name="gradcheck")
