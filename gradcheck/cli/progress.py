"""Says on stderr what is going on while a model loads and its step is recorded."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout

Progress = Callable[[str], None]


@contextmanager
def progress(*, quiet: bool) -> Iterator[Progress]:
    """A function that shows one line: in place on a terminal, as a line of its own in a log file.

    What the body prints goes to stderr: standard output is for the report, and a JSON document with a model's chatter
    in it could not be read.
    """
    if quiet:
        with redirect_stdout(sys.stderr):
            yield lambda _: None
    elif sys.stderr.isatty():
        with _status() as show, redirect_stdout(sys.stderr):
            yield show
    else:
        with redirect_stdout(sys.stderr):
            yield lambda message: print(f"gradcheck: {message}", file=sys.stderr, flush=True)


@contextmanager
def _status() -> Iterator[Progress]:
    from rich.console import Console
    from rich.text import Text

    from gradcheck.formats.text import clean

    with Console(stderr=True).status("") as status:
        yield lambda message: status.update(Text(clean(message, 200)))
