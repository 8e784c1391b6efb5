"""The custom functions that run at the moment: what the data flow, the wrappers and the recomputation share.

A function that was called by ``Function.apply`` is announced by the wrapper of that. One whose ``apply`` was bound
before the session (``round_ste = RoundSTE.apply``) is not: it is found by the frame of its ``forward`` on the stack of
a call that runs with autograd off, and nobody says when it ends: what it made leaves it where it is used outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import CodeType, FrameType
from typing import Any

import torch
from torch.autograd.function import BackwardCFunction

from gradcheck.recording.forwards import Forward, Forwards, called_from
from gradcheck.recording.ledger import Ledger, OpenRegion
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.switches import Switches
from gradcheck.recording.tensors import tensors_in
from gradcheck.trace.rows import NONE, Call, CallKind

_MARK = "_gradcheck_region"

ValuesGiven = Callable[[tuple[Any, ...], int], dict[int, int]]
"""(arguments, the region inside which they are read) -> position -> value, of the tensors among them."""


class OpenRegions:
    """Appends calls to the ledger inside the regions that are open."""

    def __init__(self, ledger: Ledger, modules: ModuleStack, switches: Switches) -> None:
        self._ledger = ledger
        self._modules = modules
        self._switches = switches
        self.stack: list[int] = []
        """Announced regions whose forward runs, the outermost first."""
        self.unannounced: dict[int, int] = {}
        """Value made inside an unannounced function -> that region, until it is used outside."""
        self._forwards = Forwards()
        self._wrapper: CodeType | None = None
        self._implicit: tuple[FrameType, int] | None = None

    def begin(self, wrapper: CodeType) -> None:
        """``wrapper`` is the code that announces functions from now on."""
        self._forwards.learn()
        self._wrapper = wrapper

    def release(self) -> None:
        """Forgets frames and functions."""
        self._forwards.release()
        self._wrapper = self._implicit = None

    def around(self, frame: FrameType, values_given: ValuesGiven) -> int:
        """The innermost function whose forward makes the call at ``frame``, or NONE."""
        announced = self.stack[-1] if self.stack else NONE
        if self._wrapper is None or torch.is_grad_enabled():
            return announced
        if announced == NONE:
            if self._switches.current != NONE:
                return NONE
        elif self._ledger.regions[announced].kind == "function":
            return (
                announced  # private all the way down: what is called inside need not be told apart
            )
        implicit = self._unannounced(frame, self._wrapper, values_given)
        return implicit if implicit != NONE else announced

    def _unannounced(self, frame: FrameType, wrapper: CodeType, values_given: ValuesGiven) -> int:
        """The region of the function found on the stack above ``frame`` that no wrapper announced."""
        found = self._forwards.unannounced(frame, wrapper)
        if found is None:
            self._implicit = None
            return NONE
        if self._implicit is None or self._implicit[0] is not found.frame:
            self._implicit = (found.frame, self._open_unannounced(found, values_given))
        return self._implicit[1]

    def _open_unannounced(self, found: Forward, values_given: ValuesGiven) -> int:
        parent = self.stack[-1] if self.stack else NONE
        positions = values_given(found.args, parent)
        return self.add(
            OpenRegion(
                kind="function",
                name=found.name,
                parent=parent,
                frame=self._ledger.lines.nearest(called_from(found.frame)),
                module=self._modules.current,
                running=self._modules.current,
                arguments=tuple(positions.values()),
                positions=positions,
            )
        )

    def add(self, region: OpenRegion) -> int:
        """The index of ``region``, which begins."""
        self._ledger.regions.append(region)
        return len(self._ledger.regions) - 1

    def record(
        self,
        name: str,
        kind: CallKind,
        read: Sequence[int],
        outputs: Sequence[int],
        region: int,
        frame: FrameType,
    ) -> None:
        """Appends a call that ran inside ``region``."""
        ledger = self._ledger
        index = len(ledger.calls)
        where = ledger.lines.nearest(frame)
        current, switch = self._modules.current, self._switches.current
        call = Call(name, tuple(read), tuple(outputs), where, current, region, switch, kind)
        ledger.calls.append(call)
        if region == NONE:
            return
        for outer in self.stack:
            ledger.regions[outer].calls.append(index)
        if region not in self.stack[-1:]:
            ledger.regions[region].calls.append(index)
            self.made_inside(outputs, region)

    def end(self, index: int, read: tuple[int, ...], outputs: tuple[int, ...]) -> None:
        """Appends the call of kind "region" with which the region ``index`` gives ``outputs``."""
        ledger, region = self._ledger, self._ledger.regions[index]
        call = len(ledger.calls)
        region.ends.append(call)
        ledger.region_ended_by[call] = index
        current, switch = self._modules.current, self._switches.current
        where = (region.frame, current, region.parent, switch)
        ledger.calls.append(Call(region.name, read, outputs, *where, "region"))
        for outer in self.stack:
            ledger.regions[outer].calls.append(call)

    def made_inside(self, values: Sequence[int], region: int) -> None:
        """``values`` were made inside ``region``; where that is an unannounced function, they may leave it."""
        if region != NONE and region not in self.stack:
            self.unannounced.update(dict.fromkeys(values, region))

    def left_from(self, value: int, region: int) -> int:
        """The unannounced function that ``value`` leaves where it is read inside ``region``, or NONE."""
        made_in = self.unannounced.get(value, NONE)
        return NONE if made_in == region else made_in

    def leave(self, index: int, tensor: torch.Tensor) -> int:
        """The new value of ``tensor``, which was made inside the unannounced region ``index`` and is used outside."""
        ledger, region = self._ledger, self._ledger.regions[index]
        inside = ledger.known(tensor)
        if inside is not None:
            self.unannounced.pop(inside, None)
        read = (*region.arguments, *(() if inside is None else (inside,)))
        output = ledger.add_value(tensor, len(ledger.calls))
        self.end(index, read, (output,))
        mark(tensor, index)
        return output

    def given_back(self, tensor: torch.Tensor, region: int) -> int | None:
        """The value with which ``region`` gives ``tensor`` back; an unannounced function that made it is left first."""
        value = self._ledger.known(tensor)
        made_in = NONE if value is None else self.left_from(value, region)
        return value if made_in == NONE else self.leave(made_in, tensor)


def mark(result: Any, index: int) -> None:
    """Lets the backward of the function that made ``result`` be known again as that of the region ``index``."""
    if index == NONE:
        return
    for tensor in tensors_in(result):
        if isinstance(tensor.grad_fn, BackwardCFunction):
            setattr(tensor.grad_fn, _MARK, index)


def marked(ctx: Any) -> int:
    """The region whose backward ``ctx`` is, or NONE."""
    index: int = getattr(ctx, _MARK, NONE)
    return index
