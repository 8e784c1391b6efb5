"""Traces drawn by hand: a graph told call by call, in the words of torch.

    draw = Drawing()
    a, b = draw.leaf("a"), draw.leaf("b")
    h = draw.call("linear", draw.batch(), a)
    cut = draw.detach(h, line=3)
    trace = draw.loss(draw.call("linear", cut, b))
    assert breaks(trace) == [("detach", 3, "a", "")]

A word that makes a tensor gives the index of its value. Whether a result carries a gradient is what torch would say of
it, unless ``live`` says otherwise. Frames are numbered as their lines, and modules are known by their names.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from gradcheck.judging.chain import Chain
from gradcheck.judging.judge import chain_of
from gradcheck.trace.events import Failure, Loss
from gradcheck.trace.model import Environment, GradientState, Parameter
from gradcheck.trace.rows import NONE, Call, Frame, Module, Region, Switch, Value
from gradcheck.trace.trace import Trace

UNMARKED = 100
"""The line of a call without one of its own is this and the call's number: no two are the same."""
NUMBERLESS = ("int", "uint", "bool", "python")


@dataclass(eq=False)
class Inside:
    """A custom function or a reentrant checkpoint of a drawing; what is drawn under ``with`` lies inside."""

    drawing: "Drawing"
    number: int
    kind: str
    parent: int
    line: int
    module: int
    arguments: tuple[int, ...]
    hidden: tuple[int, ...]
    cuts: tuple[int, ...]
    recomputation: str
    ends: list[int] = field(default_factory=list)

    def __enter__(self) -> None:
        self.drawing.region = self.number

    def __exit__(self, *_: object) -> None:
        self.drawing.region = self.parent


