"""Where a report goes: standard output or files, the files whole or not at all."""

import contextlib
import dataclasses
import os
import shlex
import shutil
import sys
from pathlib import Path

from gradcheck.cli.files import append, write_files
from gradcheck.cli.options import ReportOptions, RunOptions
from gradcheck.cli.report_context import context
from gradcheck.cli.reports import wanted_reports
from gradcheck.core.severity import Severity
from gradcheck.formats.views.fix_verdict import headline
from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import RenderOptions, render

ASCII = str.maketrans(
    {
        "│": "|", "┊": ":", "⋮": ":", "─": "-", "━": "-", "✂": "x", "✖": "x", "✔": "+", "▲": "!", "·": "-", "×": "x",
        "❌": "x", "✅": "+", "⚠": "!", "⛔": "x", "ℹ": "i", "\ufe0f": "",
        "–": "-", "…": "...", "•": "*", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "’": "'", "“": '"', "”": '"',
    }
)  # fmt: skip
"""What stands for our marks where standard output cannot carry them."""


def deliver(
    judged: Judged,
    report: ReportOptions,
    run: RunOptions,
    files: list[tuple[Path, str]],
    *,
    dry_run: bool = False,
    fail_on: Severity = "error",
) -> None:
    """Writes the files that were asked for, and prints the report unless it goes to one of them."""
    about = dataclasses.replace(context(judged), dry_run=dry_run, fail_on=fail_on)
    made = [(wanted, render(judged, wanted.format, about)) for wanted in wanted_reports(report)]
    files = [*files, *((wanted.file, text) for wanted, text in made if wanted.file is not None)]
    options = render_options(run, about, to_file=report.output is not None)
    text = render(judged, report.format, options)
    if report.output is not None:
        files.append((report.output, text))
    write_files([(path, text if text.endswith("\n") else f"{text}\n") for path, text in files])
    if report.output is None:
        print_text(text)
    elif not run.quiet:
        print(headline(judged, dry_run=dry_run), file=sys.stderr)
    for wanted, extra in made:
        if wanted.added_to is not None:
            append(wanted.added_to, extra)
        elif wanted.file is None:
            print_text(extra)
    if not run.quiet:
        for path, _ in files:
            print(f"gradcheck: wrote {path}", file=sys.stderr)


def show(report: Judged, run: RunOptions) -> None:
    """Prints the report for the terminal."""
    print_text(render(report, "terminal", render_options(run)))


def render_options(
    run: RunOptions, about: RenderOptions | None = None, *, to_file: bool = False
) -> RenderOptions:
    """``about`` and what the terminal is, asked once, here."""
    return dataclasses.replace(
        about or RenderOptions(),
        width=shutil.get_terminal_size((80, 24)).columns,
        color=False if to_file else wants_color(),
        command=typed_command(),
        verbose=run.verbose,
    )


def typed_command() -> str:
    """The command as typed, with the program by its name."""
    return shlex.join([Path(sys.argv[0]).name.replace("__main__.py", "gradcheck"), *sys.argv[1:]])


def wants_color() -> bool:
    """Whether standard output is to be colored: https://no-color.org and https://force-color.org."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


def print_text(text: str) -> None:
    """Prints ``text``; a reader that has gone (``| head``) is no error of ours."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode(encoding, "replace").decode(encoding)
    try:
        sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        with contextlib.suppress(OSError, ValueError):  # the interpreter flushes once more at exit
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
