"""``gradcheck fix TARGET``."""

from __future__ import annotations

import keyword
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus, exit_status
from gradcheck.cli.options import (
    JudgingOptions,
    ReportOptions,
    RunOptions,
    TargetOptions,
    TimeoutOption,
    flag,
)
from gradcheck.cli.progress import progress
from gradcheck.errors import SettingsError
from gradcheck.findings.edit import AddToOptimizer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gradcheck.core.target import Target
    from gradcheck.reports.outcome import FixReport
    from gradcheck.settings import Settings

REPAIR = "Repair"
TIMEOUT_S = 1800
"""Half an hour: loading a large checkpoint and forty recorded steps fit in; a step that hangs is worth no more."""
MADE_HERE = "found and verified by gradcheck"
"""In the first line of the modules that ``--write`` writes."""
FILES = (".py", ".yaml", ".yml", ".json", ".toml")
"""What is read and rewritten, never loaded; a factory has a function behind its file name."""


@dataclass(frozen=True, kw_only=True)
class RepairOptions:
    """Whether the repairs are kept, and where."""

    apply: Annotated[
        bool,
        flag(
            REPAIR,
            "Make the repair: the exit status is that of the repaired model; a file is rewritten.",
            "--apply",
        ),
    ] = False
    write: Annotated[
        Path | None,
        flag(
            REPAIR,
            "With --apply: write the verified repairs as a module for a training script to import.",
            metavar="FILE.py",
        ),
    ] = None


@command
def fix(
    repair: RepairOptions,
    target: TargetOptions,
    judging: JudgingOptions,
    report: ReportOptions,
    run: RunOptions,
    timeout: TimeoutOption = TIMEOUT_S,
) -> ExitStatus:
    """Try repairs, keep what helps, show before and after.

    After each repair the same step is recorded again; what does not help is undone. The weights on the disk are never
    changed: --write keeps the repairs as a module with apply(model).

    A training script (train.py) or a configuration (yaml, json, toml) is read, never run, and rewritten with --apply;
    so is the adapter_config.json of an adapter, where a setting of it would keep the adapter from training.

    Exit status: 0 healthy, 1 findings at or over --fail-on, 2 could not run; without --apply that of the target as it
    is, with it that of the repaired one.
    """
    from gradcheck.cli.output import deliver
    from gradcheck.cli.reports import check_report
    from gradcheck.loading import check

    _check_module(repair)
    file = Path(target.target)
    if file.suffix in FILES and file.is_file():
        if repair.write is not None:
            raise SettingsError(f"--write is for a model; {file} is repaired in place without it")
        if report != ReportOptions():
            raise SettingsError(
                f"--format, --output and --report are for a model; of {file} the changes are printed as a diff"
            )
        from gradcheck.cli.fix_file import fix_file

        return fix_file(file, apply=repair.apply)
    request, settings = target.request(), judging.settings(target.seed)
    check_report(report, repair.write, read=target.read())
    check(request)
    result = (
        _repaired_apart(request, settings, run, timeout)
        if timeout
        else _repaired(request, settings, run)
    )
    modules = _modules(result, request, repair)
    deliver(result, report, run, modules, dry_run=not repair.apply, fail_on=settings.fail_on)
    _tell(result, repair, run)
    from gradcheck.cli.fix_file import tell_settings

    tell_settings(Path(request.adapter or request.name).expanduser(), apply=repair.apply)
    return exit_status(result.after if repair.apply else result.before, settings.fail_on)


def _check_module(repair: RepairOptions) -> None:
    """Refuses a module that would not be written, could not be imported, or would replace somebody's file.

    Raises:
        SettingsError: where it is one of these.
    """
    write = repair.write
    if write is None:
        return
    if not repair.apply:
        raise SettingsError("--write needs --apply; add it, or leave --write out to see the plan")
    if write.suffix != ".py" or not write.stem.isidentifier() or keyword.iskeyword(write.stem):
        raise SettingsError(
            f"--write got {write}; give a Python file that can be imported, for example repairs.py"
        )
    if write.is_file() and write.stat().st_size:
        with write.open(encoding="utf-8", errors="replace") as file:
            first = file.readline()
        if MADE_HERE not in first:
            raise SettingsError(
                f"{write} is there and was not written by gradcheck fix; give the name of a new file"
            )


def _repaired_apart(
    request: Target, settings: Settings, run: RunOptions, timeout_s: float
) -> FixReport:
    """The same in a process of its own."""
    from gradcheck.cli.isolated import answer_of
    from gradcheck.isolation import Errand, Repaired

    errand = Errand(task="fix", target=request, settings=settings, debug=run.debug)
    answer = answer_of(errand, timeout_s, run)
    assert isinstance(answer, Repaired)
    return answer.result


def _repaired(request: Target, settings: Settings, run: RunOptions) -> FixReport:
    with progress(run) as show:
        show("importing torch")
        from gradcheck.loading import load  # torch and transformers: seconds
        from gradcheck.pipeline import fix_subject

        show(f"loading {request.name}")
        subject = load(request)
        return fix_subject(subject, settings, progress=show)


def _modules(result: FixReport, request: Target, repair: RepairOptions) -> list[tuple[Path, str]]:
    if repair.write is None or not result.verified:
        return []
    from gradcheck.editing.module_source import module_source

    return [(repair.write, module_source(result, request.name))]


def _tell(result: FixReport, repair: RepairOptions, run: RunOptions) -> None:
    """What came of ``--write`` and what to type next: on stderr, where no report is disturbed."""
    if repair.write is not None and not result.verified:
        print(f"gradcheck: {repair.write} was not written: no repair was made", file=sys.stderr)
    elif not run.quiet:
        for line in _next_lines(result, repair):
            print(f"gradcheck: {line}", file=sys.stderr)


def _next_lines(result: FixReport, repair: RepairOptions) -> Iterator[str]:
    if not result.verified:
        return
    if repair.write is not None:
        arguments = "model, optimizer" if _needs_optimizer(result) else "model"
        yield "next, in the training script, before the first step:"
        yield f"  from {repair.write.stem} import apply; model = apply({arguments})"
    elif repair.apply:
        yield "next: --write repairs.py keeps the repairs, which end with this process, as a module"
    else:
        yield "this was a dry run: the exit status is that of the model as it is"
        yield "next: --apply --write repairs.py keeps the repairs as a module for a training script"


def _needs_optimizer(result: FixReport) -> bool:
    edits = (edit for outcome in result.verified for edit in outcome.edits)
    return any(isinstance(edit, AddToOptimizer) for edit in edits)
