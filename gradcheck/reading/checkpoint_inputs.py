"""Where what a dead checkpoint reads enters the model: the modules whose outputs can be made to require a gradient."""

from dataclasses import dataclass

from gradcheck.trace.rows import NONE, Region
from gradcheck.trace.trace import Trace


@dataclass(frozen=True, kw_only=True, slots=True)
class Entries:
    """The places at which the inputs of dead checkpoints come in."""

    modules: tuple[str, ...]
    """FQNs of the last modules that ran before each chain of dead checkpoints."""
    from_batch: bool
    """Whether some chain begins at a floating-point tensor of the batch (``inputs_embeds``, a hidden state)."""


def entries(trace: Trace) -> Entries:
    """The entries of the reentrant checkpoints none of whose arguments carries a gradient."""
    modules: dict[str, None] = {}
    from_batch = False
    for index, region in enumerate(trace.regions):
        if not _is_dead(trace, region):
            continue
        found = _Search(trace, index).first()
        if found is None:
            continue
        if found == NONE:
            from_batch = True
        else:
            modules[trace.modules[found].fqn] = None
    return Entries(modules=tuple(modules), from_batch=from_batch)


def _is_dead(trace: Trace, region: Region) -> bool:
    top = region.kind == "checkpoint" and region.parent == NONE
    return top and not any(trace.values[value].live for value in region.arguments)


class _Search:
    """Walks back from a checkpoint's arguments to the first module that had returned when it was called."""

    def __init__(self, trace: Trace, region: int) -> None:
        self._trace = trace
        self._region = trace.regions[region]
        self._ends = {call: r for r in trace.regions for call in r.ends}
        self._running = _with_parents(trace, self._region.module)
        self._seen: set[int] = set()
        self._from_batch = False

    def first(self) -> int | None:
        """The module, NONE for a tensor of the batch, None where there is neither or another checkpoint is before."""
        for value in self._region.arguments:
            found = self._back(value)
            if found is not None:
                return found
        return NONE if self._from_batch else None

    def _back(self, start: int) -> int | None:
        todo = [start]
        while todo:
            value = todo.pop()
            row = self._trace.values[value]
            if value in self._seen or row.parameter != NONE or not _is_float(row.dtype):
                continue
            self._seen.add(value)
            if row.call == NONE:
                self._from_batch = True
                continue
            ended = self._ends.get(row.call)
            if ended is not None and _is_dead(self._trace, ended):
                self._from_batch = False
                return None
            call = self._trace.calls[row.call]
            if call.module not in self._running:
                return call.module
            todo.extend(reversed(call.inputs))
        return None


def _is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))


def _with_parents(trace: Trace, module: int) -> frozenset[int]:
    """``module`` and its parents: their forwards have not returned when it is checkpointed."""
    fqn = trace.modules[module].fqn if module != NONE else ""
    running = {fqn[:end] for end in range(len(fqn)) if fqn[end] == "."} | {"", fqn}
    return frozenset(i for i, m in enumerate(trace.modules) if m.fqn in running) | {NONE}
