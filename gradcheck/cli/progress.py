"""Says on stderr what is going on while a model loads and its step is recorded."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout

from gradcheck.cli.options import RunOptions

Progress = Callable[[str], None]
MAX_LINE = 200


@contextmanager
def progress(run: RunOptions) -> Iterator[Progress]:
    """A function that shows one line: in place on a terminal, as a line of its own in a log file.

    What the body prints goes to stderr: standard output is for the report, and a JSON document with a model's chatter
    in it could not be read. What the libraries warn of and log is shown with ``--debug`` only.
    """
    from gradcheck.loading.chatter import hushed  # not for --help

    with ExitStack() as stack:
        show: Progress = _silent
        if not run.quiet:
            show = stack.enter_context(_status()) if sys.stderr.isatty() else _line
        stack.enter_context(redirect_stdout(sys.stderr))
        if not run.debug:
            stack.enter_context(hushed())
        yield show


def _silent(message: str) -> None:
    """Shows nothing."""


def _line(message: str) -> None:
    from gradcheck.formats.views.text import clean

    print(f"gradcheck: {clean(message, MAX_LINE)}", file=sys.stderr, flush=True)


@contextmanager
def _status() -> Iterator[Progress]:
    from rich.console import Console
    from rich.text import Text

    from gradcheck.formats.views.text import clean

    with Console(stderr=True).status("") as status:
        yield lambda message: status.update(Text(clean(message, MAX_LINE)))
