"""``gradcheck fix`` of a file: a training script, a training configuration, or the configuration of an adapter."""

import re
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.console import RenderableType
from rich.text import Text

from gradcheck.cli.exit_status import ExitStatus
from gradcheck.cli.output import print_text, wants_color
from gradcheck.core.words import counted
from gradcheck.editing.files import Change, FilePlan, read_exactly, unified_diff, write_atomically
from gradcheck.errors import TargetError
from gradcheck.formats.terminal.layout import labelled
from gradcheck.formats.terminal.report import MIN_WIDTH, rendered
from gradcheck.formats.views.text import clean, clean_lines
from gradcheck.trace.file import looks_like_trace

ADAPTER_CONFIG = "adapter_config.json"
DIFF_STYLES = (
    ("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("+", "green"), ("-", "red"), ("\\", "dim"),
)  # fmt: skip
"""The style of a line of a diff by how it begins; the first that fits."""
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069]")
"""What a terminal would act on, and what makes a line read as another; tabs stay."""
NOT_MADE = "not made: only you can say what was meant"
NUMERICS = "changes what is computed"


def fix_file(path: Path, *, apply: bool, transformers: str | None = None) -> ExitStatus:
    """Shows what would be repaired in the file at ``path``, or repairs it; nothing in it is executed.

    ``transformers`` is the version that a script runs with where it pins none: the installed one by default.
    HEALTHY: nothing is left to do. FINDINGS: repairs are shown and not made, or some only the author can make.

    Raises:
        TargetError: where it cannot be read, parsed or written.
    """
    file = _file_at(path)
    _refuse_trace(file)
    text, encoding = read_exactly(file)
    plan = _planned(file, text, transformers or _installed_transformers())
    backup = write_atomically(file, plan.text, encoding=encoding) if apply else None
    written = apply and plan.text != text
    _show(file, path, text, plan, apply=apply, written=written, backup=backup)
    left = [c for c in plan.changes if not apply or c.applicability == "display-only"]
    return ExitStatus.FINDINGS if left else ExitStatus.HEALTHY


def tell_settings(folder: Path, *, apply: bool) -> None:
    """Says what in the configuration of an adapter's folder would keep it from training; changes it with ``apply``.

    On stderr, because the report of the model is on standard output. A folder without an adapter has nothing to say.

    Raises:
        TargetError: where the file cannot be read, parsed or written.
    """
    file = folder / ADAPTER_CONFIG
    if not file.is_file():
        return
    text, encoding = read_exactly(file)
    plan = _planned(file, text, None)
    if not plan.changes:
        return
    backup = write_atomically(file, plan.text, encoding=encoding) if apply else None
    for change in plan.changes:
        made = "changed" if apply and plan.text != text else "--apply changes this line"
        print(
            f"gradcheck: {clean(str(file), 200)}:{change.line} {clean(change.before_text, 80)}\n"
            f"gradcheck:   {change.summary} ({made})",
            file=sys.stderr,
        )
    for note in plan.notes:
        print(f"gradcheck:   {note}", file=sys.stderr)
    if backup is not None:
        print(f"gradcheck:   backup {backup}", file=sys.stderr)


def _file_at(path: Path) -> Path:
    if not path.is_file():
        raise TargetError(f"there is no file {path}; give a script or a configuration")
    return path


def _refuse_trace(file: Path) -> None:
    with file.open(encoding="utf-8", errors="replace") as opened:
        if looks_like_trace(opened.read(4096)):
            raise TargetError(
                f"{file} is a recorded step, in which there is nothing to repair; "
                f"`gradcheck recheck {shlex.quote(str(file))}` judges it again"
            )


def _planned(file: Path, text: str, transformers: str | None) -> FilePlan:
    if file.suffix == ".py":
        from gradcheck.editing.scripts.plan import plan_script  # LibCST: half a second

        return plan_script(text, transformers=transformers)
    from gradcheck.editing.configs import kind_of, plan_config

    return plan_config(text, kind_of(file.name))


