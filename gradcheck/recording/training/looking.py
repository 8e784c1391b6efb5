"""What is seen of a step without recording it: rates, gradients, and whether its parameters move."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import FrameType

import torch

from gradcheck.recording.training.journal import Journal
from gradcheck.recording.training.models import Named
from gradcheck.recording.training.movement import Glance, Keyed, glance, of_gradients
from gradcheck.recording.training.optimizers import held_by, in_still_groups, rates
from gradcheck.trace.rows import NONE
from gradcheck.trace.training import Step

_GLANCED_AT = 64
"""Parameters of a step that is only watched, other ones in each: looking at one takes some microseconds."""


_STATES = 256
"""Of each optimizer, to find one that is put back; some kilobytes each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Looked:
    """What was seen before an optimizer was called."""

    step: Step
    """Without what it moved."""
    keyed: Keyed
    before: Glance


class Looks:
    """Looks at the parameters of an optimizer before and after it is called."""

    def __init__(self, journal: Journal, num_left_autocast: Callable[[], int]) -> None:
        """``num_left_autocast``: how often autocast has ended, and forgotten the weights that it had cast."""
        self._journal = journal
        self._num_left_autocast = num_left_autocast
        self._after: dict[int, tuple[Keyed, Glance, Glance]] = {}
        """Optimizer -> what was looked at before and after its last step."""
        self._stale: dict[int, int] | None = None
        """What held a gradient of an earlier step when the first backward of this one began -> ``id`` of that gradient;
        None before that."""
        self._scaled: tuple[Keyed, Glance] | None = None
        """Gradients as the last backward of a scaled loss has left them."""
        self._unheld: Glance | None = None
        """What trains and no optimizer holds, before the last step."""
        self._states: dict[int, deque[tuple[int, Glance]]] = {}
        """Optimizer -> (after how many steps, what its parameters were then)."""
        self._cast_since: tuple[torch.device, int] | None = None
        """(device, how often autocast had ended) at the last step, where autocast was on."""

    def backward_begins(self) -> None:
        """A backward is about to run."""
        if self._stale is None:
            looked_at = [pair for keyed, _, _ in self._after.values() for pair in keyed]
            filled = of_gradients(looked_at).non_zero()
            self._stale = {key: id(p.grad) for key, p in looked_at if key in filled}

    def scaled_backward_ended(self) -> None:
        """The backward of a loss that was multiplied by a scale has run."""
        keyed = [
            (self._journal.index(parameter), parameter)
            for optimizer in self._journal.live_optimizers()
            for parameter in held_by(optimizer)
        ]
        self._scaled = keyed, of_gradients(keyed)

    def before(
        self, optimizer: torch.optim.Optimizer, frame: FrameType, models: Named, *, at_all: bool
    ) -> Looked:
        """``optimizer`` is called at ``frame``; ``at_all`` of its parameters, or only some."""
        journal = self._journal
        index, (at, _) = journal.optimizer(optimizer), journal.places(frame)
        keyed = [(journal.index(p), p) for p in held_by(optimizer)]
        if not at_all and len(keyed) > _GLANCED_AT:
            start = journal.step * _GLANCED_AT % len(keyed)
            keyed = (keyed + keyed)[start : start + _GLANCED_AT]
        gradients = of_gradients(keyed)
        journal.applied(index, keyed, gradients)
        now = glance(keyed)
        written, reverted = self._written(index, keyed, now)
        step = Step(
            optimizer=index,
            frame=at,
            rates=rates(optimizer),
            still_groups=tuple(map(journal.index, in_still_groups(optimizer))),
            gradients=tuple(sorted(gradients.non_zero())),
            num_gradients=len(gradients),
            moved=(),
            written=written,
            reverted=reverted,
            recalled=self._recalled(index, now) if written else NONE,
            rescaled=self._rescaled(),
            moved_otherwise=self._moved_otherwise(models) if at_all else (),
            stale=tuple(
                sorted(key for key, p in keyed if (self._stale or {}).get(key) == id(p.grad))
            ),
            cached=bool(keyed) and self._is_cached(keyed[0][1].device),
            evaluating=_evaluating(models, {id(p) for _, p in keyed}),
        )
        self._states.setdefault(index, deque([(journal.step, now)], maxlen=_STATES))
        return Looked(step=step, keyed=keyed, before=now)

    def after(self, looked: Looked) -> Step:
        """The optimizer has been called."""
        after = glance(looked.keyed)
        self._after[looked.step.optimizer] = looked.keyed, looked.before, after
        self._journal.left(looked.step.optimizer, looked.keyed, after)
        self._states[looked.step.optimizer].append((self._journal.step + 1, after))
        self._stale = None
        moved = after.differing(looked.before) & set(looked.step.gradients)
        return replace(looked.step, moved=tuple(sorted(moved)))

    def _written(
        self, optimizer: int, looked_at: Keyed, seen: Glance
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """What was written since the last step of ``optimizer``, and what of it is as before that step.

        Args:
            optimizer: its index.
            looked_at: what is looked at in the step that begins.
            seen: what was seen of that just now.
        """
        if optimizer not in self._after:
            return (), ()
        keyed, before, after = self._after.pop(optimizer)
        now = seen if _are_same(keyed, looked_at) else glance(keyed)
        written = now.differing(after)
        return tuple(sorted(written)), tuple(sorted(written - now.differing(before)))

    def _rescaled(self) -> tuple[int, ...]:
        """Parameters whose gradient is not what the backward of the scaled loss has left."""
        left, self._scaled = self._scaled, None
        return () if left is None else tuple(sorted(of_gradients(left[0]).differing(left[1])))

    def _moved_otherwise(self, models: Named) -> tuple[int, ...]:
        """What moves though no optimizer holds it: weights that are copied from the float32 ones of an optimizer."""
        held = {id(p) for optimizer in self._journal.live_optimizers() for p in held_by(optimizer)}
        before, now = (
            self._unheld,
            glance(
                (self._journal.index(p), p)
                for _, model in models
                for p in model.parameters()
                if p.requires_grad and id(p) not in held
            ),
        )
        self._unheld = now
        return (
            tuple(sorted(now.differing(before)))
            if before is not None and now.rows == before.rows
            else ()
        )

    def _recalled(self, optimizer: int, now: Glance) -> int:
        """After how many steps the parameters were what they are now; NONE where that was not seen."""
        states = reversed(self._states.get(optimizer, ()))
        return next((at for at, state in states if not now.differing(state)), NONE)

    def _is_cached(self, device: torch.device) -> bool:
        """Whether autocast has been on since before the last step."""
        on = torch.is_autocast_enabled(device.type) and torch.is_autocast_cache_enabled()
        now = (device, self._num_left_autocast()) if on else None
        before, self._cast_since = self._cast_since, now
        return now is not None and now == before


def _are_same(keyed: Keyed, other: Keyed) -> bool:
    return len(keyed) == len(other) and all(
        p is q for (_, p), (_, q) in zip(keyed, other, strict=True)
    )


def _evaluating(models: Named, held: set[int]) -> tuple[str, ...]:
    """The models in eval mode that hold one of the parameters."""
    return tuple(
        name
        for name, model in models
        if not model.training and any(id(p) in held for p in model.parameters())
    )
