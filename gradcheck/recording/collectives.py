"""Collectives of torch.distributed: they fill tensors that they are given, in C++, unseen by a function mode.

Each goes through a method of a ProcessGroup, whose first argument names the tensors to write and whose others name
those to send; where there is one argument alone, it is both. Autograd knows nothing of it: a filled tensor carries no
gradient, or looks as if it did. What it does carry is read from its own graph afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed
from torch.autograd.graph import Node

from gradcheck.internals.tensors import graph_task_reader, without_function_modes
from gradcheck.recording.dataflow import DataFlow
from gradcheck.recording.replacing import replace
from gradcheck.recording.source import is_library, is_plumbing, package_of
from gradcheck.recording.tensors import tensors_in
from gradcheck.trace.rows import NONE

_OWN_FILE = torch.distributed.distributed_c10d.__file__ if torch.distributed.is_available() else ""
_DEPTH = 6
"""Nodes between what a collective wrote and what it sent: copies, views, indices."""
_NO_BACKWARD = "NotImplemented"
"""The end of the name of a node that autograd puts where an operator has no formula (WarnNotImplemented)."""


class Collectives:
    """Records what collectives write."""

    def __init__(self, flow: DataFlow) -> None:
        self._flow = flow
        self._grip = flow.grip
        self._running = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Wraps the methods of ProcessGroup while the body runs."""
        with ExitStack() as stack:
            if torch.distributed.is_available():
                group = torch.distributed.ProcessGroup
                for name, method in list(vars(group).items()):
                    if (
                        callable(method)
                        and not name.startswith("__")
                        and not isinstance(method, type)
                    ):
                        replace(stack, group, name, self._watched(name, getattr(group, name)))
            yield

    def _watched(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        graph_task = graph_task_reader()

        def watched(*args: Any, **kwargs: Any) -> Any:
            given = (*args[1:], *kwargs.values())
            recorded = False
            with self._grip:
                # one method may be written with another; what backward gathers is not the step's
                inside = self._running or graph_task() != -1
                recorded = self._grip.held and not inside and bool(tensors_in(given))
            if recorded:
                return self._run(name, method, args, kwargs, given)
            return method(*args, **kwargs)

        return watched

    def _run(
        self,
        name: str,
        method: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        given: tuple[Any, ...],
    ) -> Any:
        frame = sys._getframe(2)
        read: list[int] = []
        nodes: list[Node] = []
        written: list[torch.Tensor] = []
        sent = written
        with self._grip, without_function_modes():
            written = tensors_in(given[0])
            sent = tensors_in(given[1:]) or written
            for tensor in written:
                self._flow.observers.before_write(tensor)
            read = [self._flow.identities.value_of(tensor) for tensor in sent]
            nodes = [node for tensor in sent if (node := _node(tensor)) is not None]
        self._running = True
        try:
            with without_function_modes():  # what it is made of is one call here
                result = method(*args, **kwargs)
        finally:
            self._running = False
        with self._grip, without_function_modes():
            if self._grip.held:
                self._record(name, read, nodes, written, in_place=sent is written, frame=frame)
        return result

    def _record(
        self,
        name: str,
        read: list[int],
        nodes: list[Node],
        written: list[torch.Tensor],
        *,
        in_place: bool,
        frame: FrameType,
    ) -> None:
        flow, ledger = self._flow, self._flow.ledger
        name = _public_name(frame, name)
        values = flow.written_unseen(name, "collective", read, written, frame, _asked_at(frame))
        recomputed = ledger.calls[-1].region != NONE
        for value, tensor in values:
            ledger.live[value] = _carries(tensor, nodes)
            ledger.versions[value] = NONE  # one that is waited for later is written later
            if recomputed:  # autograd is off there, and on when the block runs again
                ledger.recomputed[value] = in_place


def _node(tensor: torch.Tensor) -> Node | None:
    """The node that hands ``tensor`` its gradient; for a leaf the one that accumulates it."""
    if tensor.grad_fn is not None or not tensor.requires_grad or not torch.is_grad_enabled():
        return tensor.grad_fn
    return tensor.view_as(tensor).grad_fn.next_functions[0][0]  # type: ignore[union-attr]  # requires grad


def _carries(tensor: torch.Tensor, sources: list[Node]) -> bool:
    """Whether a gradient of ``tensor`` comes to one of ``sources``: what C++ wrote may only look as if it did."""
    if not tensor.requires_grad:
        return False
    wanted = set(sources)
    layer = {tensor.grad_fn} if tensor.grad_fn is not None else {_node(tensor)}
    for _ in range(_DEPTH):
        if wanted & layer:
            return True
        passing = [
            node for node in layer if node is not None and not node.name().endswith(_NO_BACKWARD)
        ]
        layer = {above for node in passing for above, _ in node.next_functions}
    return False


def _public_name(frame: FrameType | None, method: str) -> str:
    """The function of torch.distributed that was called: the outermost of its frames."""
    name = ""
    while frame is not None and is_plumbing(frame):
        if frame.f_code.co_filename == _OWN_FILE:
            name = frame.f_code.co_name
        frame = frame.f_back
    return f"torch.distributed.{name}" if name else f"torch.distributed.ProcessGroup.{method}"


def _asked_at(frame: FrameType) -> FrameType:
    """The frame to blame: that of whoever called a library's helper (``accelerator.gather``), if it was one.

    What a module of the library's own does is its own line.
    """
    at = _outside(frame)
    if at is None or not is_library(at.f_code.co_filename):
        return frame
    package = package_of(at.f_code.co_filename)
    asking: FrameType | None = at
    while asking is not None and package_of(asking.f_code.co_filename) == package:
        if isinstance(asking.f_locals.get("self"), torch.nn.Module):
            return frame
        asking = _outside(asking.f_back)
    return frame if asking is None else asking


def _outside(frame: FrameType | None) -> FrameType | None:
    """The nearest frame outside torch."""
    while frame is not None and is_plumbing(frame):
        frame = frame.f_back
    return frame
