"""``gradcheck fix TARGET``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus, exit_status
from gradcheck.cli.options import JudgingOptions, ReportOptions, RunOptions, TargetOptions
from gradcheck.cli.progress import progress
from gradcheck.errors import SettingsError

if TYPE_CHECKING:
    from gradcheck.core.outcome import FixReport
    from gradcheck.core.target import Target
    from gradcheck.settings import Settings

REPAIR = "Repair"
FILES = (".py", ".yaml", ".yml", ".json", ".toml")
"""What is read and rewritten, never loaded; a factory has a function behind its file name."""
Apply = Annotated[
    bool,
    typer.Option(
        "--apply",
        help="Make the repair: the exit status is that of the repaired model, a script or setting is rewritten.",
        rich_help_panel=REPAIR,
    ),
]
ModulePath = Annotated[
    Path | None,
    typer.Option(
        "--write",
        metavar="FILE.py",
        help="With --apply: a module `def apply(model)` of the verified repairs, for a training script to import.",
        rich_help_panel=REPAIR,
    ),
]


@command
def fix(
    target: TargetOptions,
    judging: JudgingOptions,
    report: ReportOptions,
    run: RunOptions,
    apply: Apply = False,
    write: ModulePath = None,
) -> ExitStatus:
    """Repair the autograd chain, prove it, and write it where it belongs.

    Each repair is tried on the loaded model, the same step is recorded again, and what does not help is undone. A
    training script (train.py) or configuration (yaml, json, toml) is read, never run, and rewritten with --apply.

    Without --apply nothing is written, and the exit status is that of the target as it is.
    Exit status: 0 healthy, 1 findings at or over --fail-on, 2 could not run.
    """
    from gradcheck.cli.output import check_paths, known_format

    if write is not None and not apply:
        raise SettingsError("--write needs --apply; add it, or leave --write out to see the plan")
    if Path(target.target).suffix in FILES and Path(target.target).is_file():
        from gradcheck.cli.fix_file import fix_file  # LibCST: half a second

        return fix_file(Path(target.target), apply=apply)
    request, settings = target.request(), judging.settings(target.seed)
    known_format(report.format)
    check_paths(report.output, write)
    result = _repaired(request, settings, run)
    files = [(write, _module(result, request))] if write is not None else []
    from gradcheck.cli.inspect import deliver

    deliver(result, report, run, files)
    if not run.quiet:
        _tell_next(result, apply=apply, write=write)
    return exit_status(result.after if apply else result.before, settings.fail_on)


def _repaired(request: Target, settings: Settings, run: RunOptions) -> FixReport:
    with progress(run) as show:
        show("importing torch")
        from gradcheck.loading import load  # torch and transformers: seconds
        from gradcheck.pipeline import fix_subject

        show(f"loading {request.name}")
        subject = load(request)
        return fix_subject(subject, settings, progress=show)


def _module(result: FixReport, request: Target) -> str:
    from gradcheck.editing.module_source import module_source

    return module_source(result, request.name)


def _tell_next(result: FixReport, *, apply: bool, write: Path | None) -> None:
    """What to type next, on stderr, where a report on standard output is not disturbed."""
    if write is not None and result.verified:
        text = f"in the training script, before the first step:  from {write.stem} import apply; apply(model)"
    elif result.verified:
        option = "--apply --write repairs.py" if not apply else "--write repairs.py"
        text = f"add {option} to keep the repair as a module, or run `gradcheck fix your_script.py`"
    else:
        return
    print(f"gradcheck: next: {text}", file=sys.stderr)
