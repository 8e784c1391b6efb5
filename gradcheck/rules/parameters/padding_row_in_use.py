"""GC108."""

from collections.abc import Iterator

from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import rule
from gradcheck.reading.lines import location
from gradcheck.trace.numbers import PaddingRow
from gradcheck.trace.trace import Trace


@rule("GC108", needs=("numbers", "gradients"))
def padding_row_in_use(trace: Trace) -> Iterator[Finding]:
    """The padding row of a trainable embedding takes part in the loss, and never gets a gradient.

    ## What it does

    Reports lookups of an embedding at its `padding_idx` where the row is not zero and the loss depends on what was
    looked up: its gradient arrives there and is thrown away. Rows of zeros, and padding that is masked out of the
    loss, are as they should be. Where the configuration of the model calls the same index padding (`pad_token_id`, as
    where the padding token is the end of the text), it is a warning.

    ## Why this breaks training

    `padding_idx` is a promise that this index stands for nothing: `torch.nn.Embedding` leaves its row out of the
    gradient. An entry that is one like any other keeps its random or pretrained row forever, while all others learn.

    ## Example

        self.relations = nn.Embedding(num_relations, 32, padding_idx=0)    # relation 0 is a relation
        nn.init.xavier_normal_(self.relations.weight)

    ## Repair

    Leave `padding_idx` out, or begin to count the entries at 1. In a batch that is padded, mask the padding out of the
    loss and of the attention. Where the padding token is a token that the model has to learn, use another for padding.

    ## References

    - torch.nn.Embedding: https://pytorch.org/docs/stable/generated/torch.nn.Embedding.html
    - A relation that never learned: https://github.com/ibalazevic/TuckER/issues/17
    """
    seen: dict[int, PaddingRow] = {}
    for row in trace.padding_rows:
        seen.setdefault(row.parameter, row)
    yield from (_of(trace, row) for row in seen.values())


def _of(trace: Trace, row: PaddingRow) -> Finding:
    name = trace.parameters[row.parameter].fqn
    share = f"{row.num_lookups} of {row.num_indices} lookups"
    return finding(
        trace,
        "GC108",
        "warning" if row.declared else "error",
        what=f"Row {row.index} of {name} is its padding row, is not zero, and the loss depends on it ({share}).",
        why="An embedding leaves its padding row out of the gradient, so that this entry never learns.",
        remedy=_MASK_IT if row.declared else _NO_PADDING,
        module=trace.parameters[row.parameter].module,
        at=location(trace, row.frame),
        parameters=frozenset({row.parameter}),
        evidence=(("lookups of the row", share),),
    )


_NO_PADDING = "Leave padding_idx out where the index is an entry like any other."
_MASK_IT = (
    "Mask padding out of attention and loss, or pad with a token that the model need not learn."
)
