"""Where gradients first turn non-finite or zero: a second step, watched number by number.

Looking at every tensor costs far more than recording, so this runs only where the first step left something that its
graphs do not explain.
"""

from __future__ import annotations

import dataclasses
import sys
import weakref
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, NamedTuple

import torch
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from gradcheck.core.lapse import own_failure
from gradcheck.internals.sharding import settled, sharded
from gradcheck.internals.tensors import bare_tensor
from gradcheck.judging.judge import chain_of
from gradcheck.recording.grip import Grip
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.loss import step_loss
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.observers import Observers
from gradcheck.recording.operations import NO_CALLS, Operation, Operations
from gradcheck.recording.precision import in_precision
from gradcheck.recording.preserve import Preserved, seed_everything
from gradcheck.recording.raising import forget_frames
from gradcheck.recording.shapes import shape_of
from gradcheck.recording.source import SourceLines
from gradcheck.recording.tensors import elements_of, is_zero, tensors_in
from gradcheck.subject import Subject
from gradcheck.trace.events import Origin
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

Bad = Literal["zero", "non-finite", "noise"]
State = Literal["fine"] | Bad
_BAD: tuple[Bad, ...] = ("non-finite", "zero", "noise")
StateOf = Callable[[int, torch.Tensor], State]
"""(number of a tensor in the order in which they are made, its gradient) -> what that is, taken as a whole."""


class _Site(NamedTuple):
    """Where a tensor was made."""

    op: str
    frame: int
    module: int
    shape: tuple[int, ...]
    dtype: str


class Origins(TorchFunctionMode):
    """Watches the results of the calls in the forward, and by tensor hooks their gradients in the backward."""

    def __init__(
        self, lines: SourceLines, modules: ModuleStack, state_of_number: StateOf | None = None
    ) -> None:
        super().__init__()
        self._state_of = state_of_number or (lambda _, gradient: state_of(gradient))
        self._grip = modules.grip
        self._lines = lines
        self._modules = modules
        self._operations = Operations()
        self._states: dict[int, State] = {}
        self._inputs: dict[int, tuple[int, ...]] = {}
        self._sites: dict[int, _Site] = {}
        self._numbers: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._gated: set[int] = set()
        """Results of calls with a zero operand: LoRA's B before the first step, no place to blame for a zero."""
        self._count = 0
        self.found: list[Origin] = []

    @contextmanager
    def watching(self, parameters: Iterable[torch.nn.Parameter]) -> Iterator[None]:
        """Watches the step that the body runs, and the gradients of ``parameters``."""
        with ExitStack() as stack:
            for parameter in parameters:
                if parameter.requires_grad:
                    stack.callback(self._follow(parameter).remove)
            stack.enter_context(self._modules)
            stack.enter_context(self)
            yield
        self._conclude()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        result, frame = func(*args, **kwargs), sys._getframe(1)
        with self._grip:
            operation = self._operations[func]
            if operation.kind not in NO_CALLS:
                line = self._lines.nearest(frame)
                read = [bare_tensor(given) for given in tensors_in((args, kwargs))]
                for tensor in tensors_in(result):
                    self._made(operation, read, bare_tensor(tensor), line)
        return result

    def _made(
        self, operation: Operation, read: list[torch.Tensor], tensor: torch.Tensor, frame: int
    ) -> None:
        if not tensor.is_floating_point():
            return
        inputs = tuple(number for number in map(self._number_of, read) if number is not None)
        number = self._count
        dtype = str(tensor.dtype).removeprefix("torch.")
        self._sites[number] = _Site(
            operation.name, frame, self._modules.current, shape_of(tensor), dtype
        )
        self._inputs[number] = inputs
        if any(is_zero(given) for given in read):
            self._gated.add(number)
        if _has_nan(tensor) and not any(_has_nan(given) for given in read):
            self._add("non-finite", "forward", number)
        if tensor.requires_grad and operation.kind != "requires-grad":
            self._follow(tensor)
        else:
            self._know(tensor)

    def _follow(self, tensor: torch.Tensor) -> RemovableHandle:
        number = self._know(tensor)

        def hook(gradient: torch.Tensor | None) -> None:
            with self._grip:
                if gradient is not None:  # that of FSDP's flat parameter, where all of it is cut
                    self._states[number] = self._state_of(number, bare_tensor(gradient))

        handle: RemovableHandle = tensor.register_hook(hook)
        return handle

    def _know(self, tensor: torch.Tensor) -> int:
        number, self._count = self._count, self._count + 1
        self._numbers[id(tensor)] = (weakref.ref(tensor), number)
        return number

    def _number_of(self, tensor: torch.Tensor) -> int | None:
        entry = self._numbers.get(id(tensor))
        return entry[1] if entry is not None and entry[0]() is tensor else None

    def state(self, number: int) -> State:
        """What the gradient of the tensor with this number is; of a parameter its place among those that train."""
        return self._states.get(number, "zero")

    def _conclude(self) -> None:
        """Names the calls whose own result had a fine gradient and whose inputs got a bad one.

        The gradient of a tensor that several calls read is their sum: any of them may have spoiled it. Such a call is
        named only where none is sure.
        """
        readers = Counter(given for inputs in self._inputs.values() for given in inputs)
        for kind in _BAD:
            spoiled = list(self._spoiled(kind))
            sure = [pair for pair in spoiled if readers[pair[1]] == 1]
            for number, given in sure or spoiled:
                self._add(kind, "backward", number, readers[given])

    def _spoiled(self, kind: Bad) -> Iterator[tuple[int, int]]:
        """(a call's result with a fine gradient, an input of that call whose gradient is of ``kind``)."""
        for number, inputs in self._inputs.items():
            if self._states.get(number) == "fine" and (kind != "zero" or number not in self._gated):
                yield from ((number, g) for g in inputs if self._states.get(g) == kind)

    def _add(
        self,
        kind: Bad,
        stage: Literal["forward", "backward"],
        number: int,
        num_readers: int = 1,
    ) -> None:
        site = self._sites[number]
        if any(known.kind == kind and known.frame == site.frame for known in self.found):
            return
        self.found.append(
            Origin(
                kind=kind,
                stage=stage,
                op=site.op,
                frame=site.frame,
                module=site.module,
                shape=site.shape,
                dtype=site.dtype,
                num_readers=num_readers,
            )
        )


