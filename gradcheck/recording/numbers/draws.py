"""What random operations draw: in the forward, and again where backward runs a block a second time.

The gradient of a block that is run again is that of its second run, so that both have to draw the same numbers. The
state of the generator before each call that draws says whether they do, without looking at what was drawn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace as changed
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch.overrides import TorchFunctionMode

from gradcheck.internals.checkpoints import checkpoint_frame_class
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.repeats import Place, Repeats, noting
from gradcheck.recording.operations import Operation, Operations
from gradcheck.recording.replacing import replace
from gradcheck.recording.source import caller, is_plumbing
from gradcheck.recording.tensors import tensors_in
from gradcheck.trace.numbers import Redraw, Rerunner
from gradcheck.trace.rows import NONE


class State(NamedTuple):
    """The state of a generator, and whose it is."""

    generator: str
    fingerprint: int


class _Draw(NamedTuple):
    """A random operation of the forward."""

    number: int
    op: str
    module: int
    frame: int
    before: State
    followed: bool
    """Whether autograd was on: the first pass of a gradient cache has none."""


class Draws:
    """The random operations of a step, those of second runs set against those of the first."""

    def __init__(self, ledger: Ledger, modules: ModuleStack, *, readable: bool) -> None:
        """``readable``: generators have a state; they have none on fake tensors."""
        self.grip = modules.grip
        self.modules = modules
        self._ledger = ledger
        self._readable = readable
        self._drawn: list[_Draw] = []
        self._found: dict[tuple[int, int, str], tuple[_Draw, Redraw]] = {}
        """By the lines that run again and that draw: the first draw that differs, and what is said of all."""
        self._first_lines: set[tuple[int, int]] = set()
        """(``id`` of a code object, line) of all that led to a draw while autograd was off."""
        self._by_hand = Rerun(self, first=0, by="second-pass", at=NONE, block=NONE)
        self.repeats = Repeats(modules)
        self.running: list[Rerun] = []
        """The second runs that are under way, innermost last."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follows the second runs of non-reentrant checkpoints, and those that a hook makes, while the body runs."""
        frame_class = checkpoint_frame_class()
        with ExitStack() as stack:
            if self._readable:
                self.modules.run_again = self._again_by_hand
                stack.callback(setattr, self.modules, "run_again", None)
                if frame_class is not None:
                    begin = frame_class.__init__
                    replace(stack, frame_class, "__init__", self._beginning(begin))
            stack.callback(self._first_lines.clear)
            yield

    @property
    def num_drawn(self) -> int:
        """How many random operations have run."""
        return len(self._drawn)

    def state(
        self, operation: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> State | None:
        """The state that ``operation`` is about to draw from; None where it draws nothing."""
        return state_of_call(args, kwargs) if operation.draws and self._readable else None

    def drew(self, operation: Operation, before: State, after: State, frame: FrameType) -> None:
        """``operation`` has run in the forward, at ``frame``."""
        if after == before:  # a dropout of probability zero
            return
        followed = torch.is_grad_enabled()
        line = self._ledger.lines.nearest(frame)
        self._drawn.append(
            _Draw(self.num_drawn, operation.name, self.modules.current, line, before, followed)
        )
        if not followed:
            self._first_lines.update((id(it.f_code), it.f_lineno) for it in _outwards(frame))

    def again(self, *, by: Rerunner, at: int, first: int, block: int) -> Rerun:
        """A second run of what the forward ran from its draw ``first`` on."""
        return Rerun(self, first=first, by=by, at=at, block=block)

    def drawn_since(self, first: int, module: int, op: str, *, unfollowed: bool) -> Iterator[_Draw]:
        """The draws of ``module`` by ``op`` since the draw ``first``, in order."""
        for draw in self._drawn[first:]:
            if draw.module == module and draw.op == op and not (unfollowed and draw.followed):
                yield draw

    def differs(self, run: Rerun, draw: _Draw) -> None:
        """``draw`` was another one in the second run ``run``."""
        key = (run.at, draw.frame, run.by)
        first, known = self._found.get(key, (draw, None))
        if known is None or draw.number < first.number:  # backward begins with the last block
            first = draw
            block = self.modules.entered_again if run.block == NONE else run.block
            known = Redraw(
                op=draw.op,
                frame=draw.frame,
                module=draw.module,
                by=run.by,
                at=run.at,
                block=block,
                generator=draw.before.generator,
                num_calls=0 if known is None else known.num_calls,
            )
        self._found[key] = first, changed(known, num_calls=known.num_calls + 1)

    def rows(self) -> tuple[Redraw, ...]:
        """The draws that differ."""
        return tuple(row for _, row in self._found.values())

    def _beginning(self, begin: Callable[..., None]) -> Callable[..., None]:
        """``begin``, the constructor of what a non-reentrant checkpoint keeps of a block that it is about to run."""

        def begins(frame: Any, *args: Any, **kwargs: Any) -> None:
            begin(frame, *args, **kwargs)
            with self.grip:
                self._follow(frame)

        return begins

    def _follow(self, frame: Any) -> None:
        """Watches ``frame`` run its block again."""
        function, running = frame.recompute_fn, self.modules.running
        run: Rerun | None = None
        at, first = self._ledger.lines.nearest(caller(3)), self.num_drawn

        def again(*args: Any, **kwargs: Any) -> Any:
            if not self.grip.held:
                return function(*args, **kwargs)
            nonlocal run
            run = self.again(by="checkpoint", at=at, first=first, block=NONE)
            with self.modules.recomputation(running, run.goes_on):
                return run.goes_on(function, *args, **kwargs)

        def place() -> Place | None:
            return None if run is None else Place(run.by, at, run.block)

        frame.recompute_fn = again
        if frame.metadata_fn is not None:
            frame.metadata_fn = noting(self.repeats, frame.metadata_fn, place)

    def _again_by_hand(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``, a module that runs while backward does, and no checkpoint says so."""
        run = self._by_hand
        if run.at == NONE and not self.running:
            with self.grip:
                lines = self._first_lines
                outside = (it for it in _outwards(caller(3)) if not is_plumbing(it))
                new = (it for it in outside if (id(it.f_code), it.f_lineno) not in lines)
                run.at = self._ledger.lines.nearest(next(new, None))
                run.block = self.modules.recomputing
        return run.goes_on(function, *args, **kwargs)


class Rerun:
    """One second run."""

    def __init__(self, draws: Draws, *, first: int, by: Rerunner, at: int, block: int) -> None:
        self.by: Rerunner = by
        self.at = at
        """The line that runs it."""
        self.block = block
        """The module that is run again; NONE: the first one that it enters."""
        self._draws = draws
        self._first = first
        self._expected: dict[tuple[int, str], Iterator[_Draw]] = {}
        self._threads: set[int] = set()

    def goes_on(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``, which is part of the second run on whatever thread it is called."""
        thread = threading.get_ident()
        if thread in self._threads:
            return function(*args, **kwargs)
        running = self._draws.running
        self._threads.add(thread)
        running.append(self)
        try:
            with _Watched(self, self._draws):
                return function(*args, **kwargs)
        finally:
            if self.block == NONE:
                self.block = self._draws.modules.entered_again
            running.remove(self)
            self._threads.discard(thread)

    def drew(self, operation: Operation, before: State, after: State) -> None:
        """``operation`` has run again, from the state ``before``."""
        if after == before:
            return
        draws = self._draws
        key = (draws.modules.recomputing, operation.name)
        if key not in self._expected:
            unfollowed = self.by == "second-pass"
            self._expected[key] = draws.drawn_since(self._first, *key, unfollowed=unfollowed)
        draw = next(self._expected[key], None)
        if draw is not None and draw.before != before:
            draws.differs(self, draw)


class _Watched(TorchFunctionMode):
    """Looks at the random operations of a second run, and at nothing else."""

    def __init__(self, run: Rerun, draws: Draws) -> None:
        super().__init__()
        self._run = run
        self._draws = draws
        self._operations = Operations()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs, draws, before = kwargs or {}, self._draws, None
        with draws.grip:
            operation = self._operations[func]
            if draws.grip.held and draws.running[-1] is self._run:
                before = draws.state(operation, args, kwargs)
        try:
            return func(*args, **kwargs)
        finally:  # a checkpoint stops its second run by an exception, out of the call that saves last
            if before is not None:
                with draws.grip:
                    self._run.drew(operation, before, state_of_call(args, kwargs))


def state_of_call(args: tuple[Any, ...], kwargs: dict[str, Any]) -> State:
    """The state of the generator from which a call with these arguments draws."""
    generator = kwargs.get("generator")
    if isinstance(generator, torch.Generator):
        return State("own", hash(generator.get_state().numpy().tobytes()))
    device = kwargs.get("device")
    if device is None:
        device = next((tensor.device for tensor in tensors_in(args)), "cpu")
    device = torch.device(device)
    if device.type == "cuda":
        return State(str(device), hash(torch.cuda.get_rng_state(device).numpy().tobytes()))
    return State("cpu", hash(torch.get_rng_state().numpy().tobytes()))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """``frame`` and all that called it."""
    while frame is not None:
        yield frame
        frame = frame.f_back
