"""GC303."""

from collections.abc import Iterator

from gradcheck.core.words import counted, listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.reading.parameters import trainable, under
from gradcheck.trace.trace import Trace

TRAIN_MODE = Repair(
    name="train-mode",
    summary="Put the model into training mode before the step.",
    snippet="model.train()",
    applicability="unsafe",
)
ROOT = 0


@rule("GC303")
def checkpointing_inactive(trace: Trace) -> Iterator[Finding]:
    """The step runs in eval mode, which switches gradient checkpointing and dropout off.

    ## What it does

    Reports modules whose gradient checkpointing is switched on, that hold trainable parameters and that ran in eval
    mode, so that nothing was checkpointed. Eval mode with dropout in the model and no checkpointing is a warning.

    ## Why this breaks training

    transformers checkpoints only where `self.training` is True, and `from_pretrained` leaves a model in eval mode.
    The gradients are right, the memory is not: every activation is kept, and the batch size that was planned with
    checkpointing does not fit. Dropout (LoRA's included) and, with some architectures, batch statistics and router
    noise are off as well, so the run trains another model than the one that was configured.

    ## Example

        model = AutoModelForCausalLM.from_pretrained(name)       # in eval mode
        model.gradient_checkpointing_enable()
        for batch in loader:
            model(**batch).loss.backward()                       # nothing is checkpointed

    ## Repair

    Call `model.train()` before the first step, and again after every evaluation. Keep a frozen tower in eval
    mode if that is meant; the rule looks only at modules with something to train.

    ## References

    - torch.nn.Module.train: https://pytorch.org/docs/stable/generated/torch.nn.Module.html#torch.nn.Module.train
    - Gradient checkpointing in transformers: https://huggingface.co/docs/transformers/main/en/perf_train_gpu_one
    """
    learning = trainable(trace)
    if not learning or not trace.modules or any(r.kind == "checkpoint" for r in trace.regions):
        return
    flagged = [
        i
        for i, m in enumerate(trace.modules)
        if m.checkpointing and m.num_calls > 0 and under(trace, i) & learning
    ]
    asleep = [i for i in flagged if not trace.modules[i].training]
    dropouts = [i for i, m in enumerate(trace.modules) if m.dropout and not m.training]
    root_asleep = not trace.modules[ROOT].training
    if asleep:
        names = listed(trace.modules[i].fqn for i in asleep)
        dropped = f", and so are {counted(len(dropouts), 'dropout layer')}" if dropouts else ""
        yield finding(
            trace,
            "GC303",
            "error" if len(asleep) == len(flagged) else "warning",
            what=f"Gradient checkpointing is on for {names}, but the step runs in eval mode.",
            why=f"It works in training mode only, so nothing was checkpointed: every activation is kept{dropped}.",
            remedy="Call model.train() before the step.",
            module=ROOT if root_asleep else asleep[0],
            evidence=(("in eval mode", names), ("dropout layers off", str(len(dropouts)))),
            repairs=(TRAIN_MODE,),
        )
    elif dropouts and root_asleep:
        yield finding(
            trace,
            "GC303",
            "warning",
            what=f"The step runs in eval mode: {counted(len(dropouts), 'dropout layer')} are off.",
            why="The gradients are right, but the model that trains is not the one that was configured.",
            remedy="Call model.train() before the step, unless this is meant.",
            module=ROOT,
            evidence=(("dropout layers off", listed(trace.modules[i].fqn for i in dropouts)),),
            repairs=(TRAIN_MODE,),
        )