class Drawing:
    """A step, drawn call by call; ``loss`` gives the Trace of it."""

    def __init__(self) -> None:
        self.region = NONE
        self._switch = NONE
        self._values: list[Value] = []
        self._calls: list[Call] = []
        self._regions: list[Inside] = []
        self._switches: list[Switch] = []
        self._parameters: list[Parameter] = []
        self._modules: list[str] = []

    def leaf(
        self,
        name: str,
        *,
        trainable: bool = True,
        zero: bool = False,
        shape: tuple[int, ...] = (8, 8),
    ) -> int:
        """A parameter of the model; ``zero`` as LoRA's B is before the first step."""
        self._parameters.append(
            Parameter(
                fqn=name,
                module=NONE,
                shape=shape,
                dtype="float32",
                num_elements=64,
                quantized=False,
                requires_grad=trainable,
                requires_grad_after=trainable,
                gradient="missing" if trainable else "frozen",
                grad_norm=None,
                zero=zero,
            )
        )
        self._values.append(
            Value(shape, "float32", NONE, len(self._parameters) - 1, trainable, None, zero, False)
        )
        return len(self._values) - 1

    def frozen(self, name: str) -> int:
        """A parameter that does not train."""
        return self.leaf(name, trainable=False)

    def batch(self, dtype: str = "float32", *, live: bool = False) -> int:
        """A tensor from outside the step."""
        self._values.append(Value((2, 8), dtype, NONE, NONE, live, None, False, False))
        return len(self._values) - 1

    def call(self, op: str, *inputs: int, **fields: object) -> int:
        """A call with one result; ``fields`` are those of its Call and of the Value that it makes."""
        return self.calls(op, *inputs, results=({},), **fields)[0]

    def calls(
        self,
        op: str,
        *inputs: int,
        results: Iterable[Mapping[str, object]],
        kind: str = "op",
        line: int | None = None,
        module: str | None = None,
        **common: object,
    ) -> tuple[int, ...]:
        """A call with one result for each of ``results``, which say what is special of it."""
        number, carried = len(self._calls), self._carried(inputs)
        made = []
        for special in results:
            known: dict[str, object] = {
                "shape": (2, 8),
                "dtype": "float32",
                "zero": False,
                "inference": False,
                **common,
                **special,
            }
            can = not str(known["dtype"]).startswith(NUMBERLESS)
            wanted = can and carried and kind not in ("detach", "exit")
            known.setdefault("live", wanted and self._switch == NONE and self.region == NONE)
            known.setdefault(
                "recomputed", wanted and self._switch == NONE if self._again() else None
            )
            self._values.append(Value(call=number, parameter=NONE, **known))  # type: ignore[arg-type]
            made.append(len(self._values) - 1)
        self._calls.append(
            Call(
                op,
                inputs,
                tuple(made),
                UNMARKED + number if line is None else line,
                self._module(module),
                self.region,
                self._switch,
                kind,
            )
        )
        return tuple(made)

    def detach(self, value: int, **fields: object) -> int:
        """``value.detach()``."""
        return self.call("Tensor.detach", value, kind="detach", **fields)

    def leaves_torch(self, value: int, **fields: object) -> int:
        """``value.item()``: gives the number."""
        return self.call("Tensor.item", value, kind="exit", dtype="python", **fields)

    def comes_back(self, *numbers: int, op: str = "torch.tensor", **fields: object) -> int:
        """``torch.tensor(...)`` of numbers, known again or not."""
        return self.call(op, *numbers, kind="entry", **{"live": False, **fields})

    @contextmanager
    def no_grad(
        self,
        *,
        line: int = 1,
        module: str | None = None,
        kind: str = "no_grad",
        decorated: str = "",
    ) -> Iterator[None]:
        """``with torch.no_grad():``."""
        outer = self._switch
        self._switches.append(
            Switch(kind=kind, frame=line, module=self._module(module), decorated=decorated)  # type: ignore[arg-type]
        )
        self._switch = len(self._switches) - 1
        yield
        self._switch = outer

    def function(
        self, *arguments: int, cuts: tuple[int, ...] = (), line: int = 1, module: str | None = None
    ) -> Inside:
        """``Function.apply(*arguments)``, whose backward returns None for ``cuts``."""
        return self._open("function", arguments, cuts=cuts, line=line, module=module)

    def checkpoint(
        self,
        *arguments: int,
        hidden: tuple[int, ...] = (),
        recomputation: str = "matched",
        line: int = 1,
        module: str | None = None,
    ) -> Inside:
        """``checkpoint(f, *arguments, use_reentrant=True)``; ``hidden`` are handed over in a structure.

        With ``recomputation="none"`` backward never came by, and nothing inside was seen again.
        """
        return self._open(
            "checkpoint",
            arguments,
            hidden=hidden,
            recomputation=recomputation,
            line=line,
            module=module,
        )

    def end(self, inside: Inside, *results: int, **special: object) -> int:
        """The result of ``inside``, made of ``results``; it carries a gradient where an argument does."""
        return self.ends(inside, *results, special=(special,))[0]

    def ends(
        self, inside: Inside, *results: int, special: Iterable[Mapping[str, object]] = ()
    ) -> tuple[int, ...]:
        """The same with several results: one for each of ``special``, or of ``results`` without it."""
        live = self._carried(inside.arguments) and self._switch == NONE
        inside.ends.append(len(self._calls))
        outputs = []
        for fields in special or [{} for _ in results]:
            lives = fields.get("live", live)
            outputs.append(
                {"live": lives, "recomputed": lives if self._again() else None, **fields}
            )
        return self.calls(
            "Block",
            *inside.arguments,
            *results,
            results=outputs,
            kind="region",
            line=inside.line,
        )

    def loss(
        self,
        value: int,
        *,
        backward: Mapping[str, GradientState] | None = None,
        failure: Failure | None = None,
        depends: tuple[str, ...] = (),
        independent: tuple[str, ...] = (),
    ) -> Trace:
        """The Trace of what was drawn.

        Args:
            backward: the gradients that the real backward left where it ran; those not named flow.
        """
        if backward is not None:
            self._left_by(backward)
        names = [p.fqn for p in self._parameters]
        lines = max([UNMARKED + len(self._calls)], default=0)
        return Trace(
            environment=Environment(versions=(), python="3.11", platform="", device="cpu"),
            setup=(),
            seed=0,
            modules=tuple(
                Module(name, f"{name}.models.Net", training=True, num_calls=1, parameters=())
                for name in self._modules
            ),
            parameters=tuple(self._parameters),
            frames=tuple(
                Frame(file="model.py", line=i, function="forward", text=f"line {i}", library=False)
                for i in range(lines)
            ),
            values=tuple(self._values),
            calls=tuple(self._calls),
            regions=tuple(
                Region(
                    kind=it.kind,  # type: ignore[arg-type]
                    name="Block",
                    parent=it.parent,
                    ends=tuple(it.ends),
                    frame=it.line,
                    module=it.module,
                    arguments=it.arguments,
                    hidden=tuple((f"hidden{at}", value) for at, value in enumerate(it.hidden)),
                    cuts=it.cuts,
                    recomputation=it.recomputation,  # type: ignore[arg-type]
                )
                for it in self._regions
            ),
            switches=tuple(self._switches),
            loss=Loss(
                value=value,
                number=1.0,
                requires_grad=value != NONE and self._values[value].live,
                is_leaf=False,
                is_tensor=value != NONE,
                frame=0,
            ),
            backward_ran=backward is not None,
            failure=failure,
            batch=(),
            depends=tuple(map(names.index, depends)),
            independent=tuple(map(names.index, independent)),
        )

    def _left_by(self, backward: Mapping[str, GradientState]) -> None:
        assert set(backward) <= {p.fqn for p in self._parameters}
        for at, row in enumerate(self._parameters):
            if row.requires_grad:
                fields = {name: getattr(row, name) for name in row.__dataclass_fields__}
                fields["gradient"] = backward.get(row.fqn, "flows")
                self._parameters[at] = Parameter(**fields)

    def _open(
        self,
        kind: str,
        arguments: tuple[int, ...],
        *,
        line: int,
        module: str | None,
        hidden: tuple[int, ...] = (),
        cuts: tuple[int, ...] = (),
        recomputation: str = "none",
    ) -> Inside:
        made = Inside(
            self,
            len(self._regions),
            kind,
            self.region,
            line,
            self._module(module),
            arguments,
            hidden,
            cuts,
            recomputation,
        )
        self._regions.append(made)
        return made

    def _again(self) -> bool:
        """Whether what is drawn now is run again in backward."""
        number = self.region
        while number != NONE:
            inside = self._regions[number]
            if inside.recomputation != "none":
                return True
            number = inside.parent
        return False

    def _carried(self, inputs: tuple[int, ...]) -> bool:
        rows = [self._values[value] for value in inputs]
        return any(row.live if row.recomputed is None else row.recomputed for row in rows)

    def _module(self, name: str | None) -> int:
        if name is None:
            return NONE
        if name not in self._modules:
            self._modules.append(name)
        return self._modules.index(name)


def named(trace: Trace, parameters: Iterable[int]) -> str:
    """``a b``: the names of ``parameters``, sorted."""
    return " ".join(sorted(trace.parameters[index].fqn for index in parameters))


def breaks(trace: Trace) -> list[tuple[str, int, str, str]]:
    """(cause, line, who starves, who loses a part) of each break, as they are ranked."""
    return [
        (it.cause, it.frame, named(trace, it.starved), named(trace, it.partial))
        for it in chain_of(trace).breaks
    ]


def sets(trace: Trace) -> dict[str, str]:
    """The sets of the Chain that are not empty, by name."""
    chain: Chain = chain_of(trace)
    fields = (
        "starved",
        "partial",
        "unused",
        "empty",
        "scaled_to_zero",
        "unexplained",
        "lost",
        "guessed",
    )
    found = {name: named(trace, getattr(chain, name)) for name in fields}
    return {name: names for name, names in found.items() if names}


def waiting(trace: Trace) -> dict[str, str]:
    """Who waits for whom."""
    names = [p.fqn for p in trace.parameters]
    return {names[a]: names[b] for a, b in chain_of(trace).waiting.items()}
