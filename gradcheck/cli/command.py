"""Turns a function of option dataclasses into a Typer command, and every error into one sentence and a status."""

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, NoReturn, get_type_hints

import typer

from gradcheck.cli.exit_status import ExitStatus
from gradcheck.errors import why_it_could_not_run

MAX_SENTENCE = 1200
"""Characters of an error message; the rest is in the traceback that ``--debug`` shows."""
MAX_TRACEBACK_LINES = 2000


def command(function: Callable[..., ExitStatus]) -> Callable[..., None]:
    """``function`` as Typer takes it: each field of a dataclass parameter becomes a flag.

    So a set of options is declared once, however many commands take it. The returned function always raises
    ``typer.Exit``.
    """
    hints = get_type_hints(function, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}
    signature = inspect.signature(function)
    flags = [flag for name, group in groups.items() for flag in _flags(group)]
    flags += [
        parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in signature.parameters.items()
        if name not in groups
    ]

    def run(**values: Any) -> NoReturn:
        with guarded(debug=bool(values.get("debug"))):
            arguments: dict[str, Any] = {}
            for name, group in groups.items():
                arguments[name] = group(**{f.name: values.pop(f.name) for f in fields(group)})
            status = function(**arguments, **values)
        raise typer.Exit(int(status))

    run.__doc__ = function.__doc__
    run.__name__ = function.__name__
    run.__annotations__ = {flag.name: flag.annotation for flag in flags}
    run.__signature__ = inspect.Signature(flags)  # type: ignore[attr-defined]  # read by inspect
    return run


def _flags(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    field: Field[Any]
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        yield inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=default,
            annotation=hints[field.name],
        )


@contextmanager
def guarded(*, debug: bool) -> Iterator[None]:
    """Ends the program with one sentence on stderr and status 2 where the body raises.

    The one place where errors become an exit status.
    """
    try:
        yield
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        _give_up(why_it_could_not_run(error), debug)


def _give_up(sentence: str, debug: bool) -> NoReturn:
    from gradcheck.formats.views.text import clean

    if debug:
        print_traceback(traceback.format_exc())
    print(f"gradcheck: {clean(sentence, MAX_SENTENCE)}", file=sys.stderr)
    raise typer.Exit(int(ExitStatus.COULD_NOT_RUN))


def print_traceback(text: str) -> None:
    """Shows a traceback on stderr; it quotes what a model or its code says, so each line is made harmless first."""
    from gradcheck.formats.views.text import clean_lines

    print("\n".join(clean_lines(text, MAX_TRACEBACK_LINES)), file=sys.stderr)
