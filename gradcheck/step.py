"""One step of training, recorded and judged."""

from __future__ import annotations

from dataclasses import replace

from gradcheck.diagnose import diagnose
from gradcheck.errors import DiagnosticError
from gradcheck.recording.audit.audit import with_audit
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.dependence import with_dependence
from gradcheck.recording.numbers.noise import with_noise
from gradcheck.recording.origins import with_origins
from gradcheck.recording.session import record
from gradcheck.reports.standing import Standing
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.events import Failure


def examine_or_twin(subject: Subject, settings: Settings) -> tuple[Subject, Standing]:
    """The subject with its recorded step; or its small twin, where a step without weights raised.

    Code that looks at values cannot run on fake tensors (``DataDependentOutputException`` and its kin), and some
    operators have no fake kernel, or one with other demands. What the model itself does wrong its twin does too. Where
    no twin can be made nobody can tell the two apart, and the step is not judged.
    """
    seen = examine(subject, settings)
    failure = seen.trace.failure
    if subject.twin is None or failure is None or _is_without_graph(failure):
        return subject, seen
    try:
        twin = subject.twin()
    except DiagnosticError as error:
        why = (
            f"the step raised {failure.type} without weights, which may be no fault of the model, and a small twin "
            f"with weights could not be made: {error}"
        )
        return subject, replace(seen, report=replace(seen.report, findings=(), unjudged=why))
    twin = replace(twin, observer=subject.observer)
    return twin, examine(twin, settings)


def _is_without_graph(failure: Failure) -> bool:
    return failure.stage == "backward" and "does not require grad" in failure.message


def examine(subject: Subject, settings: Settings) -> Standing:
    """One recorded and judged step."""
    with collector_paused():
        seen = with_dependence(subject, settings.seed, record(subject, settings))
        trace = with_noise(subject, settings.seed, with_origins(subject, settings.seed, seen))
        if settings.audit:
            trace = with_audit(subject, settings.seed, trace)
        return Standing(trace=trace, report=diagnose(trace, settings))
