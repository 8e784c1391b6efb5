"""``gradcheck gate``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus, gate_exit_status
from gradcheck.cli.options import ReportOptions, RunOptions, flag
from gradcheck.errors import SettingsError

if TYPE_CHECKING:
    from gradcheck.cli.gate_run import Gate
    from gradcheck.gates.gate import TargetResult

GATE = "Gate"


@dataclass(frozen=True, kw_only=True)
class GateFlags:
    """Which gate, and what to accept."""

    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME",
            help="Targets of the configuration to check; all where none is named.",
            show_default=False,
        ),
    ] = None
    config: Annotated[
        Path | None,
        flag(
            GATE,
            "The configuration; by default gradcheck.toml or [tool.gradcheck] in pyproject.toml, from here up.",
            metavar="FILE",
        ),
    ] = None
    jobs: Annotated[
        int | None,
        flag(
            GATE,
            "Targets to run at the same time, whatever the configuration says.",
            "--jobs",
            "-j",
            metavar="N",
            low=1,
        ),
    ] = None
    update_lock: Annotated[
        bool,
        flag(GATE, "Accept what trains now: write gradcheck.lock.", "--update-lock"),
    ] = False
    update_baseline: Annotated[
        bool,
        flag(
            GATE,
            "Live with the findings there are now: write gradcheck.baseline.",
            "--update-baseline",
        ),
    ] = False
    init: Annotated[
        bool,
        flag(
            GATE,
            "Write a gradcheck.toml for the repository in this folder; nothing in it is run.",
            "--init",
        ),
    ] = False


@command
def gate(gate: GateFlags, report: ReportOptions, run: RunOptions) -> ExitStatus:
    """Check all targets of a configuration, as in CI.

    Each target is recorded in a process of its own, without its weights unless the configuration says otherwise.

    Exit status: 0 all pass, 1 findings at or over fail-on or a drift from the lock, 2 a target could not run; the
    highest counts.
    """
    if gate.init:
        from gradcheck.cli.gate_init import initialize

        return initialize(Path.cwd(), run)
    from gradcheck.cli.gate_run import Gate
    from gradcheck.cli.output import deliver
    from gradcheck.cli.reports import check_report
    from gradcheck.configuring.configuration import read

    source = gate.config or _found()
    config = read(source)
    held = Gate(config, gate.names or ())
    updated = ((held.lock, gate.update_lock), (held.baseline, gate.update_baseline))
    held_files = [source, *(path for path, wanted in updated if not wanted)]
    check_report(report, *(path for path, wanted in updated if wanted), read=held_files)
    results = held.run(gate.jobs or config.options.jobs, run)
    files: list[tuple[Path, str]] = []
    if gate.update_baseline:
        results, file = held.with_findings_accepted(results)
        files.append(file)
    if gate.update_lock:
        results, file = held.with_lock_accepted(results)
        files.append(file)
    judged = held.report(results, _advice(held, gate, results))
    deliver(judged, report, run, files)
    return gate_exit_status(judged)


def _found() -> Path:
    from gradcheck.configuring.configuration import find

    path = find(Path.cwd())
    if path is None:
        raise SettingsError(
            "there is no gradcheck.toml, and no [tool.gradcheck] in a pyproject.toml, from here up; "
            "`gradcheck gate --init` writes one"
        )
    return path


def _advice(held: Gate, gate: GateFlags, results: tuple[TargetResult, ...]) -> list[str]:
    left = [r.name for r in results if r.status in ("findings", "could-not-run")]
    if gate.update_lock and left:
        names = ", ".join(left)
        return [f"{held.lock.name} says what it said of {names}: only what passes is agreed on"]
    if gate.update_lock:
        return []
    if held.agreed.locks is None:
        return [f"no {held.lock.name}: --update-lock makes one, and then holds what trains to it"]
    if any(result.drift for result in results):
        return [f"where the drift is meant, --update-lock writes it into {held.lock.name}"]
    return []
