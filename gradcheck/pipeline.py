"""``inspect``, ``fix`` and ``watch``: the only place where the rooms that touch the world meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from gradcheck.core.lapse import told_as_own
from gradcheck.diagnose import diagnose
from gradcheck.diagnose_training import diagnose_training
from gradcheck.errors import BatchError
from gradcheck.findings.rule import check_selection
from gradcheck.loading.program import check_program, run_program
from gradcheck.recording.training.recorder import Enough, Stepped, TrainingRecorder
from gradcheck.recording.watching import Watch
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.search import repair
from gradcheck.settings import Settings
from gradcheck.step import examine_or_twin
from gradcheck.subject import LossFunction, Subject
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Ending, Training

if TYPE_CHECKING:
    import torch

DEFAULT_STEPS = 20
DEFAULT_RECORDED = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """What came of a script."""

    training: Training
    report: Report
    error: BaseException | None
    """What the script ended with, where it raised or left with a status other than 0."""


@told_as_own
def inspect(
    model: torch.nn.Module,
    batch: Mapping[str, Any],
    loss_fn: LossFunction | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    settings: Settings | None = None,
) -> Report:
    """Records one training step and says what breaks its autograd chain; leaves everything as it was.

    Args:
        model: any module; the FQNs of the report are those of its ``named_modules()``.
        batch: passed as ``model(**batch)`` where there is no ``loss_fn``.
        loss_fn: ``loss_fn(model, batch) -> scalar tensor``, where the loss is not ``output.loss``.
        optimizer: where given, the rules about optimization run as well.

    Raises:
        BatchError: where the step gives nothing that could be a loss.
        RecordingError: where another recording is running, or memory ran out.
    """
    return inspect_subject(_subject(model, batch, loss_fn, optimizer), settings or Settings())[1]


@told_as_own
def fix(
    model: torch.nn.Module,
    batch: Mapping[str, Any],
    loss_fn: LossFunction | None = None,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    settings: Settings | None = None,
) -> FixReport:
    """Repairs the live model: tries each repair, records the same step again, and keeps what helps.

    ``undo()`` of the result puts the model and the optimizer back, bit for bit.

    Args:
        model: repaired in place; parameters keep their identity.
        batch: as for ``inspect``.
        loss_fn: as for ``inspect``.
        optimizer: where given, trainable parameters that it lacks are added to it.

    Raises:
        BatchError: where the step gives nothing that could be a loss.
        RecordingError: where another recording is running, or memory ran out.
    """
    return fix_subject(_subject(model, batch, loss_fn, optimizer), settings or Settings())


def _subject(
    model: torch.nn.Module,
    batch: Mapping[str, Any],
    loss_fn: LossFunction | None,
    optimizer: torch.optim.Optimizer | None,
) -> Subject:
    if not isinstance(batch, Mapping):
        raise BatchError(
            f"batch is a {type(batch).__name__}; give a mapping of names to tensors, which is passed as model(**batch)"
        )
    return Subject(model=model, batch=batch, loss_fn=loss_fn, optimizer=optimizer)


@told_as_own
def inspect_subject(
    subject: Subject, settings: Settings, *, progress: Callable[[str], None] = lambda _: None
) -> tuple[Trace, Report]:
    """The Trace and the Report of one step of ``subject``; ``progress`` is told what is going on."""
    progress("recording one forward and one backward")
    _, seen = examine_or_twin(subject, settings)
    return seen.trace, seen.report


@told_as_own
def fix_subject(
    subject: Subject, settings: Settings, *, progress: Callable[[str], None] = lambda _: None
) -> FixReport:
    """``fix`` on a Subject; ``progress`` is told what is going on."""
    return repair(subject, settings, progress)


def watch(
    model: torch.nn.Module,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    settings: Settings | None = None,
) -> Watch:
    """Records the first training step of the user's own loop: ``with gradcheck.watch(model) as watch: ...``.

    Afterwards ``watch.report`` holds the Report. Nothing of the loop is changed or put back. With ``optimizer`` the
    rules about optimization run as well.
    """
    return Watch(model, settings or Settings(), diagnose, optimizer=optimizer)


def run(
    script: str,
    arguments: Sequence[str] = (),
    *,
    module: bool = False,
    steps: int | None = DEFAULT_STEPS,
    record: int = DEFAULT_RECORDED,
    settings: Settings | None = None,
    stepped: Stepped = lambda *_: None,
) -> TrainingRun:
    """Runs a training script unchanged, as ``python script.py`` would, and judges its steps.

    Args:
        script: a file, a notebook, or with ``module`` what ``python -m`` takes.
        arguments: ``sys.argv[1:]`` of the script.
        module: whether ``script`` is the name of a module.
        steps: after how many calls of an optimizer the script is ended; None to let it run to its end.
        record: how many of the first steps are recorded in full; the others are only watched.
        settings: rules and severity.
        stepped: is told after each step how many were taken, and how to read its loss.

    Raises:
        TargetError: where there is no such script.
        SettingsError: where a code in ``settings`` is no rule's.
    """
    settings = settings or Settings()
    check_program(script, module=module)
    check_selection(settings)
    recorder = TrainingRecorder(settings, record=record, steps=steps, stepped=stepped)
    ending: Ending = "ended"
    error: BaseException | None = None
    try:
        with recorder.watching():
            run_program(script, arguments, module=module)
    except Enough:
        ending = "stopped"
    except SystemExit as leaves:
        ending, error = ("exited", leaves) if leaves.code else ("ended", None)
    except Exception as raised:
        ending, error = "raised", raised
    training = recorder.training(ending, error, (("script", script),))
    report = diagnose_training(training, settings)
    if recorder.failure is not None:
        report = replace(report, findings=(), unjudged=str(recorder.failure))
    return TrainingRun(training=training, report=report, error=error)
