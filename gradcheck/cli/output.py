"""Where a report goes: standard output or files, the files whole or not at all."""

import contextlib
import difflib
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from gradcheck.cli.options import ReportOptions, RunOptions
from gradcheck.core.formatter import FORMATS, RenderOptions, render
from gradcheck.core.outcome import FixReport
from gradcheck.core.report import Report
from gradcheck.errors import SettingsError
from gradcheck.formats.fix_verdict import headline

ASCII = str.maketrans(
    {
        "│": "|", "┊": ":", "⋮": ":", "─": "-", "━": "-", "✂": "x", "✖": "x", "✔": "+", "▲": "!", "·": "-", "×": "x",
        "–": "-", "…": "...", "•": "*", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "’": "'", "“": '"', "”": '"',
    }
)  # fmt: skip
"""What stands for our marks where standard output cannot carry them."""


def known_format(name: str) -> str:
    """``name`` where there is such a format.

    Raises:
        SettingsError: where there is none; the text lists those there are.
    """
    names = FORMATS.all()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise SettingsError(f"--format got {name!r}; accepted: {', '.join(names)}{hint}")
    return name


def deliver(
    judged: Report | FixReport,
    report: ReportOptions,
    run: RunOptions,
    files: list[tuple[Path, str]],
    *,
    dry_run: bool = False,
) -> None:
    """Writes the files that were asked for, and prints the report unless it goes to one of them."""
    options = render_options(run, to_file=report.output is not None, dry_run=dry_run)
    text = render(judged, report.format, options)
    if report.output is None:
        write_files(files)
        print_text(text)
    else:
        files = [*files, (report.output, text if text.endswith("\n") else f"{text}\n")]
        write_files(files)
        if not run.quiet:
            print(headline(judged, dry_run=dry_run), file=sys.stderr)
    if not run.quiet:
        for path, _ in files:
            print(f"gradcheck: wrote {path}", file=sys.stderr)


def show(report: Report | FixReport, run: RunOptions) -> None:
    """Prints the report for the terminal."""
    print_text(render(report, "terminal", render_options(run)))


def render_options(
    run: RunOptions, *, to_file: bool = False, dry_run: bool = False
) -> RenderOptions:
    """What the terminal is, asked once, here."""
    return RenderOptions(
        width=shutil.get_terminal_size((80, 24)).columns,
        color=False if to_file else wants_color(),
        command=typed_command(),
        verbose=run.verbose,
        dry_run=dry_run,
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


def check_paths(*paths: Path | None) -> None:
    """Refuses what cannot be written before a model is loaded for it.

    Raises:
        SettingsError: where a path is a folder, lies in no folder or in one that cannot be written, or comes twice.
    """
    given = [path for path in paths if path is not None]
    if len({path.resolve() for path in given}) < len(given):
        raise SettingsError(f"two options name the same file, {given[0]}; give each its own")
    for path in given:
        folder = path.resolve().parent
        if path.is_dir():
            raise SettingsError(f"{path} is a folder; give a file to write")
        if not folder.is_dir():
            raise SettingsError(
                f"{path} cannot be written: there is no folder {folder}; create it first"
            )
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise SettingsError(f"{path} cannot be written: permission denied; give another place")


def write_files(files: list[tuple[Path, str]]) -> None:
    """Writes all files or none: each beside its place first, then moved there.

    Raises:
        SettingsError: where one cannot be written.
    """
    with contextlib.ExitStack() as stack:
        staged = []
        for path, text in files:
            with _explained(path):
                staged.append((stack.enter_context(_staged(path.resolve(), text)), path))
        for temporary, path in staged:
            with _explained(path):
                if temporary is not None:
                    temporary.replace(path.resolve())


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}; give another place"
        ) from error


@contextlib.contextmanager
def _staged(target: Path, text: str) -> Iterator[Path | None]:
    """A file beside ``target`` with ``text``, gone afterwards unless it was moved; None for a device or a pipe."""
    if target.exists() and not target.is_file():
        target.write_text(text, "utf-8")
        yield None
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)  # there is no call that only reads it
    os.umask(mask)
    return mask
