"""Second runs: what backward runs again, and whether it draws and computes what the forward did.

The gradient of a block that is run again is that of its second run. There are four kinds: the two checkpoints of torch,
custom functions that run modules, and modules that a hook calls while backward runs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch.overrides import TorchFunctionMode

from gradcheck.internals.checkpoints import checkpoint_frame_class
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.draws import Draw, Draws, State, state_of_call
from gradcheck.recording.numbers.repeats import Place, Repeats, noting
from gradcheck.recording.operations import Operation, Operations
from gradcheck.recording.replacing import replace
from gradcheck.recording.source import caller, is_plumbing, outwards
from gradcheck.trace.numbers import Rerunner
from gradcheck.trace.rows import NONE


class Reruns:
    """The second runs of a step."""

    def __init__(
        self, ledger: Ledger, modules: ModuleStack, draws: Draws, *, readable: bool
    ) -> None:
        """``readable``: tensors have numbers; fake ones have none."""
        self.grip = modules.grip
        self.modules = modules
        self.draws = draws
        self.repeats = Repeats(modules)
        self._lines = ledger.lines
        self._readable = readable
        self._by_hand = self.begin(by="second-pass", at=NONE, first=0, block=NONE)
        self.running: list[Rerun] = []
        """Those that are under way, innermost last."""
        self.has_blocks = False
        """Whether a non-reentrant checkpoint has begun a block: to read what its nodes save is to run it again."""

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Follows those of non-reentrant checkpoints, and those that a hook makes, while the body runs."""
        frame_class = checkpoint_frame_class()
        with ExitStack() as stack:
            if self._readable:
                self.modules.run_again = self._again_by_hand
                stack.callback(setattr, self.modules, "run_again", None)
                if frame_class is not None:
                    begin = frame_class.__init__
                    replace(stack, frame_class, "__init__", self._beginning(begin))
            stack.callback(self.draws.first_lines.clear)
            yield

    def begin(self, *, by: Rerunner, at: int, first: int, block: int) -> Rerun:
        """A second run of what the forward ran from its draw ``first`` on."""
        return Rerun(self, first=first, by=by, at=at, block=block)

    def _beginning(self, begin: Callable[..., None]) -> Callable[..., None]:
        """``begin``, the constructor of what a non-reentrant checkpoint keeps of a block that it is about to run."""

        def begins(frame: Any, *args: Any, **kwargs: Any) -> None:
            begin(frame, *args, **kwargs)
            with self.grip:
                self._follow(frame)

        return begins

    def _follow(self, frame: Any) -> None:
        """Watches ``frame`` run its block again."""
        self.has_blocks = True
        function, running = frame.recompute_fn, self.modules.running
        run: Rerun | None = None
        at, first = self._lines.nearest(caller(3)), self.draws.num_drawn

        def again(*args: Any, **kwargs: Any) -> Any:
            if not self.grip.held:
                return function(*args, **kwargs)
            nonlocal run
            run = self.begin(by="checkpoint", at=at, first=first, block=NONE)
            with self.modules.recomputation(running, run.goes_on):
                return run.goes_on(function, *args, **kwargs)

        def place() -> Place | None:
            return None if run is None else run.place

        frame.recompute_fn = again
        if frame.metadata_fn is not None:
            frame.metadata_fn = noting(self.repeats, frame.metadata_fn, place)

    def _again_by_hand(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``, a module that runs while backward does, and no checkpoint says so."""
        run = self._by_hand
        if run.at == NONE and not self.running:
            with self.grip:
                lines = self.draws.first_lines
                outside = (it for it in outwards(caller(3)) if not is_plumbing(it))
                new = (it for it in outside if (id(it.f_code), it.f_lineno) not in lines)
                run.at = self._lines.nearest(next(new, None))
                run.block = self.modules.recomputing
        return run.goes_on(function, *args, **kwargs)


class Rerun:
    """One second run."""

    def __init__(self, runs: Reruns, *, first: int, by: Rerunner, at: int, block: int) -> None:
        self.by: Rerunner = by
        self.at = at
        """The line that runs it."""
        self.block = block
        """The module that is run again; NONE: the first one that it enters."""
        self._runs = runs
        self._first = first
        self._expected: dict[tuple[int, str], Iterator[Draw]] = {}
        self._threads: set[int] = set()

    def goes_on(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """``function(*args, **kwargs)``, which is part of the second run on whatever thread it is called."""
        thread = threading.get_ident()
        if thread in self._threads:
            return function(*args, **kwargs)
        running = self._runs.running
        self._threads.add(thread)
        running.append(self)
        try:
            with _Watched(self, self._runs):
                return function(*args, **kwargs)
        finally:
            if self.block == NONE:
                self.block = self._runs.modules.entered_again
            running.remove(self)
            self._threads.discard(thread)

    def drew(self, operation: Operation, before: State, after: State) -> None:
        """``operation`` has run again, from the state ``before``."""
        if after == before:
            return
        runs = self._runs
        key = (runs.modules.recomputing, operation.name)
        if key not in self._expected:
            unfollowed = self.by == "second-pass"
            self._expected[key] = runs.draws.drawn_since(self._first, *key, unfollowed=unfollowed)
        draw = next(self._expected[key], None)
        if draw is not None and draw.before != before:
            runs.draws.differs(draw, self.place)

    @property
    def place(self) -> Place:
        """What is run again, and where."""
        block = self._runs.modules.entered_again if self.block == NONE else self.block
        return Place(self.by, self.at, block)


class _Watched(TorchFunctionMode):
    """Looks at the random operations of a second run, and at nothing else."""

    def __init__(self, run: Rerun, runs: Reruns) -> None:
        super().__init__()
        self._run = run
        self._runs = runs
        self._operations = Operations()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs, runs, before = kwargs or {}, self._runs, None
        with runs.grip:
            operation = self._operations[func]
            if runs.grip.held and runs.running[-1] is self._run:
                before = runs.draws.state(operation, args, kwargs)
        try:
            return func(*args, **kwargs)
        finally:  # a checkpoint stops its second run by an exception, out of the call that saves last
            if before is not None:
                with runs.grip:
                    self._run.drew(operation, before, state_of_call(args, kwargs))
