"""The data-flow graph: every torch call of the step, also where autograd is off.

A ``TorchFunctionMode`` sees each call with its arguments and its result. What a tensor carries is read again each
time the tensor is used, because a custom function's result only gets its ``grad_fn`` after the forward that made it.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.utils.checkpoint
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

from gradcheck.internals.tensors import (
    bare_tensor,
    base_of,
    counted_version,
    transform_level_reader,
    version_of,
)
from gradcheck.judging.holding import SUMS
from gradcheck.recording.departures import Departures
from gradcheck.recording.grip import Grip
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.memory import WrittenMemory, storage_key
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.noted_calls import NotedCalls
from gradcheck.recording.operations import (
    DATA_SET,
    DETACHES,
    ZERO_PRESERVING,
    Operation,
    Operations,
    classified,
)
from gradcheck.recording.packing import inner_tensors
from gradcheck.recording.switches import Switches
from gradcheck.recording.tensors import is_zero, leaves_behind, tensors_in
from gradcheck.trace.rows import NONE, Call

_CHECKPOINT_FILE = torch.utils.checkpoint.__file__
_Tensor, _is_grad_enabled = torch.Tensor, torch.is_grad_enabled
_transform_level = transform_level_reader()
_new_call = functools.partial(tuple.__new__, Call)
"""``Call`` without the detour through Python that a named tuple's constructor takes."""
_WRITING = frozenset({"out", "inplace"})
"""Keywords that make a call write into a tensor it was given."""


class _Roles(dict[type, str]):
    """Class of an argument -> "tensor", "sequence" or nothing; worked out once for each class."""

    def __missing__(self, kind: type) -> str:
        sequence = "sequence" if issubclass(kind, (tuple, list)) else ""
        role = self[kind] = "tensor" if issubclass(kind, _Tensor) else sequence
        return role


