"""GC104."""

from collections.abc import Iterator

from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.reading.parameters import first_owner, owner, owners, trainable, under
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC104", needs=("numbers",))
def frozen_new_head(trace: Trace) -> Iterator[Finding]:
    """A freshly initialized head is frozen.

    ## What it does

    Reports an output head whose weights look like an untouched initialization (the distribution that
    `nn.Linear.reset_parameters` draws from, no pretrained values) and which does not require a gradient, while other
    parameters train.

    ## Why this breaks training

    `get_peft_model` freezes everything that is neither an adapter nor named in `modules_to_save`. A classification
    head that was created for the new task is then a fixed random projection: the adapters learn to work around it,
    the loss goes down a little, nothing raises. PEFT also does not save the head, so the reloaded model gets another
    random one and is much worse than the one that was trained.

    ## Example

        model = AutoModelForSequenceClassification.from_pretrained(name, num_labels=3)   # "score" is new
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "v_proj"]))   # and now frozen

    ## Repair

    Name the head in `modules_to_save`, or give the task type (`task_type="SEQ_CLS"`), which does so: it is trained
    in full and saved with the adapter. `requires_grad_(True)` on the head trains it too, but it is not saved.

    ## References

    - PEFT, troubleshooting, "Randomly initialized layers": https://huggingface.co/docs/peft/developer_guides/troubleshooting
    """
    heads = frozenset(
        i
        for i, p in enumerate(trace.parameters)
        if p.fresh and not p.requires_grad and not p.requires_grad_after and _alone(trace, i)
    )
    if not heads or not trainable(trace):
        return
    module = first_owner(trace, heads)
    fqn = trace.module_fqn(module) or ""
    names = listed(owners(trace, heads))
    yield finding(
        trace,
        "GC104",
        "error",
        what=f"The head {names} is freshly initialized and frozen ({cost_text(trace, heads)}).",
        why="A random projection that never moves cannot learn the task, and PEFT does not save it with the adapter.",
        remedy="Name it in modules_to_save (or set task_type), so that it is trained and saved.",
        module=module,
        parameters=heads,
        evidence=(("modules", names), ("costs", cost_text(trace, heads))),
        repairs=(
            Repair(
                name="save-and-train-head",
                summary="Train the head in full and save it with the adapter.",
                snippet=f'LoraConfig(..., modules_to_save=["{fqn.rsplit(".", 1)[-1]}"])',
                applicability="unsafe",
            ),
            Repair(
                name="unfreeze-head",
                summary="Train the head in full (the adapter file will not hold it).",
                snippet=f'model.get_submodule("{fqn}").requires_grad_(True)',
                applicability="safe",
            ),
        ),
    )


def _alone(trace: Trace, parameter: int) -> bool:
    """Whether its own module ran and nothing that trains stands beside it (an adapter, a trained copy)."""
    module = trace.parameters[parameter].module
    if module == NONE or trace.modules[module].num_calls == 0:
        return False
    return not under(trace, owner(trace, parameter)) & trainable(trace)
