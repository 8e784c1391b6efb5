"""GC601."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import ADD_PARAM_GROUP
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.parameters import first_owner, forgotten_by_optimizer, owners, trainable
from gradcheck.trace.trace import Trace


@rule("GC601", needs=("optimizer",))
def trainable_parameter_not_in_optimizer(trace: Trace) -> Iterator[Finding]:
    """Trainable parameters are not in the optimizer.

    ## What it does

    Compares the parameters that require a gradient with those that the optimizer was given.

    ## Why this breaks training

    The gradient is computed, takes memory, and is never applied. The optimizer's list is made once: parameters that
    became trainable later are not in it (a second adapter activated with `set_adapter`, an unfrozen head, a layer
    added after a warm-up stage). The loss may still fall through whatever else is in the list.

    ## Example

        optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad])
        model.set_adapter("adapter2")      # adapter2 trains now, the optimizer holds adapter1

    ## Repair

    Build the optimizer last, or add the new parameters with `optimizer.add_param_group`. Freeze what is not meant
    to train.

    ## References

    - torch.optim.Optimizer.add_param_group: https://pytorch.org/docs/stable/generated/torch.optim.Optimizer.add_param_group.html
    - PEFT issue 1303, the second adapter does not train: https://github.com/huggingface/peft/issues/1303
    """
    missing = forgotten_by_optimizer(trace)
    if not missing or trace.optimizer is None:
        return
    names = listed(owners(trace, missing))
    held = len(trace.optimizer.parameters) + trace.optimizer.num_foreign
    yield finding(
        trace,
        "GC601",
        "error",
        what=f"{trace.optimizer.type} lacks {cost_text(trace, missing)} that train: {names}.",
        why="Their gradients are computed and never applied.",
        remedy="Build the optimizer after the last change of what trains, or add them with add_param_group.",
        module=first_owner(trace, missing),
        parameters=missing,
        evidence=(
            ("missing", names),
            ("trainable", counted(len(trainable(trace)), "parameter tensor")),
            ("in the optimizer", counted(held, "parameter tensor")),
        ),
        repairs=(ADD_PARAM_GROUP,),
    )
