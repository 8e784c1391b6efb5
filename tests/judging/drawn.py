"""Traces drawn by hand, call by call: ``w = d.leaf("w"); h = d.call(x, w); d.trace(d.detach(h))``.

A value carries a gradient where one of what it is made of does, unless the drawing says otherwise; inside a custom
function autograd is off, and what the recomputation of a checkpoint says of a value is drawn as ``recomputed``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from gradcheck.trace.events import Failure, Loss
from gradcheck.trace.model import Environment, Parameter
from gradcheck.trace.rows import NONE, Call, Frame, Module, Region, Switch, Value
from gradcheck.trace.trace import Trace

_CUTTING = ("detach", "exit")
_DEAD = (*_CUTTING, "entry")


@dataclass
class Open:
    """A custom function that is being drawn."""

    index: int
    arguments: tuple[int, ...]
    ends: list[int] = field(default_factory=list)


class Drawing:
    """Rows of a Trace, as they are drawn. Line 10 is that of the first call, line 11 that of the second."""

    def __init__(self) -> None:
        self._parameters: list[Parameter] = []
        self._values: list[Value] = []
        self._calls: list[Call] = []
        self._frames: list[Frame] = []
        self._regions: list[Region] = []
        self._switches: list[Switch] = []
        self._open: list[Open] = []
        self._off = NONE

    def leaf(self, fqn: str, gradient: str = "flows", *, zero: bool = False) -> int:
        """A parameter that trains; frozen where ``gradient`` is "frozen"."""
        trains = gradient != "frozen"
        self._parameters.append(
            Parameter(
                fqn=fqn,
                shape=(8, 8),
                dtype="float32",
                num_elements=64,
                quantized=False,
                requires_grad=trains,
                requires_grad_after=trains,
                gradient=gradient,  # type: ignore[arg-type]
                grad_norm=1.0,
                module=0,
            )
        )
        return self._value(NONE, parameter=len(self._parameters) - 1, live=trains, zero=zero)

    def batch(self) -> int:
        """What comes from outside and carries nothing."""
        return self._value(NONE)

    def call(
        self, *inputs: int, op: str = "torch.mul", kind: str = "op", line: int = 0, **fields: object
    ) -> int:
        """The result of a call that reads ``inputs``."""
        return self.calls(1, *inputs, op=op, kind=kind, line=line, **fields)[0]

    def calls(
        self,
        num: int,
        *inputs: int,
        op: str = "torch.mul",
        kind: str = "op",
        line: int = 0,
        **fields: object,
    ) -> tuple[int, ...]:
        """The ``num`` results of one call."""
        at, region = len(self._calls), self._open[-1].index if self._open else NONE
        carries = any(self._values[v].live or self._values[v].recomputed for v in inputs)
        if kind in _DEAD or self._off != NONE:
            carries = False
        fields.setdefault("live", carries and region == NONE)
        outputs = tuple(self._value(at, **fields) for _ in range(num))
        self._add(op, inputs, outputs, kind, line, region)
        return outputs

    def detach(self, value: int, line: int = 0) -> int:
        """``value.detach()``."""
        return self.call(value, op="Tensor.detach", kind="detach", line=line)

    def item(self, value: int) -> int:
        """``value.item()``, a number outside torch."""
        return self.call(value, op="Tensor.item", kind="exit", dtype="python", shape=())

    def tensor(self, *numbers: int, op: str = "torch.tensor") -> int:
        """A tensor made of numbers."""
        return self.call(*numbers, op=op, kind="entry")

    def round(self, value: int) -> int:
        """``value.round()``, which autograd differentiates to zero."""
        return self.call(value, op="torch.round", kind="zero-derivative")

    @contextmanager
    def no_grad(self, line: int = 99) -> Iterator[None]:
        """``with torch.no_grad():`` on ``line``."""
        self._switches.append(Switch(kind="no_grad", frame=self._frame(line), module=NONE))
        before, self._off = self._off, len(self._switches) - 1
        yield
        self._off = before

    @contextmanager
    def region(
        self,
        kind: str,
        *arguments: int,
        line: int = 50,
        hidden: tuple[int, ...] = (),
        cuts: tuple[int, ...] = (),
        recomputation: str = "none",
    ) -> Iterator[Open]:
        """The inside of a custom function, which ``end`` ends."""
        parent = self._open[-1].index if self._open else NONE
        index = len(self._regions)
        row = Region(
            kind=kind,  # type: ignore[arg-type]
            name="CheckpointFunction" if kind == "checkpoint" else "Custom",
            parent=parent,
            ends=(),
            frame=self._frame(line),
            module=0,
            arguments=arguments,
            hidden=tuple(("h", value) for value in hidden),
            cuts=cuts,
            recomputation=recomputation,  # type: ignore[arg-type]
        )
        self._regions.append(row)
        opened = Open(index, arguments)
        self._open.append(opened)
        yield opened
        self._open.pop()
        fields = {name: getattr(row, name) for name in Region.__dataclass_fields__}
        self._regions[index] = Region(**{**fields, "ends": tuple(opened.ends)})

    def end(self, opened: Open, *results: int, live: bool | tuple[bool, ...] = True) -> int:
        """The first result of a custom function, which its inside computed as ``results``."""
        return self.ends(opened, *results, live=live)[0]

    def ends(
        self, opened: Open, *results: int, live: bool | tuple[bool, ...] = True
    ) -> tuple[int, ...]:
        """All results."""
        at = len(self._calls)
        lives = live if isinstance(live, tuple) else (live,) * len(results)
        outer = self._open.index(opened)
        parent = self._open[outer - 1].index if outer else NONE
        outputs = tuple(self._value(at, live=it) for it in lives)
        self._add("Custom", (*opened.arguments, *results), outputs, "region", 0, parent)
        opened.ends.append(at)
        return outputs

    def trace(self, loss: int, *, backward: bool = True, **fields: object) -> Trace:
        """The Trace of a step with this loss."""
        known: dict[str, object] = {
            "environment": Environment(versions=(), python="3.11", platform="", device="cpu"),
            "setup": (),
            "seed": 0,
            "modules": (
                Module(
                    "",
                    "Net",
                    training=True,
                    num_calls=1,
                    parameters=tuple(range(len(self._parameters))),
                ),
            ),
            "parameters": tuple(self._parameters),
            "frames": tuple(self._frames),
            "values": tuple(self._values),
            "calls": tuple(self._calls),
            "regions": tuple(self._regions),
            "switches": tuple(self._switches),
            "loss": Loss(
                value=loss,
                number=1.0,
                requires_grad=loss != NONE and self._values[loss].live,
                is_leaf=False,
                is_tensor=True,
                frame=NONE,
            ),
            "backward_ran": backward,
            "failure": None,
            "batch": (),
            **fields,
        }
        return Trace(**known)  # type: ignore[arg-type]

    def _value(self, call: int, **fields: object) -> int:
        known = {
            "shape": (2, 8),
            "dtype": "float32",
            "parameter": NONE,
            "live": False,
            "recomputed": None,
            "zero": False,
            "inference": False,
            **fields,
        }
        self._values.append(Value(call=call, **known))  # type: ignore[arg-type]
        return len(self._values) - 1

    def _add(
        self,
        op: str,
        inputs: tuple[int, ...],
        outputs: tuple[int, ...],
        kind: str,
        line: int,
        region: int,
    ) -> None:
        frame = self._frame(line or 10 + len(self._calls))
        self._calls.append(Call(op, inputs, outputs, frame, NONE, region, self._off, kind))

    def _frame(self, line: int) -> int:
        made = Frame(file="model.py", line=line, function="forward", text="", library=False)
        if made not in self._frames:
            self._frames.append(made)
        return self._frames.index(made)


FAILED = Failure(
    stage="backward",
    type="RuntimeError",
    message="",
    frame=NONE,
    user_frame=NONE,
    module=NONE,
    call=NONE,
)
"""A step whose backward raised."""