class DataFlow(TorchFunctionMode):
    """Records the calls of the step into a Ledger."""

    def __init__(
        self, ledger: Ledger, modules: ModuleStack, switches: Switches, grip: Grip
    ) -> None:
        super().__init__()
        self.grip = grip
        self.ledger = ledger
        self.modules = modules
        self.switches = switches
        self.departures = Departures(ledger)
        self.noted = NotedCalls(ledger, modules)
        self.region_stack: list[int] = []
        self.implicit_region: Callable[[FrameType], int] | None = None
        """Finds the custom function that runs without having been announced (its ``apply`` was bound beforehand)."""
        self.leave_implicit: Callable[[int, torch.Tensor], int] | None = None
        self.before_write: Callable[[torch.Tensor], None] | None = None
        """Called with a tensor that is about to be written in place."""
        self.on_leaf: Callable[[torch.Tensor, torch.Tensor, int], None] | None = None
        """Called with a leaf of unknown origin, with what was read (itself, or made of it), and with the frame."""
        self.after_backward: Callable[[torch.Tensor], None] | None = None
        """Called with the tensor whose backward just ended."""
        self.backward_of: list[int] = []
        """Values of the tensors whose backward was run."""
        self.backward_roots: list[torch.Tensor] = []
        """What backward is running on, or raised on."""
        self.failed_call = NONE
        """The last call that raised."""
        self.num_backwards = 0
        self.first_backward = NONE
        """The frame of the first of them."""
        self._operations = Operations()
        self._roles = _Roles()
        self._reading_region = NONE
        self._frozen_values: dict[tuple[int, int], int] = {}
        """(parameter, the line that froze it for a while) -> what it is meanwhile."""
        self._implicit_values: dict[int, int] = {}
        """Value made inside an unannounced custom function -> that region, until it is used outside."""
        self._written = WrittenMemory()
        self._from_below: set[int] = set()
        """Results of operators, whose history autograd may add after the call."""
        self._turn = threading.RLock()
        self._num_threads = 0
        """Other threads that record now: then each call takes its turn."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        try:
            operation = self._operations[func]
            frame = sys._getframe(1)
            ordinary = operation.plain and not (
                self.region_stack
                or self.switches.inference
                or self.departures.any_left
                or self._implicit_values
                or self._written
                or (kwargs and not _WRITING.isdisjoint(kwargs))
                or (operation.scaling and _is_zero_number(args[-1]))
                or frame.f_code.co_filename == _CHECKPOINT_FILE
                or not _is_grad_enabled()
                or _transform_level() is not None
                or self._num_threads
            )
        except Exception as error:
            self.grip.lost(error)
            return func(*args, **kwargs) if kwargs else func(*args)
        if operation.kind == "silent" or not self.grip.held:
            return func(*args, **kwargs) if kwargs else func(*args)
        if ordinary:
            return self._ordinary(func, operation, args, kwargs, frame)
        return self._special(func, operation, args, kwargs or {}, frame)

    @contextmanager
    def on_another_thread(self) -> Iterator[None]:
        """Records what the body runs, on a thread where autograd is in the state that torch gives a new thread."""
        self._num_threads += 1
        try:
            with self:
                yield
        finally:
            self._num_threads -= 1

    def _special(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Any:
        """What is no ordinary call, by its kind."""
        kind = operation.kind
        if kind == "grad-mode":
            with self.grip:
                self.switches.grad_mode_set(args[0], frame)
        if kind == "grad-mode" or (operation.asking and len(args) + len(kwargs) == 1):
            return func(*args, **kwargs)
        if kind == "backward":
            return self._backward(func, args, kwargs, frame)
        if kind == "setter":
            return self._set(func, operation, args, frame)
        return self._recorded(func, operation, args, kwargs, frame)

    def _ordinary(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None,
        frame: FrameType,
    ) -> Any:
        """``_recorded`` where nothing needs a second look: written out in one piece, since thousands pass here."""
        ledger, calls = self.ledger, self.ledger.calls
        try:
            self._reading_region = NONE
            read = self._read_ordinary(args[:1] if operation.first_only else args)
            if kwargs and not operation.first_only:
                read += [self.value_of(tensor) for tensor in tensors_in(kwargs)]
        except Exception as error:
            self.grip.lost(error)
            return func(*args, **kwargs) if kwargs else func(*args)
        try:
            result = func(*args, **kwargs) if kwargs else func(*args)
        except Exception:
            with self.grip:
                self._raised(operation, read, NONE, frame)
            raise
        try:
            if type(result) is _Tensor:
                outputs: tuple[int, ...] = (ledger.add_value(result, len(calls)),)
            else:
                outputs = tuple(self._made(tensors_in(result), len(calls)))
                if not read and not outputs:
                    return result
            if not ledger.zero.isdisjoint(read):
                self._spread_zero(operation, read, outputs, tensors_in(result))
            if not self.noted.guarded_values.isdisjoint(read):
                self.noted.guarded_reads(read, len(calls), frame)
            where, current = ledger.lines.nearest(frame), self.modules.current
            calls.append(
                _new_call((operation.name, tuple(read), outputs, where, current, NONE, NONE, "op"))
            )
        except Exception as error:
            self.grip.lost(error)
        return result

    def _read_ordinary(self, args: tuple[Any, ...]) -> list[int]:
        """The values among positional arguments, nothing having been written or left by an unannounced function."""
        ledger, roles = self.ledger, self._roles
        entries, live, versions = ledger.entries, ledger.live, ledger.versions
        read: list[int] = []
        for arg in args:
            role = roles[type(arg)]
            if role == "tensor":
                entry = entries.get(id(arg))
                if entry is not None and (held := entry[0]()) is arg and held is not None:
                    value = entry[1]
                    version = versions[value]
                    if live[value] is held.requires_grad and (
                        version == -1 or version == version_of(held)
                    ):
                        read.append(value)
                        continue
                read.append(self.value_of(arg))
            elif role:
                read += [self.value_of(tensor) for tensor in tensors_in(arg)]
        return read

    def _backward(
        self,
        func: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        frame: FrameType,
    ) -> Any:
        with self.grip:
            if not self.num_backwards:
                self.first_backward = self.ledger.lines.nearest(frame)
            self.num_backwards += 1
            self.backward_roots = tensors_in(args[0] if args else kwargs.get("tensors"))
            self.backward_of += [self.value_of(root) for root in self.backward_roots]
        result = func(*args, **kwargs)
        roots, self.backward_roots = self.backward_roots, []
        with self.grip:
            if self.after_backward is not None and roots and self.grip.held:
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
        with self.grip, self._turn:
            region = self._reading_region = NONE  # what a function is given was read outside it
            if self.region_stack or not torch.is_grad_enabled():
                region = self.region_of(frame)
            self._reading_region = region
            read = [] if operation.shape_only else self._read(args, kwargs, operation.first_only)
            writes = operation.in_place or (kwargs and not kwargs.keys().isdisjoint(_WRITING))
            targets = self._targets(operation, args, kwargs) if writes else []
        if not self.grip.held:
            return func(*args, **kwargs)
        try:
            result = func(*args, **kwargs)
        except Exception:
            with self.grip:
                self._raised(operation, read, region, frame)
            raise
        with self.grip, self._turn:
            targets = [bare_tensor(target) for target in targets]
            made = _written_through(targets)
            if not targets or operation.writes:
                made += [it for it in tensors_in(result) if not any(it is old for old in made)]
            made = [bare_tensor(tensor) for tensor in made]
            if region != NONE and not targets and operation.kind == "op":
                # ``x.to(dtype)`` may give x itself, which the region did not make
                given = tensors_in((args, kwargs))
                made = [it for it in made if not any(it is arg for arg in given)]
            self._record(operation, args, kwargs, read, made, result, region, frame)
            for target in targets:
                if not self._is_parameter(target):
                    self._written.wrote(target, self.value_of(target))
            self._reading_region = NONE
        return result

    def written_unseen(
        self,
        name: str,
        kind: str,
        read: list[int],
        written: list[torch.Tensor],
        frame: FrameType,
        asking: FrameType,
    ) -> list[tuple[int, torch.Tensor]]:
        """Records a call that no mode sees, made at ``frame`` for ``asking``; the new values of what it has written."""
        region = NONE
        if self.region_stack or not torch.is_grad_enabled():
            region = self.region_of(frame)
        targets = [tensor for tensor in written if not self._is_parameter(tensor)]
        outputs = self._made(targets, len(self.ledger.calls))
        self._add_call(name, kind, read, outputs, region, asking)
        made = list(zip(outputs, targets, strict=True))
        for value, tensor in made:
            self._written.wrote(tensor, value)
        return made

    def _raised(self, operation: Operation, read: list[int], region: int, frame: FrameType) -> None:
        self.failed_call = len(self.ledger.calls)
        self.noted.refused(operation, frame)
        self._add_call(operation.name, operation.kind, read, [], region, frame)

    def _record(
        self,
        operation: Operation,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        read: list[int],
        made: list[torch.Tensor],
        result: Any,
        region: int,
        frame: FrameType,
    ) -> None:
        ledger = self.ledger
        index = len(ledger.calls)
        exits = operation.kind == "exit"
        outputs = (
            self.departures.left(args[0] if args else None, result, index)
            if exits
            else self._made(made, index)
        )
        if operation.operator:
            self._from_below.update(outputs)
        kind = _kind(operation, args, bool(read))
        if kind == "entry":
            read += self.departures.came_back(args, kwargs, result)
        elif self.departures.open:
            read += self.departures.numbers((*args, *kwargs.values()))
        if operation.short == "set_":
            read += self._sharing(args[0])
        if not read and not outputs:
            return
        if ledger.zero and not ledger.zero.isdisjoint(read):
            self._spread_zero(operation, read, outputs, made)
        if self.switches.inference:
            ledger.inference.update(outputs)
        if not self.noted.guarded_values.isdisjoint(read):
            self.noted.guarded_reads(read, index, frame)
        self._add_call(operation.name, kind, read, outputs, region, frame)
        self.noted.after_call(operation, index, args, kwargs, frame)

    def _add_call(
        self,
        name: str,
        kind: str,
        read: list[int],
        outputs: list[int],
        region: int,
        frame: FrameType,
    ) -> None:
        ledger = self.ledger
        index = len(ledger.calls)
        where = ledger.lines.nearest(frame)
        switch = self.switches.current
        current = self.modules.current
        ledger.calls.append(
            _new_call((name, tuple(read), tuple(outputs), where, current, region, switch, kind))
        )
        if region == NONE:
            return
        for open_region in self.region_stack:
            ledger.regions[open_region].calls.append(index)
        if not self.region_stack or region != self.region_stack[-1]:
            ledger.regions[region].calls.append(index)
            self.made_inside(outputs, region)

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
            bare = bare_tensor(tensor)
            return self._from_outside(tensor) if bare is tensor else self.value_of(bare)
        self._look_at_version(tensor, value)
        if tensor.requires_grad is not ledger.live[value]:
            if value not in ledger.parameter_of:
                value = self._carrying_otherwise(tensor, value)
            elif ledger.live[value]:
                value = self._frozen(tensor, value)
        return value

    def _frozen(self, tensor: torch.Tensor, value: int) -> int:
        """What the parameter ``value`` is while it is frozen, where the step began with it trainable."""
        ledger = self.ledger
        parameter = ledger.parameter_of[value]
        where = self.noted.frozen_at(parameter)
        if (parameter, where) not in self._frozen_values:
            index, region = len(ledger.calls), self._reading_region
            frozen = ledger.add_unnamed(tensor, index)
            made = ((value,), (frozen,), where, self.modules.current, region, NONE, "frozen")
            # not among the region's calls: a recomputation that finds the parameter thawed makes none
            ledger.calls.append(_new_call(("Tensor.requires_grad_", *made)))
            self._frozen_values[parameter, where] = frozen
        return self._frozen_values[parameter, where]

    def _look_at_version(self, tensor: torch.Tensor, value: int) -> None:
        """Notes where the memory of ``tensor`` was written by something that no mode saw."""
        ledger = self.ledger
        before = ledger.versions[value]
        now = before if before == -1 else counted_version(tensor)
        if now != before:
            ledger.versions[value] = now
            if value not in ledger.parameter_of and not self._written.explains(tensor, now):
                ledger.unseen.add(value)

    def _carrying_otherwise(self, tensor: torch.Tensor, value: int) -> int:
        """What ``tensor`` is now that its ``requires_grad`` differs, though no recorded call made it so.

        Another view of its memory was written, or something that a function mode does not see wrote into it.
        """
        if not tensor.requires_grad or value in self._from_below:
            self.ledger.live[value] = tensor.requires_grad
            return value
        writes = self._written.under([tensor])
        if writes:
            return self._add_unseen("Tensor.copy_", "in-place", [value, *writes], tensor)
        node = tensor.grad_fn
        name = "Tensor.requires_grad" if node is None else node.name()
        return self._add_unseen(name, "op", [value, *self._values_behind(node)], tensor)

    def _values_behind(self, node: Node | None) -> list[int]:
        """The values of the leaves of the autograd graph above ``node``."""
        leaves = [] if node is None else leaves_behind(node)
        return [value for leaf in leaves if (value := self.ledger.known(leaf)) is not None]

    def _values_held(self, tensor: torch.Tensor) -> list[int]:
        """The values of the tensors that ``tensor`` wraps."""
        inner = [] if type(tensor) is _Tensor else inner_tensors(tensor)
        return [value for held in inner if (value := self.ledger.known(held)) is not None]

    def _from_outside(self, tensor: torch.Tensor) -> int:
        """A value for a tensor that no recorded call made.

        A function mode sees neither ``torch.from_numpy`` nor what TorchScript runs. So once something has left torch,
        a floating-point tensor of unknown origin may be it, come back; and one that has a history was worked out from
        the leaves of its autograd graph.
        """
        node, held = tensor.grad_fn, self._values_held(tensor)
        if self.on_leaf is not None and tensor.requires_grad:
            self._tell_of_leaves(tensor, node)
        if node is not None:
            value = self._add_unseen(node.name(), "outside", self._values_behind(node), tensor)
        elif held:  # its class took the data and nothing of the graph
            value = self._add_unseen(type(tensor).__name__, "detach", held, tensor)
        elif isinstance(tensor, torch.nn.Parameter):  # to be made in the step it would be announced
            value = self.ledger.add_value(tensor, NONE)
        elif self.departures.any_left and tensor.is_floating_point():
            known = self.departures.memory(tensor)
            value = self._add_unseen("torch.from_numpy", "entry", known, tensor)
            if not known:  # or C++ has made it
                self.ledger.unseen.add(value)
        else:
            value = self.ledger.add_value(tensor, NONE)
            if tensor.is_floating_point():
                self.ledger.unseen.add(value)
        if tensor.is_inference():
            self.ledger.inference.add(value)
        return value

    def _tell_of_leaves(self, tensor: torch.Tensor, node: Node | None) -> None:
        frame = self.ledger.lines.nearest(sys._getframe(1))
        for leaf in [tensor] if node is None else leaves_behind(node):
            if self.on_leaf is not None and self.ledger.known(leaf) is None:
                self.on_leaf(leaf, tensor, frame)

    def _add_unseen(self, name: str, kind: str, read: list[int], tensor: torch.Tensor) -> int:
        value = self.ledger.add_value(tensor, len(self.ledger.calls))
        self._add_call(name, kind, read, [value], self._reading_region, sys._getframe(2))
        return value

    def values_given(self, args: tuple[Any, ...], region: int) -> dict[int, int]:
        """Position -> value of the tensors among ``args``, which are read inside ``region``."""
        before, self._reading_region = self._reading_region, region
        try:
            return {
                at: self.value_of(arg)
                for at, arg in enumerate(args)
                if isinstance(arg, torch.Tensor)
            }
        finally:
            self._reading_region = before

    def made_inside(self, values: Sequence[int], region: int) -> None:
        """``values`` were made inside ``region``; where that is an unannounced function, they may leave it."""
        if region != NONE and region not in self.region_stack:
            self._implicit_values.update(dict.fromkeys(values, region))

    def given_back(self, tensor: torch.Tensor, region: int) -> int | None:
        """The value with which ``region`` gives ``tensor`` back; an unannounced function that made it is left first."""
        value = self.ledger.known(tensor)
        made_in = NONE if value is None else self._implicit_values.get(value, NONE)
        if made_in in (NONE, region) or self.leave_implicit is None:
            return value
        return self.leave_implicit(made_in, tensor)

    def _sharing(self, tensor: torch.Tensor) -> list[int]:
        """The last value over the memory of ``tensor`` that is another tensor's."""
        key, entries = storage_key(tensor), list(self.ledger.entries.values())
        others = [(v, t) for ref, v in entries if (t := ref()) is not None and t is not tensor]
        return [v for v, other in others if storage_key(other) == key][-1:]

    def left(self, value: int | None) -> None:
        """``value`` has left the unannounced custom function that made it."""
        if value is not None:
            self._implicit_values.pop(value, None)

    def _read(self, args: tuple[Any, ...], kwargs: dict[str, Any], first_only: bool) -> list[int]:
        """The values that a call reads."""
        if first_only:
            args, kwargs = args[:1], {}
        if self._implicit_values:
            read = [self.value_of(tensor) for arg in args for tensor in tensors_in(arg)]
        else:
            read = self._read_ordinary(args)
        if kwargs:
            given = [arg for name, arg in kwargs.items() if name != "out"]
            read += [self.value_of(tensor) for tensor in tensors_in(given)]
        if self._written:
            for tensor in tensors_in(list(args)):
                # what was written before the tensor was made is in what it was made from
                own, writes = self.value_of(tensor), self._written.under([tensor])
                new = [value for value in writes if value > own and value not in read]
                if not new:
                    continue
                if not self._written.is_family(tensor):
                    given = [(it, self._given_by(it)) for it in new]
                    read += [self._arrived(tensor, g, it, "detach") for it, g in given if g]
                elif self._in_checkpoint():
                    at = read.index(own)
                    read[at] = self._arrived(tensor, (own, *new), new[-1], "arrived")
                else:
                    read += new
        return read

    def _given_by(self, write: int) -> tuple[int, ...]:
        """What ``write`` and the writes before it have put into memory besides what was there."""
        ledger, given = self.ledger, []
        while (maker := ledger.maker(write)) != NONE and ledger.calls[maker].kind == "in-place":
            write, *others = ledger.calls[maker].inputs or (NONE,)
            given += others
            if write == NONE:
                break
        return tuple(given)

    def _in_checkpoint(self) -> bool:
        """Whether a checkpointed region's forward runs, of which only the recomputation tells what carries."""
        return self._reading_region != NONE and bool(self.region_stack)

    def _arrived(self, tensor: torch.Tensor, values: tuple[int, ...], write: int, kind: str) -> int:
        """A new value for ``tensor``, into whose memory ``write`` has put what ``values`` are.

        Written through ``.data``, the numbers have arrived and the graph has not: ``kind`` is then "detach".
        """
        ledger = self.ledger
        value = ledger.add_value(tensor, len(ledger.calls))
        maker = ledger.calls[ledger.maker(write)]
        ledger.calls.append(
            maker._replace(op="Tensor.data", inputs=values, outputs=(value,), kind=kind)
        )
        return value

    def _targets(
        self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[torch.Tensor]:
        """The tensors that the call writes in place; whoever wants to know is told before."""
        if operation.writes:
            written = [args[at] if at < len(args) else kwargs.get(n) for at, n in operation.writes]
        elif operation.in_place or kwargs.get("inplace") is True:
            written = list(args[:1])
        else:
            written = [kwargs.get("out")]
        for tensor in tensors_in(written):  # lists: torch._foreach_add_, fused optimizers
            if self.before_write is not None:
                self.before_write(tensor)
            self.noted.before_call(operation, tensor)
        return [target for target in written if isinstance(target, torch.Tensor)]

    def _is_parameter(self, tensor: torch.Tensor) -> bool:
        value = self.ledger.known(tensor)
        return value is not None and value in self.ledger.parameter_of

    def region_of(self, frame: FrameType) -> int:
        """The custom function whose forward makes this call, or NONE."""
        announced = self.region_stack[-1] if self.region_stack else NONE
        if self.implicit_region is None or torch.is_grad_enabled():
            return announced
        if announced == NONE:
            if self.switches.current != NONE:
                return NONE
        elif self.ledger.regions[announced].kind == "function":
            return (
                announced  # private all the way down: what is called inside need not be told apart
            )
        implicit = self.implicit_region(frame)
        return implicit if implicit != NONE else announced

    def _spread_zero(
        self,
        operation: Operation,
        read: list[int],
        outputs: Sequence[int],
        made: list[torch.Tensor],
    ) -> None:
        """Marks the results which are zero because a zero trainable parameter went in."""
        zero = self.ledger.zero
        if operation.short in SUMS and not zero.issuperset(read):
            return
        if operation.short in ZERO_PRESERVING and (operation.short != "linear" or len(read) == 2):
            zero.update(outputs)
            return
        for value, tensor in zip(outputs, made, strict=False):
            if is_zero(tensor):
                zero.add(value)

    def _set(
        self,
        func: Callable[..., Any],
        operation: Operation,
        args: tuple[Any, ...],
        frame: FrameType,
    ) -> Any:
        tensor = args[0]
        with self.grip:
            read = [self.value_of(tensor)]
            if operation.short == "data" and self.before_write is not None:
                self.before_write(tensor)
        try:
            result = func(*args)
        except RuntimeError:
            with self.grip:
                self.noted.refused(operation, frame)
            raise
        with self.grip:
            if self.grip.held:
                self._has_set(operation, args, read, frame)
        return result

    def _has_set(
        self, operation: Operation, args: tuple[Any, ...], read: list[int], frame: FrameType
    ) -> None:
        tensor = args[0]
        if (
            operation.short == "data"
            and not tensor.requires_grad
            and not self._is_parameter(tensor)
        ):
            given = [self.value_of(it) for it in tensors_in(args[1:])]
            self._record(DATA_SET, args, {}, given, [tensor], tensor, self.region_of(frame), frame)
        if operation.short == "requires_grad":
            request = classified(torch.Tensor.requires_grad_)
            self._record(request, args, {}, read, [tensor], tensor, self.region_of(frame), frame)


def _kind(operation: Operation, args: tuple[Any, ...], reads: bool) -> str:
    """The kind of this very call of ``operation``; ``reads``: whether it was given a tensor."""
    kind = operation.kind
    if kind == "entry" and reads:
        return "detach" if operation.short in DETACHES else "op"
    if kind == "op" and operation.in_place:
        return "in-place"
    if operation.scaling and _is_zero_number(args[-1]):
        return "scaled-to-zero"
    return kind


def _written_through(targets: list[torch.Tensor]) -> list[torch.Tensor]:
    """``targets``, and the tensors that they are views of: a write gives both another history."""
    found: list[torch.Tensor] = []
    for target in targets:
        base = base_of(target)
        found += [target] if base is None else [target, base]
    return found


def _is_zero_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0
