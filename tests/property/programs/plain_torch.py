"""What plain torch says of a program: the oracle, which knows nothing of gradcheck.

Cuts are healed one after the other, in the order in which they run: with those before it as they are and those after
it healed, a cut that changes the gradient of a parameter when it is healed itself is a break for this parameter.
"""

import linecache
import traceback
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from tests.property.programs.program import Cut, CutKey, Source

Gradient = Literal["flows", "missing", "zero", "non-finite", "frozen"]
SEED = 5


class Healed(Exception):
    """A healed program does not run: nothing can be compared with it."""


@dataclass
class Ran:
    """One plain training step."""

    filled: bool = False
    """Whether anything was zero and got numbers first."""
    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    frozen: frozenset[str] = frozenset()
    error: Exception | None = None

    def states(self) -> dict[str, Gradient]:
        return {fqn: _state(it, fqn in self.frozen) for fqn, it in self.gradients.items()}


@dataclass
class Truth:
    """What is so."""

    states: dict[str, Gradient] = field(default_factory=dict)
    error: Exception | None = None
    filled: bool = False
    healed: dict[str, Gradient] = field(default_factory=dict)
    breaks: dict[str, set[CutKey]] = field(default_factory=dict)
    """Parameter -> the cuts that change its gradient."""
    faint: dict[str, set[CutKey]] = field(default_factory=dict)
    """Cuts that may be named besides: they change as little as rounding may, or lie behind a soft one."""
    dim: frozenset[str] = frozenset()
    """Parameters of whose gradient nothing is left but rounding, as of a bias before a normalization."""
    cut_states: dict[str, Gradient] = field(default_factory=dict)
    """Like ``states``, with what is zero at the beginning filled first."""

    @property
    def lost(self) -> set[str]:
        """Trainable parameters that have no gradient and would have one."""
        return {
            fqn
            for fqn, state in self.healed.items()
            if state == "flows"
            and fqn not in self.dim
            and self.cut_states.get(fqn) in ("missing", "zero")
        }


def module_of(text: str, name: str) -> types.ModuleType:
    """``text`` as a module whose lines tracebacks and tools can look up."""
    module = types.ModuleType(name)
    module.__file__ = f"/programs/{name}.py"
    lines = text.splitlines(keepends=True)
    linecache.cache[module.__file__] = (len(text), None, lines, module.__file__)
    exec(compile(text, module.__file__, "exec"), module.__dict__)
    return module


def truth(source: Source, name: str) -> Truth:
    """What plain torch says of ``source``.

    Raises:
        Healed: where the program does not run with cuts healed.
    """
    found = Truth()
    keys = [cut.key for cut in source.cuts]
    found.breaks = _breaks(source, name, keys, found)
    for order in _other_orders(source):
        _agreed(found, _breaks(source, name, order, found))
    if found.filled and any("inferred" in cut.kind.tags for cut in source.cuts):
        # what is behind a zero moves no number that could be known again
        found.dim |= {
            fqn for fqn, it in step(source.text(frozenset()), name).states().items() if it == "zero"
        }
    if found.filled or found.error is not None:
        actual = step(source.text(), name)
        if found.error is not None and actual.error is None:
            raise Healed from found.error  # it runs as it is, and not with some of its cuts healed
        found.states, found.error = actual.states(), actual.error
    return found


def _breaks(source: Source, name: str, keys: list[CutKey], found: Truth) -> dict[str, set[CutKey]]:
    """Parameter -> the cuts that change its gradient, the program being cut at ``keys`` one after the other."""
    breaks: dict[str, set[CutKey]] = {}
    before = step(source.text(frozenset()), name, filled=True)
    if before.error is not None:
        raise Healed from before.error
    found.healed, found.filled, found.dim = before.states(), before.filled, _dim(before)
    for number, key in enumerate(keys, 1):
        after = step(source.text(frozenset(keys[:number])), name, filled=True)
        if after.error is not None:
            found.error = after.error
            return breaks
        for fqn, gradient in before.gradients.items():
            if fqn in found.dim:
                continue
            change = _change(gradient, after.gradients[fqn])
            large = 1e-9 if _double(gradient) else 1e-3
            if change:
                (breaks if change > large else found.faint).setdefault(fqn, set()).add(key)
        before = after
    found.states = found.cut_states = before.states()
    return breaks