def _installed_transformers() -> str | None:
    try:
        return version("transformers")
    except PackageNotFoundError:
        return None


def _show(
    file: Path,
    path: Path,
    text: str,
    plan: FilePlan,
    *,
    apply: bool,
    written: bool,
    backup: Path | None,
) -> None:
    """The diff, what was or would be changed and why, the notes, and what to type next."""
    width, color = max(shutil.get_terminal_size((80, 24)).columns, MIN_WIDTH), wants_color()
    diff = "" if apply else _diff(text, plan.text, _as_patched(file), color=color)
    parts: list[RenderableType] = [
        _line(_verdict(file, plan, written=written, apply=apply), "bold")
    ]
    rows = [row for change in plan.changes for row in _rows(change)]
    rows += [("noted", Text(clean(note, 400))) for note in plan.notes]
    if backup is not None:
        rows.append(("backup", _line(str(backup))))
    parts += [Text(), labelled(rows, width=width)] if rows else []
    if not apply and plan.text != text:
        command = f"gradcheck fix {shlex.quote(str(path))} --apply"
        parts += [Text(), Text.assemble(("next      ", "dim"), _line(command, "bold green"))]
    shown = "".join(_rendered(part, width=width, color=color) for part in parts)
    print_text(diff + shown)


def _line(text: str, style: str = "") -> Text:
    """A line that is not broken, however long: a path or a command is copied whole."""
    return Text(clean(text, 1000), style, no_wrap=True, overflow="ignore")


def _rendered(part: RenderableType, *, width: int, color: bool) -> str:
    needed = part.cell_len + 1 if isinstance(part, Text) else 0
    return rendered(part, width=max(width, needed), color=color)


def _verdict(file: Path, plan: FilePlan, *, written: bool, apply: bool) -> str:
    left = sum(change.applicability == "display-only" for change in plan.changes)
    made = len(plan.changes) - left
    name = clean(str(file), 200)
    if not plan.changes:
        return f"{name}: nothing to repair"
    parts = []
    if made:
        parts.append(f"{counted(made, 'repair')} {'written' if written else 'to make'}")
    if left:
        parts.append(f"{counted(left, 'place')} to look at yourself")
    still = "" if written or not apply else " (nothing was written)"
    return f"{name}: {', '.join(parts)}{still}"


def _rows(change: Change) -> list[tuple[str, RenderableType]]:
    shown = Text(clean(change.name, 80), style="bold")
    if change.applicability != "safe":
        shown.append(
            f"  ({NOT_MADE if change.applicability == 'display-only' else NUMERICS})", "dim"
        )
    shown.append(f"\n{clean(change.summary, 400)}", "not bold")
    if change.applicability == "display-only":
        shown.append(f"\n> {clean(change.before_text, 160)}", "not bold italic")
    for line in clean_lines(change.suggestion, 6, 160):
        shown.append(f"\n+ {line}", "not bold green")
    return [(f"line {change.line}", shown)]


def _as_patched(file: Path) -> str:
    """The path from the working directory, where ``git apply`` and ``patch -p1`` look; the whole one from elsewhere."""
    whole, here = file.absolute(), Path.cwd()
    return (whole.relative_to(here) if whole.is_relative_to(here) else whole).as_posix().lstrip("/")


def _diff(before: str, after: str, name: str, *, color: bool) -> str:
    """The unified diff, each line whole however wide the window is, and an empty line."""
    lines = [_harmless(line) for line in unified_diff(before, after, name).split("\n")[:-1]]
    if not color:
        return "".join(f"{line}\n" for line in [*lines, ""]) if lines else ""
    styled = (Text(line, _style(line), no_wrap=True, overflow="ignore") for line in lines)
    shown = (rendered(line, width=len(line) * 8 + 1, color=True) for line in styled)
    return "".join(shown) + "\n" * bool(lines)


def _harmless(line: str) -> str:
    return CONTROL.sub("\ufffd", line.removesuffix("\r"))


def _style(line: str) -> str:
    return next((style for start, style in DIFF_STYLES if line.startswith(start)), "")
