"""The boundary of custom functions: ``torch.autograd.Function`` and, through it, reentrant checkpointing.

Inside ``Function.forward`` autograd is off, and what the function does with the gradient is its own affair. So each
is recorded as one region. ``Function.apply`` and the backward side, ``BackwardCFunction.apply``, are wrapped for the
length of the session. The second runs on whatever thread runs backward: on an accelerator that is a thread of torch's
own, on which no function mode is active, so the mode is entered there again. This is how a recomputation is seen on
every device.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, is_dataclass
from types import FrameType
from typing import Any

import torch
from torch.autograd.function import BackwardCFunction, Function
from torch.utils.checkpoint import CheckpointFunction

from gradcheck.internals.tensors import function_mode_counter
from gradcheck.recording.dataflow import DataFlow
from gradcheck.recording.ledger import Ledger, OpenRegion
from gradcheck.recording.open_regions import mark, marked
from gradcheck.recording.recomputation import Recomputation
from gradcheck.recording.replacing import replace
from gradcheck.recording.source import caller, is_plumbing
from gradcheck.recording.tensors import is_zero, tensors_in
from gradcheck.trace.numbers import Rerunner
from gradcheck.trace.rows import NONE

_WHOLE = ("forward", "__call__")
"""Methods that are all of a module's work."""