def _other_orders(source: Source) -> list[list[CutKey]]:
    """Other orders in which the cuts may count: the soft ones last, and each of these after the others of them."""
    by_softness = sorted(source.cuts, key=_softness)
    lasts = [cut for cut in source.cuts if _softness(cut)]
    orders = [[cut.key for cut in by_softness]] if lasts else []
    if len(lasts) > 1:
        orders += [[it.key for it in sorted(source.cuts, key=last.__eq__)] for last in lasts]
    return [order for order in orders if order != [cut.key for cut in source.cuts]]


def _softness(cut: Cut) -> int:
    """How far another cut may be named instead, or besides.

    So it is with what backward alone shows (what a reentrant checkpoint does inside, it shows there), and with
    ``no_grad`` around a thread, which does not take it over.
    """
    inner = sum("reentrant" in it.name for it in cut.around) + cut.key[1]
    last = 100 if cut.threads else 0
    return inner + ("soft" in cut.kind.tags) + last


def _agreed(found: Truth, other: dict[str, set[CutKey]]) -> None:
    """Of two orders in which the cuts may count, what holds in both must be said, and what holds in one may be."""
    for fqn in {*found.breaks, *other}:
        both = found.breaks.get(fqn, set()), other.get(fqn, set())
        found.breaks[fqn] = both[0] & both[1]
        found.faint.setdefault(fqn, set()).update(both[0] ^ both[1])


def _dim(ran: Ran) -> frozenset[str]:
    sizes = {fqn: float(it.abs().max()) for fqn, it in ran.gradients.items() if it is not None}
    least = max(sizes.values(), default=0.0)
    return frozenset(
        fqn
        for fqn, size in sizes.items()
        if size <= least * (1e-12 if _double(ran.gradients[fqn]) else 1e-6)
    )


def _double(gradient: Tensor | None) -> bool:
    return gradient is not None and gradient.dtype == torch.float64


def _change(before: Tensor | None, after: Tensor | None) -> float:
    if before is None or after is None:  # none at all, or exactly zero: nothing comes either way
        other = after if before is None else before
        return 0.0 if other is None or not other.any() else float("inf")
    scale = torch.maximum(before.abs().max(), after.abs().max())
    if not torch.isfinite(scale):
        return 0.0
    return float((before - after).abs().max() / scale.clamp_min(1e-30))


def step(text: str, name: str, *, filled: bool = False) -> Ran:
    """One training step; ``filled``: parameters that are zero get numbers first, for behind them all gradients are."""
    module = module_of(text, name)
    with torch.random.fork_rng(devices=[]):
        model, batch = module.build()
        ran = Ran(frozen=frozenset(n for n, p in model.named_parameters() if not p.requires_grad))
        if filled:
            ran.filled = _fill(model)
        torch.default_generator.manual_seed(SEED)
        try:
            _backward(module.loss_fn, model, batch)
        except Exception as error:
            ran.error = error
            # a frame holds the generator of a non-reentrant checkpoint, and so its hooks in place for later steps
            traceback.clear_frames(error.__traceback__)
            error.__traceback__ = error.__context__ = None
    ran.gradients = {fqn: parameter.grad for fqn, parameter in model.named_parameters()}
    return ran


def _backward(loss_fn: Any, model: nn.Module, batch: Mapping[str, Tensor]) -> None:
    grad = torch.is_grad_enabled()
    try:
        loss = loss_fn(model, batch)
    finally:
        torch.set_grad_enabled(grad)
    if loss.requires_grad:
        loss.backward()


def _fill(model: nn.Module) -> bool:
    found = False
    with torch.no_grad():
        torch.default_generator.manual_seed(1)
        for parameter in model.parameters():
            if parameter.is_floating_point() and not parameter.any():
                parameter.normal_(std=0.5)
                found = True
    return found


def _state(gradient: Tensor | None, frozen: bool) -> Gradient:
    if frozen:
        return "frozen"
    if gradient is None:
        return "missing"
    if not gradient.isfinite().all():
        return "non-finite"
    return "flows" if gradient.any() else "zero"
