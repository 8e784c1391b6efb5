"""Modules that stand in the same place of another layer."""

import re

from gradcheck.core.trace import Trace

INDEX = re.compile(r"(?<=\.)\d+(?=\.|$)")
"""The number of a layer, or of an expert, in an FQN."""


def siblings(trace: Trace, module: int) -> tuple[int, ...]:
    """The modules of the same class whose FQNs differ from that of ``module`` in numbers alone, itself among them.

    A step that raised shows its defect in the first layer only; the code of the others is the same.
    """
    row = trace.modules[module]
    place = INDEX.sub("*", row.fqn)
    return tuple(
        index
        for index, other in enumerate(trace.modules)
        if other.type == row.type and INDEX.sub("*", other.fqn) == place
    )
