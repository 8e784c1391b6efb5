"""Random module graphs, and what follows from their construction alone.

A graph is plain data (``GraphSpec``). Its steps expand into operations that read and make named values; some are cuts.
Which parameters starve, and on which lines their paths are cut, is read off the paths from parameter to loss; torch is
not asked.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from hypothesis import strategies as st

Node = tuple[int, str]
"""(step, value inside the step)."""


@dataclass(frozen=True)
class Op:
    """One operation inside a step: ``out`` is made from ``reads``."""

    reads: tuple[str, ...]
    out: str = "out"
    cut: str = ""
    """Name of the cut, where it is one: no gradient passes from what it reads to what it makes."""
    soft: bool = False
    """The result still claims to require a gradient: the gradient that passes is zero or None."""
    leaf: bool = False
    """The result is a new leaf that requires a gradient."""


@dataclass(frozen=True)
class Kind:
    """A kind of step: its name is that of its function in ``steps.py``."""

    num_inputs: int
    num_layers: int
    ops: tuple[Op, ...]
    reentrant: bool = False
    """The step is one reentrant checkpoint: cut where no input requires a gradient."""


def _plain(num_inputs: int, num_layers: int = 0) -> Kind:
    reads = [f"x{i}" for i in range(num_inputs)] + [f"layer{i}" for i in range(num_layers)]
    return Kind(num_inputs, num_layers, (Op(tuple(reads)),))


def _cut(name: str, num_layers: int = 0, *, soft: bool = False, leaf: bool = False) -> Kind:
    reads = ("x0", *(f"layer{i}" for i in range(num_layers)))
    return Kind(1, num_layers, (Op(reads, cut=name, soft=soft, leaf=leaf),))


_DETACHED_INSIDE = (Op(("x0", "layer0"), "h"), Op(("h",), "d", "inner_detach"), Op(("d", "layer1")))

KINDS: dict[str, Kind] = {
    "linear": _plain(1, 1),
    "smooth": _plain(1),
    "add": _plain(2),
    "gate": _plain(2),
    "residual": _plain(1, 1),
    "concatenate": _plain(2, 1),
    "adapter": _plain(1, 2),
    "write_in_place": _plain(2),
    "copy_into_buffer": _plain(1),
    "write_through_view": _plain(2),
    "write_through_view_of_cut": Kind(
        2, 0, (Op(("x0",), "d", "write_through_view_of_cut"), Op(("d", "x1")))
    ),
    "select_by_index": _plain(1),
    "shape_only": Kind(1, 0, (Op(()),)),
    "no_grad_statistics": _plain(1),
    "straight_through": _plain(1),
    "non_reentrant": _plain(1, 2),
    "detach": _cut("detach"),
    "data": _cut("data"),
    "reattach": _cut("reattach", leaf=True),
    "detached_weight": Kind(
        1, 1, (Op(("layer0.weight",), "w", "detached_weight"), Op(("x0", "w", "layer0.bias")))
    ),
    "no_grad_block": _cut("no_grad_block", 1),
    "no_grad_function": _cut("no_grad_function"),
    "inference_block": _cut("inference_block", 1),
    "item": _cut("item"),
    "tolist": _cut("tolist"),
    "numpy": _cut("numpy"),
    "argmax": _cut("argmax"),
    "compare": _cut("compare"),
    "integer_cast": _cut("integer_cast"),
    "sample": _cut("sample"),
    "choose": Kind(3, 0, (Op(("x0",), "condition", "choose"), Op(("condition", "x1", "x2")))),
    "rounded": _cut("rounded", soft=True),
    "sign": _cut("sign", soft=True),
    "straight_through_detach": Kind(
        1, 0, (Op(("x0",), "d", "straight_through_detach"), Op(("x0", "d")))
    ),
    "function_not_differentiable": _cut("function_not_differentiable"),
    "function_returns_none": _cut("function_returns_none", soft=True),
    "reentrant": Kind(1, 1, (Op(("x0", "layer0")),), reentrant=True),
    "reentrant_function": Kind(1, 2, (Op(("x0", "layer0", "layer1")),), reentrant=True),
    "reentrant_two_inputs": Kind(2, 1, (Op(("x0", "x1", "layer0")),), reentrant=True),
    "reentrant_inner_detach": Kind(1, 2, _DETACHED_INSIDE, reentrant=True),
    "non_reentrant_inner_detach": Kind(1, 2, _DETACHED_INSIDE),
}
PLAIN = tuple(kind for kind, entry in KINDS.items() if not entry.reentrant
              and not any(op.cut for op in entry.ops))  # fmt: skip
OFTEN = (*PLAIN, *["linear", "residual", "add", "reentrant_function"] * 2)
CUTS = tuple(kind for kind in KINDS if kind not in PLAIN)


@dataclass(frozen=True)
class LayerSpec:
    """A linear layer of the pool."""

    weight: bool
    """Whether the weight trains."""
    bias: bool
    zero: bool = False
    """Initialized to zero, as lora_B is."""


@dataclass(frozen=True)
class StepSpec:
    kind: str
    inputs: tuple[int, ...]
    """Values read: -1 is the batch, i the output of step i."""
    layers: tuple[int, ...]
    """Layers of the pool."""


@dataclass(frozen=True)
class GraphSpec:
    layers: tuple[LayerSpec, ...]
    steps: tuple[StepSpec, ...]
    sinks: tuple[int, ...]
    """Steps whose outputs make the loss."""


@dataclass
class Construction:
    """What follows from a graph's construction."""

    edges: dict[Node, list[Node]] = field(default_factory=dict)
    cuts: dict[Node, tuple[str, bool]] = field(default_factory=dict)
    """Operations that cut, by what they make: (name, soft)."""
    live: set[Node] = field(default_factory=set)
    """What requires a gradient."""
    parameters: dict[str, Node] = field(default_factory=dict)
    """Trainable parameters by FQN."""
    reaching: set[Node] = field(default_factory=set)
    """What has a data-flow path to the loss."""

    @property
    def used(self) -> set[str]:
        """Trainable parameters with a data-flow path to the loss."""
        return {fqn for fqn, node in self.parameters.items() if node in self.reaching}

    @property
    def unused(self) -> set[str]:
        return set(self.parameters) - self.used

    @property
    def healthy(self) -> set[str]:
        """Trainable parameters with a path on which nothing cuts."""
        return {fqn for fqn in self.used if LOSS in self._from(self.parameters[fqn], across=False)}

    @property
    def starved(self) -> set[str]:
        return self.used - self.healthy

    def cuts_of(self, fqn: str) -> set[str]:
        """Names of the cuts that the paths from a parameter to the loss run into.

        A hard cut ends its path; past a soft one the tensors still require a gradient, so a later cut may be named too.
        """
        passed = self._from(self.parameters[fqn], across=True)
        return {self.cuts[node][0] for node in passed & set(self.cuts) & self.reaching}

    def _from(self, start: Node, *, across: bool) -> set[Node]:
        """Nodes that a gradient reaches (not ``across``), or that a tensor requiring one reaches or ends in."""
        seen, stack = {start}, [start]
        while stack:
            node = stack.pop()
            for target in self.edges.get(node, ()):
                cut = self.cuts.get(target)
                if target in seen or (cut and not across):
                    continue
                seen.add(target)
                if not cut or cut[1]:
                    stack.append(target)
        return seen