_NOT_REPEATED = (
    "where gradients turn bad is not known: the step raised {} when it was run a second time"
)


def with_origins(subject: Subject, seed: int, trace: Trace) -> Trace:
    """``trace`` with the origins of its bad gradients, where it has some that its graphs do not explain."""
    if trace.weightless or not _unexplained(trace):
        return trace
    with sharded(subject.model):
        step = WatchedStep(subject)
        failed = step.run(seed)
    if failed is not None:
        return dataclasses.replace(trace, notes=(*trace.notes, _NOT_REPEATED.format(failed)))
    return step.with_origins(trace)


class WatchedStep:
    """The step of a subject, run once more with its gradients watched."""

    def __init__(self, subject: Subject, look: StateOf | None = None) -> None:
        """``look``: says what a gradient is, in place of ``state_of``."""
        self._subject = subject
        self._lines, self._grip = SourceLines(), Grip()
        self._inventory = Inventory(subject.model)
        modules = ModuleStack(self._inventory, self._grip, Observers())
        self.watched = Origins(self._lines, modules, look)

    def run(
        self, seed: int, scale: float = 1.0, precision: torch.dtype | None = None
    ) -> str | None:
        """Runs it, with ``scale`` times the loss; the type of what it raised, for it may not bear being run twice.

        ``precision``: to which what the model holds in less is raised for it.

        Raises:
            OwnFailure: where an instrument failed.
        """
        subject = self._subject
        preserved = Preserved(self._inventory, subject)
        with preserved.kept(), settled(subject.model):
            seed_everything(seed)
            try:
                if precision is not None:
                    subject = in_precision(subject, self._inventory, preserved, precision)
                with self.watched.watching(subject.model.parameters()):
                    loss = step_loss(subject)
                    if isinstance(loss, torch.Tensor) and loss.requires_grad:
                        loss.backward(None if scale == 1.0 else torch.full_like(loss, scale))
            except Exception as error:
                forget_frames(error)
                return type(error).__name__
        if self._grip.lapse is not None:
            raise own_failure(self._grip.lapse)
        return None

    def with_origins(self, trace: Trace) -> Trace:
        """``trace`` with the origins that were found."""
        first = len(trace.frames)
        found = tuple(
            dataclasses.replace(it, frame=it.frame + first if it.frame != NONE else NONE)
            for it in self.watched.found
        )
        frames = (*trace.frames, *self._lines.rows())
        return dataclasses.replace(trace, origins=(*trace.origins, *found), frames=frames)


def _unexplained(trace: Trace) -> bool:
    """Whether a gradient is non-finite, or zero for no reason that the graphs know."""
    if trace.failure is not None or not trace.backward_ran:
        return False
    chain = chain_of(trace)
    known = (
        chain.starved | chain.unused | chain.empty | chain.scaled_to_zero | frozenset(chain.waiting)
    )
    return any(
        parameter.gradient == "non-finite" or (parameter.gradient == "zero" and index not in known)
        for index, parameter in enumerate(trace.parameters)
    )


def _has_nan(tensor: torch.Tensor) -> bool:
    return tensor.is_floating_point() and bool(torch.isnan(elements_of(tensor)).any())


def state_of(gradient: torch.Tensor) -> State:
    """What ``gradient`` is, taken as a whole."""
    numbers = elements_of(gradient)
    if not bool(torch.isfinite(numbers).all()):
        return "non-finite"
    return "fine" if bool(numbers.any()) else "zero"
