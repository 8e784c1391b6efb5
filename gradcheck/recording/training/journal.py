"""What a script does to gradients, optimizers and what trains, as rows with the user's lines."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import islice
from types import FrameType

import torch

from gradcheck.recording.shapes import shape_of
from gradcheck.recording.source import SourceLines, is_library, is_plumbing
from gradcheck.recording.training.models import Named
from gradcheck.recording.training.movement import Glance, Keyed, glance, of_gradients
from gradcheck.recording.training.optimizers import held_by
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Event, EventKind, TrainedOptimizer, TrainedParameter

_KEPT_EVENTS = 4096
"""Of the end of a training, and as many of its beginning."""


_Kept = tuple[Event, list[int]]
"""An event without its parameters, and these."""


class Journal:
    """Rows of events; parameters and optimizers by index, held weakly."""

    def __init__(self) -> None:
        self.lines = SourceLines()
        self.step = 0
        """How many steps have been taken."""
        self.stepping = False
        """Whether an optimizer is being called: what its closure does is the optimizer's own affair."""
        self._first: list[_Kept] = []
        self._last: deque[_Kept] = deque(maxlen=_KEPT_EVENTS)
        self._indices: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        self._parameters: list[TrainedParameter] = []
        self._made: dict[int, tuple[weakref.ref[torch.optim.Optimizer], int]] = {}
        self._optimizers: dict[int, int] = {}
        """``id`` of an optimizer that has stepped -> its index."""
        self._rows: list[TrainedOptimizer] = []
        self._applied: dict[int, tuple[Keyed, Glance]] = {}
        self._left: dict[int, tuple[Keyed, Glance]] = {}
        """Optimizer -> what its last step has left."""

    def note(
        self,
        kind: EventKind,
        frame: FrameType | None,
        *,
        optimizer: int = NONE,
        parameters: Iterable[torch.Tensor] = (),
        number: float | None = None,
        dtype: str = "",
    ) -> None:
        """One more event, which the script made at ``frame``; the same again on the same line is one with the last."""
        at, caller = self.places(frame)
        self._write(
            Event(
                kind=kind,
                step=self.step,
                frame=at,
                caller=caller,
                optimizer=optimizer,
                number=number,
                dtype=dtype,
            ),
            parameters,
        )

    def later(self, kind: EventKind, frame: FrameType) -> Callable[[], None]:
        """What writes an event of ``frame`` whenever it is called."""
        at, caller = self.places(frame)
        return lambda: self._write(Event(kind=kind, step=self.step, frame=at, caller=caller), ())

    def without_graph(self, frame: FrameType | None) -> None:
        """A backward begins at ``frame``, and its loss has no graph."""
        held = [p for optimizer in self.live_optimizers() for p in held_by(optimizer)]
        frozen = [parameter for parameter in held if not parameter.requires_grad]
        on = float(torch.is_grad_enabled())
        self.note("ungraphed", frame, parameters=frozen, number=on)

    def _write(self, event: Event, parameters: Iterable[torch.Tensor]) -> None:
        kept, concerned = self._last or self._first, list(map(self.index, parameters))
        if event.kind in ("froze", "thawed") and kept and kept[-1][0] == event:
            kept[-1][1].extend(concerned)
        else:
            full = len(self._first) >= _KEPT_EVENTS
            (self._last if full else self._first).append((event, concerned))

    def events(self) -> tuple[Event, ...]:
        """All that were kept, in order."""
        kept = (*self._first, *self._last)
        return tuple(replace(event, parameters=tuple(concerned)) for event, concerned in kept)

    def places(self, frame: FrameType | None) -> tuple[int, int]:
        """The user's nearest line, and the one that called its function."""
        own = list(islice(_users(frame), 2))
        nearest = self.lines.at(own[0]) if own else self.lines.nearest(frame)
        return nearest, self.lines.at(own[1]) if len(own) > 1 else NONE

    def index(self, parameter: torch.Tensor, fqn: str = "") -> int:
        """The index of ``parameter``, which gets one where it has none, and is called ``fqn`` then."""
        known = self._indices.get(id(parameter))
        if known is not None and known[0]() is parameter:
            return known[1]
        index = len(self._parameters)
        self._indices[id(parameter)] = (weakref.ref(parameter), index)
        self._parameters.append(
            TrainedParameter(
                fqn=fqn or f"parameter {index}",
                shape=shape_of(parameter),
                dtype=str(parameter.dtype).removeprefix("torch."),
                num_elements=parameter.numel(),
            )
        )
        return index

    def known(self, parameters: Iterable[torch.Tensor]) -> set[int]:
        """The indices of those of ``parameters`` that have one."""
        found = ((self._indices.get(id(parameter)), parameter) for parameter in parameters)
        return {it[1] for it, parameter in found if it is not None and it[0]() is parameter}

    def name(self, models: Named) -> None:
        """Gives the parameters of ``models`` their names; what several share is called as in the first of them."""
        seen: set[int] = set()
        for name, model in models:
            prefix = f"{name}." if len(models) > 1 else ""
            for fqn, parameter in model.named_parameters():
                named = prefix + fqn
                index = self.index(parameter, named)
                if index in seen:
                    continue
                seen.add(index)
                if self._parameters[index].fqn != named:
                    self._parameters[index] = replace(self._parameters[index], fqn=named)

    def parameters(self) -> tuple[TrainedParameter, ...]:
        """All that have an index."""
        return tuple(self._parameters)

    def made(self, optimizer: torch.optim.Optimizer, frame: FrameType | None) -> None:
        """``optimizer`` was made at ``frame``."""
        self.note("optimizer-made", frame)
        self._made[id(optimizer)] = (weakref.ref(optimizer), self.places(frame)[0])

    def met(self, optimizer: torch.optim.Optimizer) -> None:
        """``optimizer`` was made before anything was watched."""
        self._made.setdefault(id(optimizer), (weakref.ref(optimizer), NONE))

    def live_optimizers(self) -> list[torch.optim.Optimizer]:
        """Those that the script made and that are still there."""
        return [it for ref, _ in self._made.values() if (it := ref()) is not None]

    def optimizer(self, optimizer: torch.optim.Optimizer) -> int:
        """The index of an optimizer that steps."""
        index = self._optimizers.get(id(optimizer))
        if index is None:
            index = self._optimizers[id(optimizer)] = len(self._rows)
            made = self._made.get(id(optimizer))
            self._rows.append(
                TrainedOptimizer(
                    type=type(optimizer).__name__,
                    frame=NONE if made is None or made[0]() is not optimizer else made[1],
                    parameters=tuple(map(self.index, held_by(optimizer))),
                )
            )
        return index

    def applied(self, optimizer: int, keyed: Keyed, gradients: Glance) -> None:
        """``optimizer`` is about to apply ``gradients`` to ``keyed``."""
        self._applied[optimizer] = keyed, gradients

    def left(self, optimizer: int, keyed: Keyed, after: Glance) -> None:
        """``optimizer`` has stepped, and left ``keyed`` as in ``after``."""
        self._left[optimizer] = keyed, after

    def is_used(self, parameters: Iterable[torch.Tensor]) -> bool:
        """Whether the gradients of ``parameters`` have served: an optimizer has applied these, or the script has.

        What has moved since the optimizer's last step, the script has moved: up along the gradient, as a search for
        flat minima does, whose second gradient is the one that the optimizer applies.
        """
        asked = {id(parameter) for parameter in parameters}
        applied, left = (
            [it for it in kept.values() if any(id(p) in asked for _, p in it[0])]
            for kept in (self._applied, self._left)
        )
        return (
            bool(applied) and not any(of_gradients(keyed).differing(was) for keyed, was in applied)
        ) or any(glance(keyed).differing(was) for keyed, was in left)

    def optimizer_index(self, optimizer: torch.optim.Optimizer) -> int:
        """The index of ``optimizer``; NONE where it has not stepped yet."""
        return self._optimizers.get(id(optimizer), NONE)

    def optimizers(self) -> tuple[TrainedOptimizer, ...]:
        """All that have stepped."""
        return tuple(self._rows)


def _users(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames outside installed packages, from ``frame`` up to the script itself."""
    while frame is not None:
        file = frame.f_code.co_filename
        if not is_library(file) and not is_plumbing(frame):
            yield frame
        if frame.f_code.co_name == "<module>" and frame.f_globals.get("__name__") == "__main__":
            return
        frame = frame.f_back