class Functions:
    """Opens and closes regions, and follows their backward."""

    def __init__(self, ledger: Ledger, flow: DataFlow) -> None:
        self._grip = flow.grip
        self._ledger = ledger
        self._flow = flow
        self._regions = flow.regions
        self._num_modes = function_mode_counter()
        self._recomputation: Recomputation | None = None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Wraps both sides while the body runs."""
        watched, original = self, Function.__dict__["apply"]

        def apply(cls: Any, *args: Any, **kwargs: Any) -> Any:
            return watched._forward(cls, original.__get__(None, cls), args, kwargs)

        self._regions.begin(Functions._forward.__code__)
        with ExitStack() as stack:
            replace(stack, Function, "apply", classmethod(apply))
            for name in ("apply", "apply_boxed"):  # apply_boxed: since torch 2.13
                if name in BackwardCFunction.__dict__:
                    replace(
                        stack,
                        BackwardCFunction,
                        name,
                        self._watched_backward(BackwardCFunction.__dict__[name]),
                    )
            stack.callback(self._release)
            yield

    def _watched_backward(self, original: Any) -> Any:
        def apply_backward(ctx: Any, *grads: Any) -> Any:
            return self._backward(ctx, original, grads)

        return apply_backward

    def _release(self) -> None:
        self._regions.release()
        self._recomputation = None

    def _forward(
        self,
        cls: Any,
        original: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """``original`` is ``cls.apply`` as torch wrote it."""
        if not self._grip.held or self._num_modes() == 0:
            return original(*args, **kwargs)  # inside a torch call, which is one node itself
        if self._recomputation is not None:
            with self._recomputation.inside_function():
                result = original(*args, **kwargs)
            with self._grip:
                mark(result, self._recomputation.region_ended(cls.__name__, result))
            return result
        index, uncounted = NONE, list[tuple[torch.Tensor, torch.Tensor, int]]()
        with self._grip:
            index = self._open(cls, args)
            uncounted = self._flow.numbers.overwrites.about_to_run(cls, args)
            self._flow.numbers.backwards.begins(index, cls, original, args)
        if index == NONE:
            return original(*args, **kwargs)
        modules, region_stack = self._flow.modules, self._regions.stack
        region_stack.append(index)
        modules.on_enter[:] = [self._module_entered]
        try:
            result = original(*args, **kwargs)
        finally:
            region_stack.remove(index)
            if not region_stack:
                modules.on_enter.clear()
        with self._grip:
            self._close(index, result)
            self._flow.numbers.overwrites.has_run(uncounted, index, result)
        return result

    def _open(self, cls: Any, args: tuple[Any, ...]) -> int:
        flow, ledger = self._flow, self._ledger
        checkpoint = issubclass(cls, CheckpointFunction)
        frame = caller(2)
        values_given = flow.identities.values_given
        parent = NONE if frame is None else self._regions.around(frame, values_given)
        positions = values_given(args, parent)
        region = OpenRegion(
            kind="checkpoint" if checkpoint else "function",
            name=cls.__name__,
            parent=parent,
            frame=ledger.lines.nearest(frame),
            module=flow.modules.current,
            running=flow.modules.current,
            arguments=tuple(positions.values()),
            positions=positions,
            first_draw=flow.numbers.draws.num_drawn,
        )
        if checkpoint:
            region.hidden = tuple(
                (name, flow.identities.value_of(tensor)) for name, tensor in hidden_tensors(args)
            )
            self._name_owner(region, args[0])
        return self._regions.add(region)

    def _name_owner(self, region: OpenRegion, function: Any) -> None:
        """The checkpointed module; where it checkpoints its own call, the line that called it and not the one inside.

        A method of the outermost module says less than the first module that runs in it.
        """
        owner, whole = _owner(function)
        index = self._flow.modules.index_of(owner)
        if index == NONE:
            return
        region.module, region.entered = index, whole or self._flow.modules.fqns[index] != ""
        if whole:
            region.frame = self._ledger.lines.nearest(_outside(owner, caller(3)))

    def _module_entered(self, module: int) -> None:
        """A function that runs modules is a checkpoint: its backward will run them again."""
        for index in self._regions.stack:
            region = self._ledger.regions[index]
            region.kind = "checkpoint"
            if not region.entered:
                region.module, region.entered = module, True

    def _close(self, index: int, result: Any) -> None:
        """Ends the region: its tensors get new values, made by a call of kind "region"."""
        ledger, region = self._ledger, self._ledger.regions[index]
        tensors = tensors_in(result)
        given_back = [self._regions.given_back(tensor, index) for tensor in tensors]
        inside = [value for value in given_back if value is not None]
        if region.kind == "checkpoint":
            self._flow.numbers.keep(region, given_back, tensors)
        read = (*region.arguments, *inside)
        outputs = tuple(ledger.add_value(tensor, len(ledger.calls)) for tensor in tensors)
        if not ledger.zero.isdisjoint(read):
            ledger.zero.update(
                value for value, tensor in zip(outputs, tensors, strict=True) if is_zero(tensor)
            )
        self._regions.end(index, read, outputs)
        self._regions.made_inside(outputs, region.parent)
        mark(result, index)

    def _backward(self, ctx: Any, original: Any, grads: tuple[Any, ...]) -> Any:
        index = marked(ctx)
        if index == NONE and self._recomputation is not None:
            index = self._unmarked(ctx)
        if index == NONE or not self._grip.held:
            return original(ctx, *grads)
        region = self._ledger.regions[index]
        with self._grip:
            self._flow.numbers.overwrites.backward_of(index, self._flow.identities.written)
        if region.kind == "checkpoint":
            return self._recomputed(index, ctx, original, grads)
        result = original(ctx, *grads)
        with self._grip:
            returned = result if isinstance(result, (tuple, list)) else (result,)
            self._flow.numbers.backwards.went_back(index, ctx, grads, returned)
            pairs = zip(returned, ctx.needs_input_grad, strict=False)
            for at, (gradient, needed) in enumerate(pairs):
                if needed and gradient is None and at in region.positions:
                    region.cut_at.add(at)
        return result

    def _unmarked(self, ctx: Any) -> int:
        """The function of the recomputed block that ``ctx`` is, where no wrapper announced it and one has its name."""
        name, inside = type(ctx).__name__, self._recomputation
        found = [
            index
            for index, region in enumerate(self._ledger.regions)
            if inside is not None
            and region.parent == inside.region
            and f"{region.name}Backward" == name
        ]
        return found[0] if len(found) == 1 else NONE

    def _recomputed(self, index: int, ctx: Any, original: Any, grads: tuple[Any, ...]) -> Any:
        outer, modules = self._recomputation, self._flow.modules
        repeats = self._flow.numbers.reruns.repeats
        recomputation = Recomputation(self._ledger, modules, index, self._grip, repeats)
        self._recomputation = recomputation
        region = self._ledger.regions[index]
        by: Rerunner = "checkpoint" if region.name == CheckpointFunction.__name__ else "function"
        run = self._flow.numbers.reruns.begin(
            by=by, at=region.frame, first=region.first_draw, block=region.module
        )
        watched = functools.partial(run.goes_on, recomputation.goes_on)
        try:
            with modules.recomputation(region.running, watched), recomputation.follows(ctx):
                return run.goes_on(recomputation.run, original, ctx, *grads)
        finally:
            self._recomputation = outer
            with self._grip:
                recomputation.finish()


def is_watched() -> bool:
    """Whether a session of this process has wrapped ``Function.apply``."""
    wrapper = getattr(Function.__dict__["apply"], "__func__", None)
    return getattr(wrapper, "__module__", "") == __name__


def hidden_tensors(args: tuple[Any, ...]) -> Iterator[tuple[str, torch.Tensor]]:
    """(name, tensor) of the tensors among the arguments of a checkpoint that autograd does not look at."""
    for arg in args:
        if isinstance(arg, functools.partial):
            for name, value in arg.keywords.items():
                yield from ((name, tensor) for tensor in tensors_in(value))
            yield from (("", tensor) for tensor in tensors_in(arg.args))
        elif isinstance(arg, (tuple, list, dict)):
            yield from (("", tensor) for tensor in tensors_in(arg))
        elif is_dataclass(arg) and not isinstance(arg, type):
            for field in fields(arg):
                yield from (
                    (field.name, tensor) for tensor in tensors_in(getattr(arg, field.name, None))
                )


def _owner(function: Any) -> tuple[object, bool]:
    """The module that a checkpointed function is, is a method of, or is given first; whether it is its whole call."""
    while isinstance(function, functools.partial):
        if function.args and isinstance(function.args[0], torch.nn.Module):
            return function.args[0], True
        function = function.func
    if isinstance(function, torch.nn.Module):
        return function, True
    method = getattr(function, "__func__", None)
    whole = method is torch.nn.Module.__call__ or getattr(method, "__name__", "") in _WHOLE
    return getattr(function, "__self__", None), whole


def _outside(owner: object, frame: FrameType | None) -> FrameType | None:
    """The nearest frame from ``frame`` up that is neither plumbing nor a method of ``owner``."""
    while frame is not None and (is_plumbing(frame) or frame.f_locals.get("self") is owner):
        frame = frame.f_back
    return frame
