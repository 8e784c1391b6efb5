"""A cache for generation that grows while a checkpointed block is run again."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import Edit, SwitchOffCache
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace

NO_CACHE = Repair(
    name="no-cache",
    summary="Keep nothing for generation while training: a checkpointed block that runs again reads and adds to it.",
    snippet="model.config.use_cache = False",
    applicability="safe",
)


NO_STATE = Repair(
    name="no-cache",
    summary="Keep nothing for generation while training: the state of the model is written in place, step by step.",
    snippet="model.config.use_cache = False",
    applicability="safe",
)


@repair("GC208", "GC304", "GC403", change=1, keeps_gradients=True)
def no_cache(trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """`use_cache=False` in every configuration; only where something is checkpointed, or a state was overwritten."""
    if finding.code == "GC208":
        return NO_STATE, (SwitchOffCache(),)
    checkpointed = any(region.kind == "checkpoint" for region in trace.regions)
    return (NO_CACHE, (SwitchOffCache(),)) if checkpointed else None