LOSS: Node = (10_000, "loss")


def constructed(spec: GraphSpec) -> Construction:
    """What follows from the construction of ``spec``."""
    result = Construction()
    first_use: dict[int, str] = {}
    for index, step in enumerate(spec.steps):
        for position, layer in enumerate(step.layers):
            first_use.setdefault(layer, f"steps.{index}.layers.{position}")
        _expand(result, spec, index)
    for layer, prefix in first_use.items():
        for name in ("weight", "bias"):
            if getattr(spec.layers[layer], name):
                result.parameters[f"{prefix}.{name}"] = _parameter(layer, name)
    for sink in spec.sinks:
        _connect(result, _output(sink), LOSS)
    result.reaching = _reaching(result.edges)
    return result


def _parameter(layer: int, name: str) -> Node:
    return (-2 - layer, name)


def _output(step: int) -> Node:
    return (step, "result")


def _connect(result: Construction, source: Node, target: Node) -> None:
    result.edges.setdefault(source, []).append(target)


def _expand(result: Construction, spec: GraphSpec, index: int) -> None:
    step = spec.steps[index]
    kind = KINDS[step.kind]
    inputs_live = any(_output(i) in result.live for i in step.inputs)
    for op in kind.ops:
        node = (index, op.out)
        sources = [s for name in op.reads for s in _sources(spec, index, name)]
        for source in sources:
            _connect(result, source, node)
        if op.cut:
            result.cuts[node] = (op.cut, op.soft or kind.reentrant)
        live = any(s in result.live or _trains(spec, s) for s in sources)
        if op.leaf or (live and (op.soft or not op.cut)):
            result.live.add(node)
    end = _output(index)
    _connect(result, (index, "out"), end)
    if kind.reentrant and not inputs_live:
        result.cuts[end] = (step.kind, False)
    elif (index, "out") in result.live or kind.reentrant:
        result.live.add(end)


