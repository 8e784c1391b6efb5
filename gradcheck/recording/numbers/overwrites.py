"""Writes that autograd is not told of, into memory that it reads again in backward.

Autograd counts the writes into a tensor, and refuses a backward for which a saved one was written. Three ways lead
past the counter: ``.data``, NumPy's view of the same memory, and a kernel that a custom function launches. A fourth
needs none: what a custom function keeps as an attribute of its context is not counted at all.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Sequence
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import Node

from gradcheck.internals.graph import saved_tensors_of, sequence_number
from gradcheck.internals.tensors import base_of, counted_version, without_function_modes
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.memory import WrittenMemory, overlap, span_of, storage_key
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.samples import WHOLE, sample, was_written
from gradcheck.recording.open_regions import marked
from gradcheck.recording.tensors import nodes_behind, tensors_in
from gradcheck.trace.numbers import Overwrite, Overwriting
from gradcheck.trace.rows import NONE

_TESTED = frozenset({"torch", "bitsandbytes", "peft", "transformers", "accelerate"})
"""Libraries whose functions run by the hundred in a step, and whose kernels are known not to write what they read."""
_VIEWS = frozenset({"numpy", "__array__", "__dlpack__"})
"""Calls that hand out a tensor's memory to whoever writes without telling."""


Pending = list[tuple[torch.Tensor, torch.Tensor, int]]
"""(tensor that may be written, elements of it as they were, how often it had been written as autograd counts)."""


class _Suspect(NamedTuple):
    """Memory that was written."""

    memory: int
    span: tuple[int, int]
    """Addresses (from, until) of what was written."""
    made_before: int
    """Nodes with a lower number were there before the write."""
    writer: str
    frame: int
    module: int
    regions: tuple[int, ...]
    """Custom functions that were running: what they save they save afterwards."""


class _Held(NamedTuple):
    """A tensor that the context of a custom function keeps by itself."""

    tensor: weakref.ref[torch.Tensor]
    version: int
    before: torch.Tensor | None
    """Elements of it as they were; None where only its writes are followed."""


class _Lent(NamedTuple):
    """A tensor whose memory was handed out."""

    tensor: torch.Tensor
    """Not weakly: NumPy holds the memory, and the tensor goes."""
    before: torch.Tensor
    version: int
    suspect: _Suspect


