"""Modules that the same line of code calls: those in the same place of another module of the same class."""

import re

from gradcheck.trace.rows import NONE, Module
from gradcheck.trace.trace import Trace

INDEX = re.compile(r"(?:^|(?<=\.))\d+(?=\.|$)")
"""The number of a layer, or of an expert, in an FQN."""
CONTAINERS = ("torch.nn.modules.container.",)
"""Modules that only hold others: their own code calls none."""


def siblings(trace: Trace, module: int) -> tuple[int, ...]:
    """The modules of the same class that stand in the same place of a module of the owner's class, itself among them.

    The owner is the nearest module above whose code calls it; an adapted layer and its base count as one. A step that
    raised shows its defect at the first of them only; the code that calls the others is the same.
    """
    by_fqn = {row.fqn: row for row in trace.modules}
    row = trace.modules[module]
    place = _place(by_fqn, row)
    return tuple(
        index
        for index, other in enumerate(trace.modules)
        if other.type == row.type and _place(by_fqn, other) == place
    )


def _place(by_fqn: dict[str, Module], row: Module) -> tuple[str, str]:
    """(class of the owner, path from there with a star for each number)."""
    fqn = row.fqn
    while fqn:
        fqn = fqn.rpartition(".")[0]
        owner = by_fqn.get(fqn)
        if owner is None or owner.type.startswith(CONTAINERS):
            continue
        if row.adapter == NONE or owner.adapter != row.adapter:
            return owner.type, INDEX.sub("*", row.fqn[len(fqn) :].lstrip("."))
    return "", INDEX.sub("*", row.fqn)