def _sources(spec: GraphSpec, index: int, name: str) -> Iterator[Node]:
    step = spec.steps[index]
    head, _, tail = name.partition(".")
    if head.startswith("x"):
        yield _output(step.inputs[int(head[1:])])
    elif head.startswith("layer"):
        layer = step.layers[int(head[5:])]
        yield from (_parameter(layer, part) for part in ([tail] if tail else ["weight", "bias"]))
    else:
        yield (index, head)


def _trains(spec: GraphSpec, node: Node) -> bool:
    return node[0] <= -2 and bool(getattr(spec.layers[-2 - node[0]], node[1]))


def _reaching(edges: dict[Node, list[Node]]) -> set[Node]:
    backwards: dict[Node, list[Node]] = {}
    for source, targets in edges.items():
        for target in targets:
            backwards.setdefault(target, []).append(source)
    seen, stack = {LOSS}, [LOSS]
    while stack:
        for source in backwards.get(stack.pop(), ()):
            if source not in seen:
                seen.add(source)
                stack.append(source)
    return seen


def graph_specs(*, most_steps: int = 9, most_cuts: int = 3) -> st.SearchStrategy[GraphSpec]:
    """Graphs of plain steps with up to ``most_cuts`` cuts among them, whose backward runs to its end."""
    return _graph_specs(most_steps=most_steps, most_cuts=most_cuts).filter(_recomputable)


def _recomputable(spec: GraphSpec) -> bool:
    """No reentrant block that backward comes to leaves nothing to differentiate: torch raises there."""
    live = constructed(spec).live
    return all(
        (index, "out") in live or _output(index) not in live
        for index, step in enumerate(spec.steps)
        if KINDS[step.kind].reentrant
    )


@st.composite
def _graph_specs(draw: st.DrawFn, *, most_steps: int, most_cuts: int) -> GraphSpec:
    num_steps = draw(st.integers(2, most_steps))
    num_cuts = min(num_steps, draw(st.sampled_from([0, *range(1, most_cuts + 1)] * 2 + [1])))
    places = draw(st.permutations(range(num_steps)))[:num_cuts]
    layers: list[LayerSpec] = []
    steps: list[StepSpec] = []
    for index in range(num_steps):
        name = draw(st.sampled_from(CUTS if index in places else OFTEN))
        kind = KINDS[name]
        # mostly the step before, so that chains are long; -1 is the batch
        recent = st.one_of(st.just(index - 1), st.integers(-1, index - 1))
        inputs = tuple(draw(recent) for _ in range(kind.num_inputs))
        chosen = tuple(_layer(draw, layers, name, position) for position in range(kind.num_layers))
        steps.append(StepSpec(name, inputs, chosen))
    extra = draw(st.sets(st.integers(0, num_steps - 1), max_size=2))
    return GraphSpec(tuple(layers), tuple(steps), tuple(sorted({num_steps - 1, *extra})))


def _layer(draw: st.DrawFn, layers: list[LayerSpec], kind: str, position: int) -> int:
    """Index of a new layer of the pool, or of one that an earlier step has."""
    shareable = [i for i, layer in enumerate(layers) if not layer.zero]
    if shareable and draw(st.integers(0, 9)) == 0:
        return draw(st.sampled_from(shareable))
    weight, bias = draw(st.sampled_from([(True, True), (True, True), (True, False), (False, True),
                                         (False, False)]))  # fmt: skip
    zero = kind == "adapter" and position == 1 and weight and bias
    layers.append(LayerSpec(weight, bias, zero))
    return len(layers) - 1