class Overwrites:
    """Finds them: suspects while the step runs, and who reads what they wrote when backward begins."""

    def __init__(self, ledger: Ledger, modules: ModuleStack, *, readable: bool) -> None:
        """``readable``: tensors have numbers; fake ones have none."""
        self._ledger = ledger
        self._modules = modules
        self._readable = readable
        self._suspects: list[_Suspect] = []
        self._lent: list[_Lent] = []
        self._held: dict[int, list[_Held]] = {}
        """Region -> what its context keeps."""
        self.found: list[Overwrite] = []

    def release(self) -> None:
        """Forgets all tensors."""
        self._lent.clear()
        self._held.clear()

    # writes that are seen, through ``.data``

    def about_to_write(self, targets: Iterable[torch.Tensor]) -> Pending:
        """(tensor, what it holds) of those among ``targets`` whose writes autograd does not count."""
        if not self._readable:
            return []
        hidden = (target for target in targets if self._is_behind(target))
        return _sampled(hidden)

    def wrote(
        self,
        pending: Pending,
        writer: str,
        frame: FrameType,
        regions: Sequence[int],
    ) -> None:
        """``writer`` has written into the tensors of ``pending``, at ``frame``."""
        for tensor, before, _ in pending:
            if was_written(tensor, before, WHOLE):
                where = self._ledger.lines.nearest(frame)
                self._suspects.append(self._suspect(tensor, writer, where, regions))

    def lends(self, name: str, tensor: Any, frame: FrameType, regions: Sequence[int]) -> None:
        """The call ``name`` gives the memory of ``tensor`` away."""
        if not (self._readable and name in _VIEWS and isinstance(tensor, torch.Tensor)):
            return
        before = sample(tensor, WHOLE)
        if before is not None:
            where = self._ledger.lines.nearest(frame)
            suspect = self._suspect(
                tensor, f"what was done to the result of {name}()", where, regions
            )
            self._lent.append(_Lent(tensor, before, counted_version(tensor), suspect))

    # writes inside of custom functions

    def about_to_run(self, function: type, args: Any) -> Pending:
        """(tensor, what it holds) of the arguments of a custom function that may be written unseen."""
        if not self._readable or is_tested_elsewhere(function):
            return []
        return _sampled(tensor for tensor in tensors_in(args) if tensor.requires_grad)

    def has_run(self, pending: Pending, region: int, result: Any) -> None:
        """The custom function of ``region`` has given ``result``."""
        row = self._ledger.regions[region]
        for tensor, before, version in pending:
            if counted_version(tensor) != version:
                continue  # mark_dirty: autograd has been told
            known = any(
                s.memory == storage_key(tensor) and region in s.regions for s in self._suspects
            )
            if not known and was_written(tensor, before, WHOLE):
                self._suspects.append(self._suspect(tensor, row.name, row.frame, (region,)))
        node = next((t.grad_fn for t in tensors_in(result) if t.grad_fn is not None), None)
        if self._readable and isinstance(node, BackwardCFunction):
            self._held[region] = list(_kept_by(node))

    def backward_of(self, region: int, written: WrittenMemory) -> None:
        """The backward of ``region`` begins: what its context keeps should be what it was.

        ``written``: what the calls of the step wrote last, by memory.
        """
        end = max(self._ledger.regions[region].ends, default=NONE)
        for held in self._held.pop(region, ()):
            tensor = held.tensor()
            if tensor is None:
                continue
            makers = map(self._ledger.maker, written.under([tensor]))
            writer = next((call for call in makers if call > end), NONE)
            if (
                writer != NONE or counted_version(tensor) != held.version
                if held.before is None
                else was_written(tensor, held.before, WHOLE)
            ):
                self._recycled(region, writer)

    def _recycled(self, region: int, writer: int) -> None:
        """What the context of ``region`` keeps was overwritten by the call ``writer``; NONE: nobody saw by what."""
        row = self._ledger.regions[region]
        call = None if writer == NONE else self._ledger.calls[writer]
        self._add(
            "recycled",
            writer="" if call is None else call.op,
            frame=row.frame if call is None else call.frame,
            module=row.running if call is None else call.module,
            reader=row.name,
            reader_frame=row.frame,
        )

    # who reads it

    def backward_begins(self, roots: Iterable[torch.Tensor]) -> None:
        """Looks, where there are suspects, for nodes that saved what was written since."""
        for lent in self._lent:
            uncounted = counted_version(lent.tensor) == lent.version
            if uncounted and was_written(lent.tensor, lent.before, WHOLE):
                self._suspects.append(lent.suspect)
        self._lent.clear()
        if self._suspects:
            for node in nodes_behind(root.grad_fn for root in roots):
                self._look_at(node)

    def next_step(self) -> None:
        """What was written belongs to a step that is over."""
        self._suspects.clear()

    def _look_at(self, node: Node) -> None:
        number = sequence_number(node)
        later = [suspect for suspect in self._suspects if number < suspect.made_before]
        if not later:
            return
        region = marked(node) if isinstance(node, BackwardCFunction) else NONE
        for tensor in saved_tensors_of(node):
            memory, span = storage_key(tensor), span_of(tensor)
            for suspect in later:
                if (
                    memory == suspect.memory
                    and overlap(span, suspect.span)
                    and not (isinstance(node, BackwardCFunction) and region in suspect.regions)
                ):
                    self._add(
                        "unseen",
                        writer=suspect.writer,
                        frame=suspect.frame,
                        module=suspect.module,
                        reader=node.name(),
                        reader_frame=NONE if region == NONE else self._ledger.regions[region].frame,
                    )

    def _add(self, kind: Overwriting, **told: Any) -> None:
        row = Overwrite(kind=kind, **told)
        if all((row.kind, row.frame) != (known.kind, known.frame) for known in self.found):
            self.found.append(row)

    def _suspect(
        self, tensor: torch.Tensor, writer: str, frame: int, regions: Sequence[int]
    ) -> _Suspect:
        return _Suspect(
            memory=storage_key(tensor),
            span=span_of(tensor),
            made_before=_next_number(),
            writer=writer,
            frame=frame,
            module=self._modules.current,
            regions=tuple(regions),
        )

    def _is_behind(self, target: torch.Tensor) -> bool:
        """Whether ``target`` is, or is a view of, what ``.data`` gave."""
        base = base_of(target)
        value = self._ledger.known(target if base is None else base)
        call = NONE if value is None else self._ledger.maker(value)
        while call != NONE and self._ledger.calls[call].kind == "in-place":
            before = self._ledger.calls[call].inputs[0]
            call = self._ledger.maker(before)
        return call != NONE and self._ledger.calls[call].op == "Tensor.data"


def is_tested_elsewhere(function: type) -> bool:
    """Whether ``function`` belongs to a library whose kernels are tested elsewhere, and called by the hundred."""
    return function.__module__.partition(".")[0] in _TESTED


def _kept_by(node: Any) -> Iterator[_Held]:
    """The tensors among the attributes of a context, which nobody counts the writes of.

    Of functions that run by the hundred only what the calls of the step write is seen, and no kernel.
    """
    looked_into = not is_tested_elsewhere(type(node))
    for value in vars(node).values():
        for tensor in tensors_in(value):
            before = sample(tensor, WHOLE) if looked_into else None
            yield _Held(weakref.ref(tensor), counted_version(tensor), before)


def _sampled(tensors: Iterable[torch.Tensor]) -> Pending:
    """Those that can be read, with what they hold."""
    pairs = ((tensor, sample(tensor, WHOLE)) for tensor in tensors)
    return [
        (tensor, before, counted_version(tensor)) for tensor, before in pairs if before is not None
    ]


def _next_number() -> int:
    """The number that the next node of the graph gets."""
    with without_function_modes(), torch.enable_grad():
        node = torch.zeros((), requires_grad=True).neg().grad_fn
    assert node is not None
    return sequence_number(node)
