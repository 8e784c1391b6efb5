"""Hand-made Traces: a small model of four modules, and what a test wants different in it."""

from dataclasses import replace

from gradcheck.findings.finding import Finding
from gradcheck.findings.rule import RULES
from gradcheck.judging.chain import Chain, ChainBreak
from gradcheck.judging.judge import judge
from gradcheck.trace.events import Failure, Loss
from gradcheck.trace.model import Environment, Parameter
from gradcheck.trace.rows import NONE, Call, Frame, Module, Value
from gradcheck.trace.trace import Trace

ROOT, EMBED, BLOCK, HEAD = range(4)
"""Modules; each of the last three owns one parameter, of the same order: 0, 1, 2."""
EMBED_WEIGHT, BLOCK_WEIGHT, HEAD_WEIGHT = range(3)
HIDDEN, LOSS = 3, 4
"""Values: those of the three parameters come first."""


def module(fqn: str, *parameters: int, **fields: object) -> Module:
    known = {"type": "torch.nn.Linear", "training": True, "num_calls": 1, **fields}
    return Module(fqn=fqn, parameters=parameters, **known)  # type: ignore[arg-type]


def parameter(fqn: str, owner: int, **fields: object) -> Parameter:
    known = {
        "shape": (8, 8),
        "dtype": "float32",
        "num_elements": 64,
        "quantized": False,
        "requires_grad": True,
        "requires_grad_after": True,
        "gradient": "flows",
        "grad_norm": 1.0,
        **fields,
    }
    return Parameter(fqn=fqn, module=owner, **known)  # type: ignore[arg-type]


def frame(text: str = "h = self.block(h)", line: int = 12, **fields: object) -> Frame:
    known = {"file": "model.py", "function": "forward", "library": False, **fields}
    return Frame(line=line, text=text, **known)  # type: ignore[arg-type]


def value(call: int = NONE, owner: int = NONE, **fields: object) -> Value:
    known = {
        "shape": (2, 8),
        "dtype": "float32",
        "live": True,
        "recomputed": None,
        "zero": False,
        "inference": False,
        **fields,
    }
    return Value(call=call, parameter=owner, **known)  # type: ignore[arg-type]


def call(op: str, inputs: tuple[int, ...], outputs: tuple[int, ...], **fields: object) -> Call:
    known = {"frame": 0, "module": BLOCK, "region": NONE, "switch": NONE, "kind": "op", **fields}
    return Call(op, inputs, outputs, **known)  # type: ignore[arg-type]


def failure(message: str, **fields: object) -> Failure:
    known = {
        "stage": "forward",
        "type": "RuntimeError",
        "frame": 0,
        "user_frame": NONE,
        "module": BLOCK,
        "call": NONE,
        **fields,
    }
    return Failure(message=message, **known)  # type: ignore[arg-type]


def broken(cause: str, **fields: object) -> ChainBreak:
    known = {
        "call": 0,
        "frame": 0,
        "module": BLOCK,
        "region": NONE,
        "switch": NONE,
        "value": HIDDEN,
        "starved": frozenset({BLOCK_WEIGHT}),
        "partial": frozenset(),
        **fields,
    }
    return ChainBreak(cause=cause, **known)  # type: ignore[arg-type]


def judge_as(given: Trace, judged: Chain) -> None:
    """From now on ``judged`` is what the graphs of ``given`` come to."""
    given.__dict__["_answers"] = {judge: judged}


def chain(*breaks: ChainBreak, **fields: object) -> Chain:
    known = {
        "starved": frozenset(i for b in breaks for i in b.starved),
        "unused": frozenset(),
        "partial": frozenset(i for b in breaks for i in b.partial),
        "waiting": {},
        "empty": frozenset(),
        "scaled_to_zero": frozenset(),
        "disagreements": (),
        "unexplained": frozenset(),
        **fields,
    }
    return Chain(breaks=breaks, **known)  # type: ignore[arg-type]


def trace(judged: Chain | None = None, **fields: object) -> Trace:
    """A healthy Trace with ``fields`` put in its place; ``judged`` stands for what its graphs say."""
    healthy = Trace(
        environment=Environment(versions=(), python="3.11", platform="", device="cpu"),
        setup=(),
        seed=0,
        modules=(
            module("", type="Net"),
            module("embed", EMBED_WEIGHT, type="torch.nn.Embedding"),
            module("block", BLOCK_WEIGHT),
            module("head", HEAD_WEIGHT),
        ),
        parameters=(
            parameter("embed.weight", EMBED),
            parameter("block.weight", BLOCK),
            parameter("head.weight", HEAD),
        ),
        frames=(frame(), frame("loss.requires_grad_(True)", 30), frame("def", 40, library=True)),
        values=(value(owner=0), value(owner=1), value(owner=2), value(0), value(1, shape=())),
        calls=(
            call("torch.nn.functional.linear", (0, 1), (HIDDEN,)),
            call("torch.nn.functional.cross_entropy", (HIDDEN, 2), (LOSS,), module=ROOT),
        ),
        regions=(),
        switches=(),
        loss=Loss(
            value=LOSS, number=1.0, requires_grad=True, is_leaf=False, is_tensor=True, frame=0
        ),
        backward_ran=True,
        failure=None,
        batch=(),
    )
    changed = replace(healthy, **fields)  # type: ignore[arg-type]
    if judged is not None:
        judge_as(changed, judged)
    return changed


def findings(code: str, given: Trace) -> list[Finding]:
    return list(RULES.all()[code].function(given))


def only(code: str, given: Trace) -> Finding:
    (found,) = findings(code, given)
    return found
