"""``gradcheck run SCRIPT``."""

import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus, exit_status
from gradcheck.cli.inspect import TracePath
from gradcheck.cli.options import JudgingOptions, ReportOptions, RunOptions, flag
from gradcheck.errors import InputError, TargetError
from gradcheck.version import PACKAGE_FOLDER

TRAINING = "Training"
ALL = "all"
_SAY_EVERY_S = 5.0
"""A line for each of the first steps, and then one in so many seconds."""
_FIRST_STEPS = 3


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Which script, and how much of it."""

    script: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SCRIPT [ARGS]...",
            help="A training script or notebook, run unchanged, and its own arguments.",
            show_default=False,
        ),
    ] = None
    module: Annotated[
        str | None,
        flag(
            TRAINING,
            "A module instead of a script, as python -m takes it.",
            "--module",
            "-m",
            metavar="NAME",
        ),
    ] = None
    steps: Annotated[
        str,
        flag(
            TRAINING,
            "Optimizer steps after which the script is ended; all: it trains to its end.",
            metavar="N|all",
        ),
    ] = "20"
    record: Annotated[
        int,
        flag(
            TRAINING,
            "First steps to record in full; the others are only watched.",
            metavar="N",
            low=0,
        ),
    ] = 2
    repair: Annotated[
        bool,
        flag(
            TRAINING,
            "Repair each model before it is first called, verified on that call; then train on.",
            "--repair",
        ),
    ] = False

    def program(self) -> tuple[str, list[str]]:
        """The script or module, and its arguments.

        Raises:
            TargetError: where there is none.
        """
        given = list(self.script or ())
        if self.module is not None:
            return self.module, given
        if not given:
            raise TargetError("there is no script; give one: gradcheck run train.py")
        if given[0].startswith("-"):
            raise TargetError(f"there is no option {given[0]}; `gradcheck run --help` lists them")
        return given[0], given[1:]

    def limit(self) -> int | None:
        """The steps to take; None for all.

        Raises:
            InputError: where ``--steps`` is neither a number over 0 nor ``all``.
        """
        if self.steps == ALL:
            return None
        if not self.steps.isdecimal() or not int(self.steps):
            raise InputError(f"--steps {self.steps} is no number of steps; give 1 or more, or all")
        return int(self.steps)


@command
def run(
    training: TrainingOptions,
    judging: JudgingOptions,
    report: ReportOptions,
    run: RunOptions,
    trace: TracePath = None,
) -> ExitStatus:
    """Run a training script unchanged and judge its steps.

    Exit status: 0 healthy, 1 findings at or over --fail-on, 2 could not run or not judged.
    """
    from gradcheck.cli.output import deliver
    from gradcheck.cli.reports import check_report

    (script, arguments), steps, settings = training.program(), training.limit(), judging.settings()
    is_module = training.module is not None
    read = [] if is_module else [Path(script)]
    check_report(report, trace, read=read)
    _check(script, is_module)
    progress = _Progress(quiet=run.quiet)
    with redirect_stdout(sys.stderr):  # standard output is for the report
        progress.say("importing torch")
        from gradcheck import pipeline  # torch: seconds

        progress.say(f"running {script}")
        came = pipeline.run(
            script,
            arguments,
            module=is_module,
            steps=steps,
            record=training.record,
            repair=training.repair,
            settings=settings,
            stepped=progress.stepped,
        )
    _tell(came.error, script)
    files = []
    if trace is not None:
        from gradcheck.trace.file import dumps

        files.append((trace, dumps(came.training)))
    deliver(came.fixed or came.report, report, run, files, fail_on=settings.fail_on)
    return exit_status(came.report, settings.fail_on)


def _check(script: str, is_module: bool) -> None:
    from gradcheck.loading.program import check_program

    check_program(script, module=is_module)


class _Progress:
    """Lines on stderr, which the script writes to as well."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._begun = time.monotonic()
        self._said = 0.0

    def say(self, text: str) -> None:
        """One line."""
        if not self._quiet:
            print(f"gradcheck: {text}", file=sys.stderr, flush=True)

    def stepped(self, number: int, read_loss: Callable[[], float | None]) -> None:
        """A step was taken."""
        now = time.monotonic()
        if number > _FIRST_STEPS and now - self._said < _SAY_EVERY_S:
            return
        self._said = now
        loss = None if self._quiet else read_loss()
        value = "" if loss is None else f" · loss {loss:.4g}"
        self.say(f"step {number}{value} · {now - self._begun:.1f} s")


def _tell(error: BaseException | None, script: str) -> None:
    """The traceback of what the script raised, as Python would print it."""
    if isinstance(error, SystemExit):
        print(f"gradcheck: {script} left with status {error.code}", file=sys.stderr)
    elif error is not None:
        print(_traceback(error), end="", file=sys.stderr)


def _traceback(error: BaseException) -> str:
    """As Python prints it where nobody looks: without our frames and those that lead to the script."""
    whole = traceback.TracebackException.from_exception(error)
    told: traceback.TracebackException | None = whole
    while told is not None:
        kept = [it for it in told.stack if not it.filename.startswith((PACKAGE_FOLDER, "<frozen"))]
        told.stack = traceback.StackSummary.from_list(kept)
        told = told.__cause__ or told.__context__
    return "".join(whole.format())
