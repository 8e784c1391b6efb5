"""``inspect``, ``fix`` and ``watch``: the only place where the rooms that touch the world meet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, TypeVar

from gradcheck.core.lapse import told_as_own
from gradcheck.diagnose_training import diagnose_training
from gradcheck.errors import BatchError
from gradcheck.findings.rule import check_selection
from gradcheck.loading.program import check_program, run_program
from gradcheck.mending import Mender
from gradcheck.recording.observers import nobody
from gradcheck.recording.training.listener import Enough, Listener, Stepped, ends_the_script
from gradcheck.recording.training.models import Named, named_by_caller
from gradcheck.recording.training.recorder import TrainingRecorder, stepping_aside
from gradcheck.recording.watching import Watch
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.search import repair as search_repairs
from gradcheck.settings import Settings
from gradcheck.step import examine_or_twin
from gradcheck.subject import LossFunction, Subject
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Ending, Training

if TYPE_CHECKING:
    import torch

_T = TypeVar("_T")
DEFAULT_STEPS = 20
DEFAULT_RECORDED = 2
MOST_WATCHED = 1000
"""Steps of a script that trains to its end; after them only steps are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingRun:
    """What came of a script."""

    training: Training
    report: Report
    error: BaseException | None
    """What the script ended with, where it raised or left with a status other than 0."""
    fixed: FixReport | None = None
    """With ``repair``: what was found before the first step, and what became of it; None where all was well."""


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
        settings: ``Settings(audit=True)`` compares the gradient with the loss itself too, by up to 40 more forwards.

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
    with stepping_aside():
        _, seen = examine_or_twin(subject, settings)
    return seen.trace, seen.report


@told_as_own
def fix_subject(
    subject: Subject, settings: Settings, *, progress: Callable[[str], None] = lambda _: None
) -> FixReport:
    """``fix`` on a Subject; ``progress`` is told what is going on."""
    with stepping_aside():
        return search_repairs(subject, settings, progress)


def watch(
    model: torch.nn.Module | Sequence[torch.nn.Module],
    *,
    optimizer: torch.optim.Optimizer | Sequence[torch.optim.Optimizer] | None = None,
    settings: Settings | None = None,
    steps: int | None = DEFAULT_STEPS,
    record: int = DEFAULT_RECORDED,
) -> Watch:
    """Records the user's own loop: ``with gradcheck.watch(model) as watch: ...``.

    The first steps are recorded in full, those after them only watched; a step ends where an optimizer is called that
    moves one of the models. Afterwards ``watch.report`` holds the Report. Nothing of the loop is changed or put back.

    Args:
        model: what is trained; with several, a name in the report begins with the variable that holds the model.
        optimizer: what moves them; where it is not given, all that are there and hold a parameter of theirs.
        settings: rules and severity.
        steps: after how many steps nothing is watched any more; None to watch all.
        record: how many are recorded in full.
    """
    return watch_models(
        named_by_caller(_several(model), sys._getframe(1)),
        () if optimizer is None else _several(optimizer),
        settings or Settings(),
        steps=steps,
        record=record,
    )


def watch_models(
    models: Named,
    optimizers: Sequence[torch.optim.Optimizer],
    settings: Settings,
    *,
    steps: int | None,
    record: int,
    listener: Listener | None = None,
    is_running: Callable[[], bool] = lambda: True,
) -> Watch:
    """``watch`` for a framework's callback: it is told of each step, and may end without a word."""

    def make() -> TrainingRecorder:
        return TrainingRecorder(
            settings,
            record=record,
            steps=steps,
            models=models,
            optimizers=optimizers,
            listener=listener,
            is_running=is_running,
        )

    return Watch(make, lambda training: diagnose_training(training, settings))


def _several(given: _T | Sequence[_T]) -> tuple[_T, ...]:
    return tuple(given) if isinstance(given, Sequence) else (given,)


def run(
    script: str,
    arguments: Sequence[str] = (),
    *,
    module: bool = False,
    steps: int | None = DEFAULT_STEPS,
    record: int = DEFAULT_RECORDED,
    repair: bool = False,
    settings: Settings | None = None,
    stepped: Stepped = nobody,
) -> TrainingRun:
    """Runs a training script unchanged, as ``python script.py`` would, and judges its steps.

    Args:
        script: a file, a notebook, or with ``module`` what ``python -m`` takes.
        arguments: ``sys.argv[1:]`` of the script.
        module: whether ``script`` is the name of a module.
        steps: after how many calls of an optimizer the script is ended; None to let it run to its end.
        record: how many of the first steps are recorded in full; the others are only watched.
        repair: whether each model that learns is repaired before it is called for the first time.
        settings: rules and severity.
        stepped: is told after each step how many were taken, and how to read its loss.

    Raises:
        TargetError: where there is no such script.
        SettingsError: where a code in ``settings`` is no rule's.
    """
    check_program(script, module=module)
    return train(
        lambda: run_program(script, arguments, module=module),
        steps=steps,
        record=record,
        repair=repair,
        settings=settings,
        stepped=stepped,
        setup=(("script", script),),
    )


def train(
    training: Callable[[], object],
    *,
    steps: int | None = DEFAULT_STEPS,
    record: int = DEFAULT_RECORDED,
    repair: bool = False,
    settings: Settings | None = None,
    stepped: Stepped = nobody,
    setup: tuple[tuple[str, str], ...] = (),
) -> TrainingRun:
    """Calls ``training``, a function that trains, and judges its steps; the arguments are those of ``run``.

    Raises:
        SettingsError: where a code in ``settings`` is no rule's.
    """
    settings = settings or Settings()
    check_selection(settings)
    mender = Mender(settings)
    listener = Listener(
        stepped=stepped,
        enough=nobody if steps is None else ends_the_script,
        repair=mender.mend if repair else None,
    )
    recorder = TrainingRecorder(
        settings, record=record, steps=steps or MOST_WATCHED, listener=listener
    )
    ending: Ending = "ended"
    error: BaseException | None = None
    try:
        with recorder.watching():
            training()
    except Enough:
        ending = "stopped"
    except SystemExit as leaves:
        ending, error = ("exited", leaves) if leaves.code else ("ended", None)
    except Exception as raised:
        ending, error = "raised", raised
    recorded = recorder.training(ending, error, setup)
    report = diagnose_training(recorded, settings)
    if recorder.failure is not None:
        report = replace(report, findings=(), unjudged=str(recorder.failure))
    report = replace(report, notes=(*report.notes, *mender.notes))
    return TrainingRun(training=recorded, report=report, error=error, fixed=mender.outcome(report))
