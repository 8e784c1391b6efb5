"""GC701."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.reading.lines import location
from gradcheck.trace.trace import Trace

CHECK_MASKING = Repair(
    name="check-masking",
    summary="Look at the labels of a batch: some must differ from -100.",
    snippet='print((batch["labels"] != -100).sum(-1))',
)


@rule("GC701", needs=("numbers", "labels"), explains=("GC401", "GC402", "GC403"))
def all_labels_ignored(trace: Trace) -> Iterator[Finding]:
    """Every label of the batch is ignored.

    ## What it does

    Looks at the labels of each cross-entropy call and reports a step in which all of them equal `ignore_index` (-100).

    ## Why this breaks training

    The mean over no element is NaN (0 divided by 0), with `reduction="sum"` it is 0, and the gradient is exactly zero
    either way. `Trainer` shows a loss of 0.0 or nan and goes on. Usual reasons: truncation cut the completion off and
    left the prompt, which is masked; the response template was not found in the tokens; padding and end-of-text share
    a token and all of it is masked.

    ## Example

        labels = input_ids.clone()
        labels[:, :prompt_length] = -100        # the prompt is longer than max_length: nothing is left

    ## Repair

    Raise `max_length`, shorten prompts, or check the response template against the tokens of a real example. Drop
    examples in which nothing is left to learn.

    ## References

    - torch.nn.CrossEntropyLoss, `ignore_index`: https://pytorch.org/docs/stable/generated/torch.nn.CrossEntropyLoss.html
    - TRL issue 6668: https://github.com/huggingface/trl/issues/6668
    """
    total = sum(labels.num_labels for labels in trace.labels)
    if not trace.labels or any(labels.num_ignored < labels.num_labels for labels in trace.labels):
        return
    call = trace.calls[trace.labels[0].call]
    result = "" if trace.loss is None or trace.loss.number is None else f"{trace.loss.number:g}"
    yield finding(
        trace,
        "GC701",
        "error",
        what=f"All {counted(total, 'label')} of the batch are ignored.",
        why="The loss is a mean over nothing, and every gradient is exactly zero (or NaN).",
        remedy="Check truncation and masking: some labels must differ from -100.",
        module=call.module,
        at=location(trace, call.frame),
        evidence=(
            ("labels", str(total)),
            ("ignored", str(total)),
            ("cross-entropy calls", str(len(trace.labels))),
            ("given as", ", ".join(f'"{key}" of the batch' for key in _label_keys(trace))),
            ("loss", result),
        ),
        repairs=(CHECK_MASKING,),
    )


def _label_keys(trace: Trace) -> list[str]:
    """The keys of the batch that hold labels, by their names."""
    return [key for key, _, dtype in trace.batch if "label" in key and "int" in dtype]
