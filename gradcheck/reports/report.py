"""A Report: the judgement of one recorded step."""

import platform
from dataclasses import dataclass
from typing import Literal

from gradcheck.core.codec import Number, to_json
from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.judging.chain import Cause
from gradcheck.reports.formatter import ReadableInNotebooks
from gradcheck.trace.model import Environment, GradientState

REPORT_SCHEMA_VERSION = 1

LinkState = Literal["frozen", "live", "partial", "starved", "unused", "unknown"]
Verdict = Literal["healthy", "broken", "not-judged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterRecord:
    """A parameter as the report shows it."""

    fqn: str
    shape: tuple[int, ...]
    dtype: str
    num_elements: int
    """Logical: a packed 4-bit weight counts its unpacked elements."""
    requires_grad: bool
    gradient: GradientState
    grad_norm: Number | None
    group: str
    """``lora_A q_proj layers.0-31``: adapter type, projection and layer range; the table's row."""
    explanation: str = ""
    """Why a zero or missing gradient is all right, where it is: ``waits for lora_B``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Break:
    """A call that reads something that carries a gradient, and whose result flows on to the loss and carries none."""

    cause: Cause
    module: str | None
    location: Location | None
    tensor: str
    """``bf16[1, 128, 2048]``, the tensor that still carried a gradient (or would have)."""
    made_by: str
    operation: str
    """The call that cut it."""
    starved: tuple[str, ...]
    """Parameters that lost their last path to the loss here."""
    partial: tuple[str, ...]
    """Parameters that lost some of their paths here: their gradient is incomplete."""
    times: int = 1
    """How many calls of the step were folded into this one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SkippedRule:
    """A rule that could not run."""

    code: str
    rule: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """One piece of the chain from the inputs to the loss, for the picture."""

    name: str
    """``model.layers.0-31``."""
    type: str
    count: int
    """How many modules were folded into it."""
    trainable: int
    """Trainable parameter tensors inside."""
    reached: int
    """Of these, how many get a gradient."""
    state: LinkState
    """"unknown" where the step gave no loss."""
    cut: bool = False
    """A break sits here."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Report(ReadableInNotebooks):
    """The judgement of one recorded step."""

    findings: tuple[Finding, ...]
    parameters: tuple[ParameterRecord, ...]
    breaks: tuple[Break, ...]
    skipped: tuple[SkippedRule, ...]
    environment: Environment
    setup: tuple[tuple[str, str], ...] = ()
    chain: tuple[Link, ...] = ()
    loss: Number | None = None
    notes: tuple[str, ...] = ()
    left_behind: tuple[str, ...] = ()
    """What the step wrote and gradcheck could not put back; every format says it first."""
    unjudged: str = ""
    """Why the step cannot be called healthy, in one sentence, though nothing is known to be wrong; else empty."""

    @property
    def verdict(self) -> Verdict:
        """Broken with a finding of severity "error", not-judged where health was not shown, else healthy."""
        if any(finding.severity == "error" for finding in self.findings):
            return "broken"
        return "not-judged" if self.unjudged else "healthy"

    @property
    def healthy(self) -> bool:
        """Whether the verdict is "healthy": the step was judged, and no finding is an error."""
        return self.verdict == "healthy"

    def to_dict(self) -> dict[str, object]:
        """The JSON format: the fields of this class, ``healthy`` and ``schema_version``."""
        document: dict[str, object] = {
            "schema_version": REPORT_SCHEMA_VERSION,
            "healthy": self.healthy,
            "verdict": self.verdict,
        }
        return {**document, **to_json(self)}

    def __repr__(self) -> str:
        codes = ", ".join(finding.code for finding in self.findings)
        return f"<Report: {self.verdict}{', ' if codes else ''}{codes}>"


def unrecorded(reason: str) -> Report:
    """The report on a step that could not be recorded."""
    environment = Environment(
        versions=(), python=platform.python_version(), platform=platform.platform(), device="none"
    )
    return Report(
        findings=(),
        parameters=(),
        breaks=(),
        skipped=(),
        environment=environment,
        unjudged=f"the step could not be recorded: {reason}",
    )
