"""Runs the program in this process with stand-ins for the rooms that load and record."""

import signal
import sys
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from typer.testing import CliRunner, Result

from gradcheck.cli.app import app
from gradcheck.core.target import Target
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.settings import Settings
from gradcheck.trace.model import Environment
from gradcheck.trace.trace import Trace
from tests.formats import fixes

TRACE = Trace(
    environment=Environment(versions=(), python="3.11", platform="Linux", device="cpu"),
    setup=(("model", "none"),),
    seed=0,
    modules=(),
    parameters=(),
    frames=(),
    values=(),
    calls=(),
    regions=(),
    switches=(),
    loss=None,
    backward_ran=True,
    failure=None,
    batch=(),
)
"""A step of a model that holds nothing."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Processes started in the body can be interrupted, also where the tests run as a job in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def run(*arguments: str) -> Result:
    """``fix`` runs in this process too, unless the test says how long it may take."""
    if arguments[:1] == ("fix",) and "--timeout" not in arguments:
        arguments = (*arguments, "--timeout", "0")
    return CliRunner().invoke(app, list(arguments), prog_name="gradcheck")


@dataclass
class Rooms:
    """What the stand-ins were asked for."""

    targets: list[Target] = field(default_factory=list)
    settings: list[Settings] = field(default_factory=list)


def stand_in(
    monkeypatch: pytest.MonkeyPatch,
    report: Callable[[], Report],
    *,
    load: Callable[[], object] = object,
    fixed: Callable[[], FixReport] = fixes.repaired,
) -> Rooms:
    """``load``, ``inspect_subject`` that gives ``report``, ``fix_subject`` that gives ``fixed``; no torch."""
    rooms = Rooms()

    def load_target(target: Target) -> object:
        rooms.targets.append(target)
        return load()

    def inspect_subject(
        subject: object, settings: Settings, *, progress: Callable[[str], None]
    ) -> tuple[Trace, Report]:
        rooms.settings.append(settings)
        progress("recording one forward and one backward")
        return TRACE, report()

    def fix_subject(
        subject: object, settings: Settings, *, progress: Callable[[str], None]
    ) -> FixReport:
        rooms.settings.append(settings)
        progress("trying a repair")
        return fixed()

    loading, pipeline = types.ModuleType("loading"), types.ModuleType("pipeline")
    loading.load = load_target  # type: ignore[attr-defined]
    loading.check = lambda _: None  # type: ignore[attr-defined]
    pipeline.inspect_subject = inspect_subject  # type: ignore[attr-defined]
    pipeline.fix_subject = fix_subject  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gradcheck.loading", loading)
    monkeypatch.setitem(sys.modules, "gradcheck.pipeline", pipeline)
    return rooms
