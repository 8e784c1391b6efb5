"""GC605."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.reading.parameters import under, with_gradient
from gradcheck.trace.trace import Trace

_WRAPPERS = ("DistributedDataParallel", "FullyShardedDataParallel")
CALL_THE_WRAPPER = Repair(
    name="call-the-wrapper",
    summary="Call the wrapped model itself, not the module inside of it.",
    snippet="loss = ddp_model(**batch).loss   # not ddp_model.module(**batch)",
)


@rule("GC605", needs=("gradients",))
def parallel_wrapper_bypassed(trace: Trace) -> Iterator[Finding]:
    """A model is wrapped for several processes, and its inner module is called instead.

    ## What it does

    Reports a DistributedDataParallel or FullyShardedDataParallel whose own forward did not run in the step, while
    modules inside of it ran and got gradients.

    ## Why this breaks training

    The wrapper's forward prepares the reduction of the gradients. Without it each process keeps its own gradients and
    moves its own copy, and the copies drift apart; the loss of each looks as usual. FSDP's shards are not gathered.

    ## Example

        model = DistributedDataParallel(model)
        loss = model.module(**batch).loss       # to reach an attribute, and then the forward too
        loss.backward()

    ## Repair

    Call the wrapper; reach for `.module` for attributes and checkpoints only.

    ## References

    - torch.nn.parallel.DistributedDataParallel: https://pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
    """
    flowing = with_gradient(trace, "flows")
    for index, module in enumerate(trace.modules):
        kind = module.type.rpartition(".")[2]
        if kind not in _WRAPPERS or module.num_calls:
            continue
        prefix = f"{module.fqn}." if module.fqn else ""
        called = [it for it in trace.modules if it.fqn.startswith(prefix) and it.num_calls]
        concerned = under(trace, index) & flowing
        if called and concerned:
            inner = called[0].fqn
            yield finding(
                trace,
                "GC605",
                "error",
                what=f"{kind} did not run, and {inner} inside of it did.",
                why="The wrapper's forward prepares the reduction: the gradients of "
                f"{counted(len(concerned), 'parameter tensor')} are not averaged over the processes.",
                remedy="Call the wrapper itself.",
                module=index,
                parameters=concerned,
                evidence=(("wrapper", module.fqn or "the model itself"), ("called", inner)),
                repairs=(CALL_THE_WRAPPER,),
            )
