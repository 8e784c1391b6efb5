"""``gradcheck recheck TRACE.json``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus, exit_status
from gradcheck.cli.options import JudgingOptions, ReportOptions, RunOptions
from gradcheck.errors import TraceError

if TYPE_CHECKING:
    from gradcheck.reports.report import Report
    from gradcheck.settings import Settings
    from gradcheck.trace.trace import Trace
    from gradcheck.trace.training import Training

MAX_BYTES = 1 << 30
"""Of a trace; that of a model with 2,000 layers has 60 MB."""
TraceFile = Annotated[
    Path,
    typer.Argument(
        metavar="TRACE.json", help="A file that `inspect --trace` or `run --trace` wrote."
    ),
]


@command
def recheck(
    judging: JudgingOptions, report: ReportOptions, run: RunOptions, trace: TraceFile
) -> ExitStatus:
    """Judge a recorded step again: no model, no torch.

    Exit status: 0 healthy, 1 findings at or over --fail-on, 2 could not run.
    """
    from gradcheck.cli.output import deliver
    from gradcheck.cli.reports import check_report

    settings = judging.settings()
    check_report(report, read=[trace])
    judged = _judged(read_trace(trace), settings)
    deliver(judged, report, run, [], fail_on=settings.fail_on)
    return exit_status(judged, settings.fail_on)


def _judged(recorded: Trace | Training, settings: Settings) -> Report:
    from gradcheck.diagnose import diagnose
    from gradcheck.diagnose_training import diagnose_training
    from gradcheck.trace.trace import Trace

    if isinstance(recorded, Trace):
        return diagnose(recorded, settings)
    return diagnose_training(recorded, settings)


def read_trace(path: Path) -> Trace | Training:
    """The Trace or the Training in the file at ``path``.

    Raises:
        TraceError: where there is no such file, or what it holds is neither.
    """
    from gradcheck.trace.file import loads_recorded
    from gradcheck.trace.indices import check_indices

    if path.exists() and not path.is_file():
        raise TraceError(f"{path} is no file; give one written by `gradcheck inspect --trace`")
    try:
        if path.stat().st_size > MAX_BYTES:
            raise TraceError(
                f"{path} has {path.stat().st_size:,} bytes; a trace has {MAX_BYTES:,} at most"
            )
        text = path.read_text("utf-8")
    except OSError as error:
        raise TraceError(
            f"{path} cannot be read ({error.strerror}); give a file written by `gradcheck inspect --trace`"
        ) from error
    except UnicodeDecodeError as error:
        raise TraceError(
            f"{path} is no text file; give a file written by `gradcheck inspect --trace`"
        ) from error
    trace = loads_recorded(text, str(path))
    try:
        check_indices(trace)
    except ValueError as error:
        raise TraceError(
            f"{path} is damaged: {error}; record it again with `gradcheck inspect --trace`"
        ) from error
    return trace
