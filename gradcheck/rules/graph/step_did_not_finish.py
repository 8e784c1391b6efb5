"""GC211."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import module_text, place_text
from gradcheck.reading.failures import failure_kind
from gradcheck.reading.lines import location, user_frame
from gradcheck.trace.events import Failure, Fate
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

WORDS: dict[Fate, tuple[str, str, str]] = {
    "hung": (
        "did not end ({message})",
        "A training run would stand still in the same place, unless the step is only slower than the limit.",
        "Look at what the line waits for or repeats; give it more time (--timeout) where the step is slow and no more.",
    ),
    "crashed": (
        "took its process down ({message})",
        "Native code failed, or calls went deeper than the stack: a training run dies here without a traceback.",
        "Look for a compiled extension built for another torch, a recursion without end, an index out of bounds.",
    ),
    "exited": (
        "ended its process ({message})",
        "Code that leaves the program in the middle of a step ends a training run without a traceback.",
        "Raise an exception in place of sys.exit or os._exit.",
    ),
}
"""How the step ended -> (what, why, what to do)."""


@rule("GC211")
def step_did_not_finish(trace: Trace) -> Iterator[Finding]:
    """The training step hangs, or takes its process down with it.

    ## What it does

    Reports a step that was recorded in a process of its own (`--timeout`, `gradcheck fix`, `gradcheck gate`) and did
    not come back: it ran into the time limit, crashed in native code, or left the program. The finding names the pass,
    the module whose forward was running, and the source line.

    ## Why this breaks training

    No gradient is ever computed, and there is no exception to read: the training run stands still, or is gone. What
    was running is known all the same, because the process tells its parent as it goes.

    ## Example

        def forward(self, x):
            while not self.ready:      # nobody sets it in training
                time.sleep(0.1)
            return self.linear(x)

    ## Repair

    There is none that can be tried. The line of the finding is where the step was; a step that is only slow finishes
    with a larger `--timeout`.

    ## References

    - faulthandler, which knows the line: https://docs.python.org/3/library/faulthandler.html
    """
    failure = trace.failure
    if failure is None or failure_kind(trace) != "did-not-finish":
        return
    what, why, remedy = WORDS[failure.fate]
    at = user_frame(failure.frame, failure.user_frame)
    yield finding(
        trace,
        "GC211",
        "error",
        what=f"The {failure.stage} pass {what.format(message=failure.message)}{_where(trace, failure)}.",
        why=why,
        remedy=remedy,
        module=failure.module,
        at=location(trace, failure.frame),
        evidence=(
            ("ended by", failure.message),
            ("called from", place_text(trace, at) if at != failure.frame else ""),
        ),
    )


def _where(trace: Trace, failure: Failure) -> str:
    """`` in model.layers.0, at modeling.py:12``, as far as it is known."""
    module = f" in {module_text(trace, failure.module)}" if failure.module != NONE else ""
    place = place_text(trace, failure.frame)
    return module + (f", at {place}" if place else "")
