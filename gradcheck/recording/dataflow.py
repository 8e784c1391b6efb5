"""The data-flow graph: every torch call of the step, also where autograd is off.

A ``TorchFunctionMode`` sees each call with its arguments and its result. What a tensor carries is read again each
time the tensor is used, because a custom function's result only gets its ``grad_fn`` after the forward that made it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any

import torch
import torch.utils.checkpoint
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

from gradcheck.core.trace import NONE, Call, GradientRequest, Labels, Mutation, ParameterRead
from gradcheck.recording.labels import label_counts
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.operations import (
    ADDITIVE,
    DETACHES,
    ZERO_PRESERVING,
    Operation,
    classified,
)
from gradcheck.recording.passages import Passages
from gradcheck.recording.switches import Switches
from gradcheck.recording.tensors import tensors_in

_CROSS_ENTROPIES = frozenset({"cross_entropy", "nll_loss"})
_CHECKPOINT_FILE = torch.utils.checkpoint.__file__


class DataFlow(TorchFunctionMode):
    """Records the calls of the step into a Ledger."""

    def __init__(self, ledger: Ledger, modules: ModuleStack, switches: Switches) -> None:
        super().__init__()
        self.ledger = ledger
        self.modules = modules
        self.switches = switches
        self.passages = Passages(ledger)
        self.region_stack: list[int] = []
        self.implicit_region: Callable[[FrameType], int] | None = None
        """Finds the custom function that runs without having been announced (its ``apply`` was bound beforehand)."""
        self.leave_implicit: Callable[[int, torch.Tensor], int] | None = None
        self.before_write: Callable[[torch.Tensor], None] | None = None
        """Called with a tensor that is about to be written in place."""
        self.after_backward: Callable[[torch.Tensor], None] | None = None
        """Called with the tensor whose backward just ended."""
        self.backward_of: list[int] = []
        """Values of the tensors whose backward was run."""
        self.backward_roots: list[torch.Tensor] = []
        """What backward is running on, or raised on."""
        self.labels: list[Labels] = []
        self.mutations: list[Mutation] = []
        self.requests: list[GradientRequest] = []
        self.reads: list[ParameterRead] = []
        self.guarded: dict[int, int] = {}
        """Value of a parameter of an adapted layer -> index of that layer's module."""
        self.failed_call = NONE
        """The last call that raised."""
        self.num_backwards = 0
        self._paused = False
        self._operations: dict[Any, Operation] = {}
        self._reading_region = NONE
        self._implicit_values: dict[int, int] = {}
        """Value made inside an unannounced custom function -> that region, until it is used outside."""
        self._written: dict[int, int] = {}
        """Memory that was written in place -> the value of its last write."""
        self._held: list[StorageWeakRef] = []
        """Weak references to that memory: while they are held, its address is not given to another."""

    def pause(self) -> None:
        """Records nothing from now on."""
        self._paused = True

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if self._paused:
            return func(*args, **kwargs)
        operation = self._operations.get(func)
        if operation is None:
            operation = self._operations[func] = classified(func)
        kind = operation.kind
        if kind == "silent":
            return func(*args, **kwargs)
        frame = sys._getframe(1)
        if kind == "grad-mode":
            self.switches.grad_mode_set(args[0], frame)
            return func(*args, **kwargs)
        if kind == "backward":
            return self._backward(func, args, kwargs)
        if kind == "setter":
            return self._set(func, operation, args, frame)
        return self._recorded(func, operation, args, kwargs, frame)

    def _backward(
        self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        self.num_backwards += 1
        roots = tensors_in(args[0] if args else kwargs.get("tensors"))
        self.backward_of += [self.value_of(root) for root in roots]
        self.backward_roots = roots
        result = func(*args, **kwargs)
        self.backward_roots = []
        if self.after_backward is not None and roots:
            self.after_backward(roots[0])
        return result

    def _recorded(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Any:
        if frame.f_code.co_filename == _CHECKPOINT_FILE:
            return func(*args, **kwargs)
        region = self._reading_region = self._region(frame)
        read = [] if operation.shape_only else self._read(args, kwargs, operation.first_only)
        target = self._target(operation, args, kwargs)
        if target is not None:
            self._note_write(target, operation, read)
        try:
            result = func(*args, **kwargs)
        except Exception:
            self.failed_call = len(self.ledger.calls)
            self._note_refused_request(operation, args, frame)
            self._record(operation, args, kwargs, read, None, None, region, frame)
            raise
        self._record(operation, args, kwargs, read, result, target, region, frame)
        return result

    def _record(  # noqa: PLR0913 (the parts of one call)
        self,
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        read: list[int],
        result: Any,
        target: torch.Tensor | None,
        region: int,
        frame: FrameType,
    ) -> None:
        ledger = self.ledger
        index = len(ledger.calls)
        kind = operation.kind
        if kind == "exit":
            outputs = self.passages.left(result, read, index)
        elif target is not None:
            outputs = self._made([target], index)
        else:
            outputs = self._made(tensors_in(result), index)
        if kind == "entry" and read:
            kind = "detach" if operation.short in DETACHES else "op"
        elif kind == "entry":
            read += self.passages.came_back(args, kwargs, result)
        elif self.passages.open:
            read += self.passages.numbers(args)
        if kind == "op" and not read and not outputs and index != self.failed_call:
            return
        if (
            kind == "op"
            and operation.short == "mul"
            and len(args) == 2
            and _is_zero_number(args[1])
        ):
            kind = "scaled-to-zero"
        if operation.in_place and kind == "op":
            kind = "in-place"
        if ledger.zero and outputs and not ledger.zero.isdisjoint(read):
            self._spread_zero(operation, read, outputs, result)
        if self.switches._inference:
            ledger.inference.update(outputs)
        where = ledger.lines.nearest(frame)
        if self.guarded:
            self._note_guarded_reads(read, index, frame)
        ledger.calls.append(
            Call(
                operation.name,
                tuple(read),
                tuple(outputs),
                where,
                self.modules.current,
                region,
                self.switches.current,
                kind,
            )
        )
        for open_region in self.region_stack:
            ledger.regions[open_region].calls.append(index)
        if region != NONE and (not self.region_stack or region != self.region_stack[-1]):
            ledger.regions[region].calls.append(index)
            self._implicit_values.update(dict.fromkeys(outputs, region))
        if index == self.failed_call:
            return
        if kind == "requires-grad":
            self._note_request(args, kwargs, frame, where)
        elif operation.short in _CROSS_ENTROPIES:
            self.labels += label_counts(index, args, kwargs)
        if target is not None and outputs:
            key = _storage(target)
            if key not in self._written:
                self._held.append(StorageWeakRef(target.untyped_storage()))
            self._written[key] = outputs[0]

    def _made(self, tensors: list[torch.Tensor], call: int) -> list[int]:
        """New values for what a call gave; a parameter that was only passed through stays what it is."""
        add = self.ledger.add_value
        return [
            add(t, call) for t in tensors if type(t) is torch.Tensor or not self._is_parameter(t)
        ]

    def value_of(self, tensor: torch.Tensor) -> int:
        """The value that ``tensor`` is, with what it carries now; a new one for a tensor from outside."""
        ledger = self.ledger
        value = ledger.known(tensor)
        if value is not None and self._implicit_values:
            region = self._implicit_values.get(value, NONE)
            if region not in (NONE, self._reading_region) and self.leave_implicit is not None:
                return self.leave_implicit(region, tensor)
        if value is None:
            value = self._from_outside(tensor)
        elif tensor.requires_grad is not ledger.live[value] and value not in ledger.parameter_of:
            ledger.live[value] = tensor.requires_grad
        return value

    def _from_outside(self, tensor: torch.Tensor) -> int:
        """A value for a tensor that no recorded call made.

        ``torch.from_numpy`` is not seen by a function mode: once something has left torch, a floating-point tensor
        of unknown origin may be it, come back.
        """
        ledger = self.ledger
        if not self.passages.any_left or not tensor.is_floating_point():
            value = ledger.add_value(tensor, NONE)
        else:
            call = len(ledger.calls)
            value = ledger.add_value(tensor, call)
            frame = ledger.lines.nearest(sys._getframe(1))
            ledger.calls.append(
                Call(
                    "torch.from_numpy",
                    tuple(self.passages.memory(tensor)),
                    (value,),
                    frame,
                    self.modules.current,
                    NONE,
                    self.switches.current,
                    "entry",
                )
            )
        if tensor.is_inference():
            ledger.inference.add(value)
        return value

    def left(self, value: int | None) -> None:
        """``value`` has left the unannounced custom function that made it."""
        if value is not None:
            self._implicit_values.pop(value, None)

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any], first_only: bool) -> list[int]:
        value_of = self.value_of
        if first_only:
            return [value_of(args[0])] if args and isinstance(args[0], torch.Tensor) else []
        read = []
        for arg in args:
            if isinstance(arg, torch.Tensor):
                read.append(value_of(arg))
            elif isinstance(arg, (tuple, list)):
                read += [value_of(tensor) for tensor in tensors_in(arg)]
        for name, arg in kwargs.items():
            if name != "out":
                read += [value_of(tensor) for tensor in tensors_in(arg)]
        if self._written:
            read += self._written_under(args, read)
        return read

    def _written_under(self, args: Iterable[Any], read: list[int]) -> list[int]:
        """Values written in place into the memory of the tensors in ``args``, through another view of it."""
        values = (self._written.get(_storage(tensor), NONE) for tensor in tensors_in(list(args)))
        return [value for value in values if value != NONE and value not in read]

    def _target(
        self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> torch.Tensor | None:
        """The tensor that the call writes in place, or None."""
        if operation.in_place and args and isinstance(args[0], torch.Tensor):
            return args[0]
        out = kwargs.get("out")
        if isinstance(out, torch.Tensor):
            return out
        if (kwargs.get("inplace") is True) and args and isinstance(args[0], torch.Tensor):
            return args[0]
        if (
            operation.in_place
            and args
            and isinstance(args[0], (list, tuple))
            and self.before_write is not None
        ):
            for tensor in tensors_in(args[0]):  # torch._foreach_add_ and the fused optimizers
                self.before_write(tensor)
        return None

    def _note_write(self, target: torch.Tensor, operation: Operation, read: list[int]) -> None:
        if self.before_write is not None:
            self.before_write(target)
        if target.grad_fn is not None and operation.kind != "requires-grad":
            self.mutations.append(
                Mutation(
                    call=len(self.ledger.calls),
                    grad_fn=target.grad_fn.name(),
                    shape=tuple(target.shape),
                )
            )

    def _is_parameter(self, tensor: torch.Tensor) -> bool:
        value = self.ledger.known(tensor)
        return value is not None and value in self.ledger.parameter_of

    def _region(self, frame: FrameType) -> int:
        """The custom function whose forward makes this call, or NONE."""
        announced = self.region_stack[-1] if self.region_stack else NONE
        if self.implicit_region is None or torch.is_grad_enabled():
            return announced
        if self.switches.current != NONE and announced == NONE:
            return NONE
        implicit = self.implicit_region(frame)
        return implicit if implicit != NONE else announced

    def _spread_zero(
        self, operation: Operation, read: list[int], outputs: list[int], result: Any
    ) -> None:
        """Marks the results which are zero because a zero trainable parameter went in."""
        zero = self.ledger.zero
        if operation.short in ADDITIVE and not zero.issuperset(read):
            return
        if operation.short in ZERO_PRESERVING and (operation.short != "linear" or len(read) == 2):
            zero.update(outputs)
            return
        for value, tensor in zip(outputs, tensors_in(result), strict=False):
            if (
                tensor.is_floating_point()
                and tensor.device.type != "meta"
                and not bool(tensor.detach().any())
            ):
                zero.add(value)

    def _set(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        frame: FrameType,
    ) -> Any:
        tensor = args[0]
        if operation.short == "data" and self.before_write is not None:
            self.before_write(tensor)
        try:
            result = func(*args)
        except RuntimeError:
            self._note_refused_request(operation, args, frame)
            raise
        if operation.short == "requires_grad":
            made = classified(torch.Tensor.requires_grad_)
            self._record(
                made, args, {}, [self.value_of(tensor)], tensor, None, self._region(frame), frame
            )
        return result

    def _note_request(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType, where: int
    ) -> None:
        asked = args[1] if len(args) > 1 else kwargs.get("requires_grad", True)
        value = self.ledger.known(args[0])
        parameter = NONE if value is None else self.ledger.parameter_of.get(value, NONE)
        self.requests.append(
            GradientRequest(
                on=bool(asked),
                parameter=parameter,
                value=NONE if value is None else value,
                frame=where,
                user_frame=self.ledger.lines.nearest_user(frame),
                module=self.modules.current,
            )
        )

    def _note_refused_request(
        self, operation: Operation, args: tuple[Any, ...], frame: FrameType
    ) -> None:
        if operation.short in ("requires_grad_", "requires_grad"):
            lines = self.ledger.lines
            self.requests.append(
                GradientRequest(
                    on=True,
                    parameter=NONE,
                    value=NONE,
                    frame=lines.nearest(frame),
                    user_frame=lines.nearest_user(frame),
                    module=self.modules.current,
                    raised=True,
                )
            )

    def _note_guarded_reads(self, read: list[int], call: int, frame: FrameType) -> None:
        """A weight of an adapted layer was handed to a call while another module was running."""
        for value in read:
            layer = self.guarded.get(value, NONE)
            if layer == NONE:
                continue
            current = self.modules.current
            running = self.modules.fqns[current] if current != NONE else ""
            owner = self.modules.fqns[layer]
            if running != owner and not running.startswith(f"{owner}."):
                self.reads.append(
                    ParameterRead(
                        parameter=self.ledger.parameter_of[value],
                        call=call,
                        frame=self._running_frame(frame),
                        module=self.modules.current,
                    )
                )

    def _running_frame(self, frame: FrameType | None) -> int:
        """The line in the forward of the innermost running module, torch's own modules included."""
        current = self.modules.current
        start, running = frame, self.modules.modules[current] if current != NONE else None
        while frame is not None and running is not None:
            if frame.f_code.co_varnames[:1] == ("self",) and frame.f_locals.get("self") is running:
                return self.ledger.lines.at(frame)
            frame = frame.f_back
        return self.ledger.lines.nearest(start)


def _is_zero_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


def _storage(tensor: torch.Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # sparse and other tensors without a storage
        return id(tensor)
