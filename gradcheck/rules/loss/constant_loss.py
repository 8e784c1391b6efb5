"""GC702."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text, maker_text, tensor_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.adapters import explained_by_adapters
from gradcheck.reading.lines import location
from gradcheck.reading.parameters import Parameters, owners, trainable
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

USE_OUTPUTS = Repair(
    name="use-outputs",
    summary="Compute the loss from the outputs of the model that trains.",
    snippet="loss = loss_fn(model(**batch).logits, labels)",
)


@rule("GC702", needs=("loss",), explains=("GC102", "GC201"))
def constant_loss(trace: Trace) -> Iterator[Finding]:
    """The loss does not depend on any trainable parameter.

    ## What it does

    Follows the data flow back from the loss, also where autograd was off, and reports a loss at which no trainable
    parameter arrives.

    ## Why this breaks training

    Whatever the parameters are, the loss is the same, so there is nothing to learn from it. The loss may come from
    the batch alone, from another model (the frozen teacher instead of the student, the unwrapped base instead of the
    adapted model), or from the one part of the model that holds no adapter, as with a text-only batch when only
    the vision tower is adapted.

    ## Example

        student, teacher = get_peft_model(base, config), load_teacher()
        loss = F.cross_entropy(teacher(**batch).logits.flatten(0, 1), labels.flatten())    # meant: student

    ## Repair

    Compute the loss from the outputs of the object that holds the trainable parameters, and give a batch that reaches
    them.

    ## References

    - PyTorch, autograd mechanics: https://pytorch.org/docs/stable/notes/autograd.html
    """
    learning = trainable(trace)
    loss = trace.loss
    if loss is None or not loss.is_tensor or not learning or learning - chain_of(trace).unused:
        return
    if learning <= explained_by_adapters(trace):
        return
    ran = [
        trace.modules[i].num_calls
        for i in {trace.parameters[p].module for p in learning}
        if i != NONE
    ]
    called = "their modules ran" if any(ran) else "none of their modules ran"
    if not trace.weightless and all(trace.parameters[i].elsewhere for i in learning):
        yield _offloaded(trace, learning)
        return
    yield finding(
        trace,
        "GC702",
        "error",
        what=f"The loss depends on none of the {cost_text(trace, learning)} that train ({called}).",
        why="It stays the same whatever they are, so there is nothing to learn from it.",
        remedy="Compute the loss from the outputs of the model that trains, with a batch that reaches it.",
        at=location(trace, loss.frame),
        parameters=learning,
        evidence=(
            ("tensor", tensor_text(trace.values[loss.value]) if loss.value != NONE else ""),
            ("made by", maker_text(trace, loss.value) if loss.value != NONE else ""),
            ("trainable", listed(owners(trace, learning))),
        ),
        repairs=(USE_OUTPUTS,),
    )


def _offloaded(trace: Trace, learning: Parameters) -> Finding:
    return finding(
        trace,
        "GC702",
        "error",
        what=f"The {cost_text(trace, learning)} that train are on the meta device: they hold no numbers.",
        why="accelerate's hooks (cpu_offload, disk_offload, a device_map that offloads) load a copy of each weight for "
        "the length of a forward; the gradient reaches the copy, and goes with it.",
        remedy="Keep what trains on a device: load without offloading, or offload frozen modules only.",
        parameters=learning,
        evidence=(("trainable", listed(owners(trace, learning))),),
    )
