"""Runs the targets of a gate and holds them against what was agreed."""

import difflib
import sys
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from gradcheck.cli.command import print_traceback
from gradcheck.cli.gate_results import (
    Agreed,
    accepted_baseline,
    accepted_locks,
    target_result,
)
from gradcheck.cli.isolated import ended_by_signals
from gradcheck.cli.options import RunOptions
from gradcheck.cli.progress import progress
from gradcheck.configuring.records import read_baseline, read_lock
from gradcheck.errors import SettingsError
from gradcheck.formats.views.text import clean
from gradcheck.gates.baseline import baseline_text
from gradcheck.gates.config import GateConfig, GateTarget
from gradcheck.gates.gate import GateReport, TargetResult
from gradcheck.gates.lock import lock_text
from gradcheck.isolation import Done, Errand, Limits, Order, Refused, run_all
from gradcheck.settings import Settings
from gradcheck.version import VERSION

MAX_RUNNING = 3
"""Targets whose names are shown while they run."""


class Gate:
    """A configuration with the files beside it."""

    def __init__(self, config: GateConfig, names: Sequence[str]) -> None:
        self.config = config
        self.folder = Path(config.file).resolve().parent
        self.lock = self.folder / config.options.lock
        self.baseline = self.folder / config.options.baseline
        self.targets = chosen(config, names)
        self.agreed = Agreed(locks=read_lock(self.lock), baseline=read_baseline(self.baseline))

    def run(self, jobs: int | None, run: RunOptions) -> tuple[TargetResult, ...]:
        """The result of each target, in the order of the configuration."""
        orders = [_order(target, debug=run.debug) for target in self.targets]
        results: dict[int, TargetResult] = {}
        with progress(run) as show, ended_by_signals():
            told = lambda running: show(_state(len(results), self.targets, running))  # noqa: E731
            with closing(run_all(orders, jobs, folder=self.folder, changed=told)) as ended:
                for index, done in ended:
                    results[index] = target_result(self.targets[index], done, self.agreed)
                    if run.debug:
                        _tell_traceback(self.targets[index], done)
        return tuple(results[index] for index in range(len(orders)))

    def report(self, results: tuple[TargetResult, ...], notes: Iterable[str]) -> GateReport:
        """The report on ``results``."""
        return GateReport(
            results=results,
            version=VERSION,
            configuration=self.config.file,
            notes=(*notes, *self._stale()),
        )

    def _stale(self) -> list[str]:
        names = {target.name for target in self.config.targets}
        held = {**(self.agreed.locks or {}), **(self.agreed.baseline or {})}
        gone = sorted(held.keys() - names)
        if not gone:
            return []
        return [f"the lock or the baseline holds what is no target any more: {', '.join(gone)}"]

    def with_lock_accepted(
        self, results: tuple[TargetResult, ...]
    ) -> tuple[tuple[TargetResult, ...], tuple[Path, str]]:
        """The results without drift, and the lock file that makes it so."""
        names = {target.name for target in self.config.targets}
        before = {n: g for n, g in (self.agreed.locks or {}).items() if n in names}
        locks = accepted_locks(results, before)
        accepted = tuple(
            replace(result, drift=(), locked=True) if result.status == "drift" else result
            for result in results
        )
        return accepted, (self.lock, lock_text(locks))

    def with_findings_accepted(
        self, results: tuple[TargetResult, ...]
    ) -> tuple[tuple[TargetResult, ...], tuple[Path, str]]:
        """The results with all their findings known, and the baseline file that makes it so."""
        names = {target.name for target in self.config.targets}
        before = {n: k for n, k in (self.agreed.baseline or {}).items() if n in names}
        baseline = accepted_baseline(results, before)
        accepted = tuple(_known(result) for result in results)
        return accepted, (self.baseline, baseline_text(baseline))


def _known(result: TargetResult) -> TargetResult:
    if result.report is None or result.could_not_run is not None:
        return result
    known = tuple(f for f in result.report.findings if f.severity != "note")
    return replace(result, known=known, fixed=())


def chosen(config: GateConfig, names: Sequence[str]) -> tuple[GateTarget, ...]:
    """The targets with these names; all where there is no name.

    Raises:
        SettingsError: where there is no target of a name.
    """
    known = [target.name for target in config.targets]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise SettingsError(
                f"{config.file} has no target {name!r}; there are {', '.join(known)}{hint}"
            )
    return tuple(target for target in config.targets if not names or target.name in names)


def _tell_traceback(target: GateTarget, done: Done) -> None:
    if isinstance(done.answer, Refused) and done.answer.details:
        print(f"gradcheck: {clean(target.name)}", file=sys.stderr)
        print_traceback(done.answer.details)


def _order(target: GateTarget, *, debug: bool) -> Order:
    checks = target.checks
    settings = Settings(
        seed=target.target.seed,
        select=checks.select,
        ignore=tuple(rule.code for rule in checks.ignore),
        fail_on=checks.fail_on,
    )
    errand = Errand(task="inspect", target=target.target, settings=settings, debug=debug)
    return Order(errand, Limits(timeout_s=checks.timeout, memory_bytes=checks.memory_bytes))


def _state(num_done: int, targets: Sequence[GateTarget], running: Sequence[int]) -> str:
    names = [targets[index].name for index in running]
    more = f" and {len(names) - MAX_RUNNING} more" if len(names) > MAX_RUNNING else ""
    doing = f", running {', '.join(names[:MAX_RUNNING])}{more}" if names else ""
    return f"{num_done} of {len(targets)} targets done{doing}"
