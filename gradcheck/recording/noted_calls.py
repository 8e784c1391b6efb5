"""What is worth a note when it happens: writes in place, requests for a gradient, a weight read past its adapter."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch

from gradcheck.recording.labels import label_counts
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.operations import Operation
from gradcheck.recording.shapes import shape_of
from gradcheck.trace.events import GradientRequest, Labels, Mutation, ParameterRead
from gradcheck.trace.rows import NONE

_PARAMETER_FILE = torch.nn.parameter.__file__
_CROSS_ENTROPIES = frozenset({"cross_entropy", "nll_loss"})


class NotedCalls:
    """Rows of the Trace besides the values and the calls."""

    def __init__(self, ledger: Ledger, modules: ModuleStack) -> None:
        self.labels: list[Labels] = []
        self.mutations: list[Mutation] = []
        self.requests: list[GradientRequest] = []
        self.reads: list[ParameterRead] = []
        self.guarded_values: set[int] = set()
        """Values of the base parameters of adapted layers."""
        self._layer_of: dict[int, int] = {}
        self._ledger = ledger
        self._modules = modules

    def guard(self, value: int, layer: int) -> None:
        """``value`` is a base parameter of the adapted layer whose module is ``layer``."""
        self.guarded_values.add(value)
        self._layer_of[value] = layer

    def before_call(self, operation: Operation, target: torch.Tensor) -> None:
        """``operation`` is about to write into ``target``."""
        if operation.kind == "requires-grad" or not (target.requires_grad or target.grad_fn):
            return
        known = self._ledger.known(target)
        self.mutations.append(
            Mutation(
                call=len(self._ledger.calls),
                grad_fn=target.grad_fn.name() if target.grad_fn is not None else "",
                shape=shape_of(target),
                target=NONE if known is None else known,
            )
        )

    def after_call(
        self,
        operation: Operation,
        index: int,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> None:
        """``operation`` was recorded as the call ``index``."""
        if operation.kind == "requires-grad":
            self._requested(args, kwargs, frame)
        elif operation.short in _CROSS_ENTROPIES:
            self.labels += label_counts(index, args, kwargs)

    def _requested(self, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType) -> None:
        if frame.f_code.co_filename == _PARAMETER_FILE:
            return  # a new parameter of fake tensors is made so; a new one of real tensors is not seen
        asked = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
        value = self._ledger.known(args[0])
        parameter = NONE if value is None else self._ledger.parameter_of.get(value, NONE)
        self._add_request(bool(asked), parameter, NONE if value is None else value, frame)

    def frozen_at(self, parameter: int) -> int:
        """The line that froze the parameter last, or NONE."""
        last = next((r for r in reversed(self.requests) if r.parameter == parameter), None)
        if last is None or last.on:
            return NONE
        return last.frame if last.user_frame == NONE else last.user_frame

    def refused(self, operation: Operation, frame: FrameType) -> None:
        """``operation`` raised; where it asked for a gradient, that is worth a note."""
        if operation.short in ("requires_grad_", "requires_grad"):
            self._add_request(True, NONE, NONE, frame, raised=True)

    def _add_request(
        self, on: bool, parameter: int, value: int, frame: FrameType, *, raised: bool = False
    ) -> None:
        lines = self._ledger.lines
        self.requests.append(
            GradientRequest(
                on=on,
                parameter=parameter,
                value=value,
                frame=lines.nearest(frame),
                user_frame=lines.nearest_user(frame),
                module=self._modules.current,
                raised=raised,
            )
        )

    def guarded_reads(self, read: list[int], call: int, frame: FrameType) -> None:
        """A weight of an adapted layer was handed to a call while another module was running, or its base alone."""
        for value in read:
            layer = self._layer_of.get(value, NONE)
            if layer == NONE:
                continue
            current = self._modules.current
            running = self._modules.fqns[current] if current != NONE else ""
            owner = self._modules.fqns[layer]
            inside = running.startswith(f"{owner}.") and self._modules.num_calls[layer] > 0
            if running != owner and not inside:
                parameter = self._ledger.parameter_of[value]
                where = self._running_frame(frame)
                self.reads.append(
                    ParameterRead(parameter=parameter, call=call, frame=where, module=current)
                )

    def _running_frame(self, frame: FrameType | None) -> int:
        """The line in the forward of the innermost running module, torch's own modules included."""
        current = self._modules.current
        start, running = frame, self._modules.modules[current] if current != NONE else None
        while frame is not None and running is not None:
            if frame.f_code.co_varnames[:1] == ("self",) and frame.f_locals.get("self") is running:
                return self._ledger.lines.at(frame)
            frame = frame.f_back
        return self._ledger.lines.nearest(start)
