"""A program: blocks of statements, and the Python source that they are, line by line."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from tests.property.programs.kinds import Kind, filled

CutKey = tuple[int, int]
"""(statement, number of the cut in its kind)."""

_HEAD = """\
from tests.property.programs.toolbox import *

WIDTH, DTYPE = {width}, torch.{dtype}

"""
_TAIL = """
def build():
    torch.default_generator.manual_seed(11)
    model = Block0()
    return model, {"x": torch.randn(3, WIDTH, dtype=DTYPE)}


def loss_fn(model, batch):
    return sum((h - 0.3).pow(2).mean() for h in model(batch["x"]))
"""
_LAYERS = {
    "l": "nn.Linear(WIDTH, WIDTH, dtype=DTYPE)",
    "z": "zeroed(nn.Linear(WIDTH, WIDTH, bias=False, dtype=DTYPE))",
    "e": 'bnb.nn.Linear8bitLt(WIDTH, WIDTH, bias=False, has_fp16_weights=False).to("cpu")',
    "f": 'bnb.nn.Linear4bit(WIDTH, WIDTH, bias=False, quant_type="nf4").to("cpu")',
    "g": "nn.GRU(WIDTH, WIDTH, batch_first=True, dtype=DTYPE)",
}
_PACKED = {
    "tuple": "return {values},",
    "list": "return [{values}]",
    "dictionary": "return {{{pairs}}}",
    "dataclass": "return Result(({values},))",
}
_UNPACKED = {"dictionary": ".values()", "dataclass": ".values"}


@dataclass(frozen=True)
class Layer:
    name: str
    letter: str
    frozen: str = ""
    """``all``, ``weight``, ``bias`` or nothing."""


@dataclass(frozen=True)
class Statement:
    kind: Kind
    out: int
    inputs: tuple[int, ...]
    layers: tuple[Layer, ...]
    healed: bool = False


@dataclass(frozen=True)
class Call:
    """A block called by another one."""

    kind: Kind
    block: "Block"
    style: str
    """How the block packs its results."""
    healed: bool = False


@dataclass(frozen=True)
class Block:
    number: int
    inputs: tuple[int, ...]
    body: tuple[Statement | Call, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Program:
    root: Block
    wide: bool = False
    """With layers of bitsandbytes: 64 wide and in single precision."""


@dataclass
class Cut:
    """A line that cuts, or may."""

    key: CutKey
    kind: Kind
    lines: set[int] = field(default_factory=set)
    """Lines on which it may be placed."""
    inside: tuple[CutKey, ...] = ()
    """Cuts of the calls around it, the outermost first."""
    around: tuple[Kind, ...] = ()
    """The calls around it."""
    threads: bool = False
    """Whether something inside runs on a thread of its own."""


@dataclass(frozen=True)
class Source:
    """A program's text, and its cuts in the order in which they run."""

    lines: tuple[tuple[str, str, CutKey | None], ...]
    """(as written, as healed, the cut that the line is healed with)."""
    cuts: tuple[Cut, ...]

    def text(self, active: frozenset[CutKey] | None = None) -> str:
        """The program with the cuts in ``active`` as written and all others healed; None: as it is."""
        return "".join(
            f"{broken if active is None or cut is None or cut in active else healed}\n"
            for broken, healed, cut in self.lines
        )


def source(program: Program) -> Source:
    """The source of ``program``."""
    writer = _Writer()
    writer.cuts_of(program.root, (), ())
    head = _HEAD.format(
        width=64 if program.wide else 4, dtype="float32" if program.wide else "float64"
    )
    writer.plain(head)
    writer.block(program.root, "tuple", wide=program.wide)
    writer.plain(_TAIL)
    return Source(tuple(writer.lines), tuple(writer.cuts.values()))


