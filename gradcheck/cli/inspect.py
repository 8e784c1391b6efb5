"""``gradcheck inspect TARGET``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus, exit_status
from gradcheck.cli.options import OUTPUT, JudgingOptions, ReportOptions, RunOptions, TargetOptions
from gradcheck.cli.progress import progress

if TYPE_CHECKING:
    from gradcheck.core.report import Report
    from gradcheck.core.target import Target
    from gradcheck.core.trace import Trace
    from gradcheck.settings import Settings

TracePath = Annotated[
    Path | None,
    typer.Option(
        "--trace",
        metavar="FILE",
        help="File to keep the recorded step in, for recheck.",
        rich_help_panel=OUTPUT,
    ),
]


@command
def inspect(
    target: TargetOptions,
    judging: JudgingOptions,
    report: ReportOptions,
    run: RunOptions,
    trace: TracePath = None,
) -> ExitStatus:
    """Record one training step and say what breaks its autograd chain.

    Exit status: 0 healthy, 1 findings at or over --fail-on, 2 could not run.
    """
    from gradcheck.cli.output import deliver
    from gradcheck.cli.reports import check_report
    from gradcheck.core.trace_json import dumps

    request, settings = target.request(), judging.settings(target.seed)
    check_report(report, trace)
    recorded, judged = _recorded(request, settings, run)
    files = [] if trace is None else [(trace, dumps(recorded))]
    deliver(judged, report, run, files, fail_on=settings.fail_on)
    return exit_status(judged, settings.fail_on)


def _recorded(request: Target, settings: Settings, run: RunOptions) -> tuple[Trace, Report]:
    with progress(run) as show:
        show("importing torch")
        from gradcheck.loading import load  # torch and transformers: seconds
        from gradcheck.pipeline import inspect_subject

        show(f"loading {request.name}")
        subject = load(request)
        return inspect_subject(subject, settings, progress=show)
