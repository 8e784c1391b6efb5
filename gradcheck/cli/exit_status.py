"""What every command tells the shell."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

from gradcheck.core.severity import SEVERITIES, Severity

if TYPE_CHECKING:
    from gradcheck.gates.gate import GateReport
    from gradcheck.reports.report import Report


class ExitStatus(IntEnum):
    """The status of every command; a gate can tell "broken" from "could not run"."""

    HEALTHY = 0
    FINDINGS = 1
    """Findings at or over ``--fail-on``."""
    COULD_NOT_RUN = 2
    """Bad input, a load failure, an interruption, a step that was not judged, a mistake of gradcheck's own."""


def exit_status(report: Report, fail_on: Severity) -> ExitStatus:
    """FINDINGS where one is as bad as ``fail_on`` or worse; COULD_NOT_RUN where nothing was judged."""
    if report.verdict == "not-judged":
        return ExitStatus.COULD_NOT_RUN
    failing = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
    found = any(finding.severity in failing for finding in report.findings)
    return ExitStatus.FINDINGS if found else ExitStatus.HEALTHY


def gate_exit_status(gate: GateReport) -> ExitStatus:
    """The highest of the targets' statuses: where one could not run, nobody knows whether it would have passed."""
    if gate.status == "could-not-run":
        return ExitStatus.COULD_NOT_RUN
    return ExitStatus.HEALTHY if gate.healthy else ExitStatus.FINDINGS
