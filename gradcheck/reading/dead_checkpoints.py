"""Reentrant checkpoints whose backward never runs."""

from dataclasses import dataclass
from typing import Literal

from gradcheck.judging.chain import Cause, ChainBreak
from gradcheck.judging.judge import chain_of
from gradcheck.judging.regions import Regions
from gradcheck.reading.parameters import Parameters
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadCheckpoint:
    """A reentrant checkpoint that cuts the chain, and why."""

    broken: ChainBreak
    reason: Literal["no-live-input", "hidden-input", "hidden-output"]
    name: str = ""
    """Of the keyword or structure in which a live tensor entered."""

    @property
    def parameters(self) -> Parameters:
        """The parameters that lost their last path, or else those that lost some."""
        return self.broken.starved or self.broken.partial


def dead_checkpoints(trace: Trace) -> tuple[DeadCheckpoint, ...]:
    """The breaks made by reentrant checkpointing, told apart by what the checkpoint could see."""
    causes: tuple[Cause, ...] = ("reentrant-checkpoint", "hidden-input")
    return tuple(_dead(trace, b) for b in chain_of(trace).breaks if b.cause in causes)


def _dead(trace: Trace, broken: ChainBreak) -> DeadCheckpoint:
    if broken.region == NONE:
        reason: Literal["hidden-input", "no-live-input"] = "hidden-input"
        if broken.cause == "reentrant-checkpoint":
            reason = "no-live-input"
        return DeadCheckpoint(broken=broken, reason=reason)
    hidden = Regions(trace).hidden_inputs(broken.region)
    region = trace.regions[broken.region]
    name = next((name for name, value in region.hidden if value in hidden), "")
    if hidden:
        return DeadCheckpoint(broken=broken, reason="hidden-input", name=name)
    seen = any(trace.values[value].live for value in region.arguments)
    return DeadCheckpoint(broken=broken, reason="hidden-output" if seen else "no-live-input")
