"""``gradcheck inspect TARGET``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus, exit_status
from gradcheck.cli.options import (
    OUTPUT,
    AuditOption,
    JudgingOptions,
    ReportOptions,
    RunOptions,
    TargetOptions,
    TimeoutOption,
    flag,
)
from gradcheck.cli.progress import progress

if TYPE_CHECKING:
    from gradcheck.core.target import Target
    from gradcheck.reports.report import Report
    from gradcheck.settings import Settings

TracePath = Annotated[
    Path | None,
    flag(OUTPUT, "File to keep the recorded step in, for recheck.", metavar="FILE"),
]


@command
def inspect(
    target: TargetOptions,
    judging: JudgingOptions,
    report: ReportOptions,
    run: RunOptions,
    trace: TracePath = None,
    timeout: TimeoutOption = 0,
    audit: AuditOption = False,
) -> ExitStatus:
    """Record one training step and say what breaks its autograd chain.

    Exit status: 0 healthy, 1 findings at or over --fail-on, 2 could not run.
    """
    from gradcheck.cli.output import deliver
    from gradcheck.cli.reports import check_report
    from gradcheck.loading import check

    request, settings = target.request(), judging.settings(target.seed, audit=audit)
    check_report(report, trace, read=target.read())
    check(request)
    keep = trace is not None
    if timeout:
        judged, recorded = _recorded_apart(request, settings, run, timeout, keep_trace=keep)
    else:
        judged, recorded = _recorded(request, settings, run, keep_trace=keep)
    files = [] if trace is None else [(trace, recorded)]
    deliver(judged, report, run, files, fail_on=settings.fail_on)
    return exit_status(judged, settings.fail_on)


def _recorded_apart(
    request: Target, settings: Settings, run: RunOptions, timeout_s: float, *, keep_trace: bool
) -> tuple[Report, str]:
    """The report and the trace's text, made in a process of its own."""
    from gradcheck.cli.isolated import answer_of
    from gradcheck.isolation import Errand, Inspected, Unfinished

    errand = Errand(
        task="inspect", target=request, settings=settings, keep_trace=keep_trace, debug=run.debug
    )
    answer = answer_of(errand, timeout_s, run)
    assert isinstance(answer, (Inspected, Unfinished))
    return answer.report, answer.trace or ""


def _recorded(
    request: Target, settings: Settings, run: RunOptions, *, keep_trace: bool
) -> tuple[Report, str]:
    from gradcheck.trace.file import dumps

    with progress(run) as show:
        show("importing torch")
        from gradcheck.loading import load  # torch and transformers: seconds
        from gradcheck.pipeline import inspect_subject

        show(f"loading {request.name}")
        subject = load(request)
        trace, report = inspect_subject(subject, settings, progress=show)
    return report, dumps(trace) if keep_trace else ""