class _Writer:
    def __init__(self) -> None:
        self.lines: list[tuple[str, str, CutKey | None]] = []
        self.cuts: dict[CutKey, Cut] = {}
        self._late: dict[int, tuple[CutKey, ...]] = {}
        """Call of a block on a thread of its own -> the cuts inside, which may be seen where its results are used."""

    def cuts_of(self, block: Block, inside: tuple[CutKey, ...], path: tuple[Call, ...]) -> None:
        for item in block.body:
            keys = [] if item.healed else [(_uid(item), n) for n in range(item.kind.cuts)]
            for key in keys:
                self.cuts[key] = Cut(
                    key,
                    item.kind,
                    inside=inside,
                    around=tuple(it.kind for it in path),
                    threads=isinstance(item, Call)
                    and any("thread" in it.kind.name for it in statements(item.block)),
                )
                for call in path:
                    if "threaded" in call.kind.tags:
                        self._late[_uid(call)] = (*self._late.get(_uid(call), ()), key)
            if isinstance(item, Call):
                self.cuts_of(item.block, (*inside, *keys), (*path, item))

    def plain(self, text: str) -> None:
        self.lines += [(line, line, None) for line in text.rstrip("\n").split("\n")]

    def block(self, block: Block, style: str, *, wide: bool) -> None:
        for call in _calls(block):
            self.block(call.block, call.style, wide=wide)
        self.plain(f"\n\nclass Block{block.number}(nn.Module):\n    def __init__(self):")
        self.plain("        super().__init__()")
        for layer in dict.fromkeys(it for s in block.body for it in getattr(s, "layers", ())):
            self.plain(_made(layer))
        for call in _calls(block):
            self.plain(f"        self.b{call.block.number} = Block{call.block.number}()")
        scaled = wide and not block.number
        if scaled:
            self.plain("        self.scale = nn.Parameter(torch.full((1,), 0.9), False)")
        self.plain(f"\n    def forward(self, {_names(block.inputs)}):")
        if scaled:  # something that was frozen on purpose: without it GC105 speaks, and rightly
            self.plain("        v0 = v0 * self.scale")
        for item in block.body:
            self._item(item, wide=wide)
        values = _names(block.outputs)
        pairs = ", ".join(f'"{name}": {name}' for name in values.split(", "))
        self.plain("        " + _PACKED[style].format(values=values, pairs=pairs))

    def _item(self, item: Statement | Call, *, wide: bool) -> None:
        uid = _uid(item)
        words = _words(item, wide=wide)
        for line in item.kind.lines:
            broken, healed = ("        " + filled(it, words) for it in (line.broken, line.healed))
            if item.healed:
                broken = healed
            if line.names is not None and not item.healed:
                self.cuts[uid, line.names].lines.add(len(self.lines) + 1)
            cut = None if item.healed or line.cut is None else (uid, line.cut)
            self.lines.append((broken, healed, cut))
        if isinstance(item, Call):
            self._results(item, words["results"])

    def _results(self, call: Call, results: str) -> None:
        """Takes the results of a block apart; what comes from a thread or out of a container is used at once."""
        used = call.style in _UNPACKED or "threaded" in call.kind.tags
        unpacked = results + _UNPACKED.get(call.style, "")
        names = _names(call.block.outputs)
        values = f"(h * 1.0 for h in {unpacked})" if used else unpacked
        self.plain(f"        {names}, = {values}")
        if used:
            here = [(_uid(call), n) for n in range(call.kind.cuts) if not call.healed]
            for key in (*self._late.get(_uid(call), ()), *here):
                self.cuts[key].lines.add(len(self.lines))


def _uid(item: Statement | Call) -> int:
    return item.out if isinstance(item, Statement) else -item.block.number


def _calls(block: Block) -> list[Call]:
    return [item for item in block.body if isinstance(item, Call)]


def _names(values: tuple[int, ...]) -> str:
    return ", ".join(f"v{value}" for value in values)


def _words(item: Statement | Call, *, wide: bool) -> dict[str, str]:
    if isinstance(item, Call):
        inputs = item.block.inputs
        return {
            "t": f"t{item.block.number}b",
            "results": f"r{item.block.number}",
            "block": f"self.b{item.block.number}",
            "ins": _names(inputs),
            "init": _names(inputs[:-1]),
            "last": _names(inputs[-1:]),
        }
    values = dict(zip(item.kind.inputs, (f"v{value}" for value in item.inputs), strict=True))
    layers = dict(zip(item.kind.layers, (f"self.{it.name}" for it in item.layers), strict=True))
    tensor = "FloatTensor" if wide else "DoubleTensor"
    return {**values, **layers, "out": f"v{item.out}", "t": f"t{item.out}_", "Tensor": tensor}


def _made(layer: Layer) -> str:
    text = f"        self.{layer.name} = {_LAYERS[layer.letter]}"
    if layer.frozen == "all":
        return text + f"\n        self.{layer.name}.requires_grad_(False)"
    if layer.frozen:
        return text + f"\n        self.{layer.name}.{layer.frozen}.requires_grad_(False)"
    return text


def statements(block: Block) -> Iterator[Statement | Call]:
    """The statements of ``block`` and of the blocks it calls."""
    for item in block.body:
        yield item
        if isinstance(item, Call):
            yield from statements(item.block)


def changed(program: Program, root: Block) -> Program:
    """``program`` with another root."""
    return replace(program, root=root)
