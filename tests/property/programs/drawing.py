"""Random programs."""

import random

from tests.property.programs.kinds import Kind, catalog
from tests.property.programs.program import Block, Call, Layer, Program, Statement

_STYLES = ("tuple", "tuple", "tuple", "list", "dictionary", "dataclass")
_PLAIN_CALLS = frozenset({"call", "keyword"})
_FROZEN = ("", "", "", "", "all", "weight", "bias")
_DEEPEST = 2
_NUMBERS = frozenset({"inferred", "number"})


def drawn(seed: int, *, checkpoints: bool = False) -> Program:
    """The program of ``seed``; ``checkpoints``: half of its statements are checkpoints."""
    return _Drawing(random.Random(seed), checkpoints=checkpoints).program()


class _Drawing:
    def __init__(self, rng: random.Random, *, checkpoints: bool = False) -> None:
        self._rng = rng
        self._checkpoints = checkpoints
        self._values = 0
        self._seen: set[str] = set()
        """Tags of the kinds drawn so far."""
        self._reentrant = False
        """Whether a reentrant checkpoint surrounds what is drawn."""
        self._blocks = 0
        self._layers: dict[int, list[Layer]] = {}
        self._wide = rng.random() < 0.15
        self._share_of_cuts = rng.choice((0.25, 0.5) if checkpoints else (0.0, 0.06, 0.15, 0.3))

    def program(self) -> Program:
        root = self._block((0,), self._rng.randint(3, 9), depth=0, flat=True)
        return Program(root, wide=self._wide)

    def _block(self, inputs: tuple[int, ...], size: int, *, depth: int, flat: bool) -> Block:
        number = self._blocks
        self._blocks += 1
        available, body = list(inputs), list[Statement | Call]()
        if depth == 0 and self._rng.random() < 0.7:  # most of what follows has something to lose
            body.append(self._first(number))
            available += _made(body[0])
        for _ in range(size):
            if depth < _DEEPEST and size > 2 and self._rng.random() < 0.2:
                item = self._call(available, depth=depth, flat=flat)
                made = item.block.outputs
            else:
                item = self._statement(number, available, flat=flat)
                made = (item.out,)
            body.append(item)
            available += made
        return Block(number, inputs, tuple(body), self._outputs(inputs, body))

    def _first(self, block: int) -> Statement:
        self._values += 1
        kind = next(it for it in catalog("plain") if it.name == "linear_tanh")
        return Statement(kind, self._values, (0,), (self._layer(block, "l0"),))

    def _outputs(self, inputs: tuple[int, ...], body: list[Statement | Call]) -> tuple[int, ...]:
        """What nothing in the block reads, now and then one of these dropped."""
        made = [v for item in body for v in _made(item)]
        read = {v for item in body for v in _read(item)}
        loose = [value for value in made if value not in read]
        if len(loose) > 1 and self._rng.random() < 0.05:
            loose.remove(self._rng.choice(loose[:-1]))
        return tuple(loose)

    def _some(self, available: list[int]) -> int:
        """Mostly what was made last, so that chains are long."""
        return available[-1] if self._rng.random() < 0.6 else self._rng.choice(available)

    def _call(self, available: list[int], *, depth: int, flat: bool) -> Call:
        number = self._rng.choice((1, 1, 2, 2, 3))
        inputs = tuple(dict.fromkeys(self._some(available) for _ in range(number)))
        kinds = [it for it in catalog("blocks") if len(inputs) > 1 or "last" not in it.inputs]
        kind = self._kind(kinds)
        size = self._rng.randint(1, 4)
        flat = flat and kind.name in _PLAIN_CALLS
        outer, self._reentrant = self._reentrant, self._reentrant or "reentrant" in kind.name
        block = self._block(inputs, size, depth=depth + 1, flat=flat)
        self._reentrant = outer
        return Call(kind, block, self._rng.choice(_STYLES))

    def _kind(self, kinds: list[Kind]) -> Kind:
        """One that may cut, as often as this program is to have them, or one that does not."""
        cutting = self._rng.random() < self._share_of_cuts
        known = [kind for kind in kinds if self._is_clear(kind)]
        fit = [kind for kind in known if bool(kind.cuts) is cutting] or known
        return self._rng.choices(fit, [_weight(kind) for kind in fit])[0]

    def _is_clear(self, kind: Kind) -> bool:
        """Whether plain torch and gradcheck can know what is so of ``kind`` beside what was drawn before.

        Where it left torch is settled by asking whether the loss depends on it. So two things are not covered: numbers
        with which the loss moves in steps, and several arrays that nobody knows again, or such ones inside a reentrant
        checkpoint.
        """
        if kind.tags & _NUMBERS and "steps" in self._seen:
            return False
        if "steps" in kind.tags and _NUMBERS & self._seen:
            return False
        return "inferred" not in kind.tags or not (self._reentrant or "inferred" in self._seen)

    def _statement(self, block: int, available: list[int], *, flat: bool) -> Statement:
        files = ["plain", "cuts", "checkpoints"]
        if self._wide and self._rng.random() < 0.45:
            files = ["quantized"]
        elif self._checkpoints and self._rng.random() < 0.5:
            files = ["checkpoints"]
        kinds = [it for file in files for it in catalog(file) if flat or "flat" not in it.tags]
        kind = self._kind(kinds)
        self._seen |= kind.tags
        inputs = tuple(self._some(available) for _ in kind.inputs)
        if "apart" in kind.tags and len(set(inputs)) < len(inputs):
            if len(available) < len(inputs):
                return self._statement(block, available, flat=flat)
            inputs = tuple(self._rng.sample(available, len(inputs)))
        layers = tuple(self._layer(block, letter) for letter in kind.layers)
        self._values += 1
        return Statement(kind, self._values, inputs, layers)

    def _layer(self, block: int, letter: str) -> Layer:
        """A new layer of the block, or, now and then, one that it has."""
        layers = self._layers.setdefault(block, [])
        shared = [layer for layer in layers if layer.letter == letter[0] == "l"]
        if shared and self._rng.random() < 0.08:
            return self._rng.choice(shared)
        frozen = self._rng.choice(_FROZEN) if letter[0] == "l" else ""
        layer = Layer(f"l{len(layers)}", letter[0], frozen)
        layers.append(layer)
        return layer


def _weight(kind: Kind) -> float:
    return 4 if "often" in kind.tags else 0.2 if "rare" in kind.tags else 1


def _made(item: Statement | Call) -> tuple[int, ...]:
    return (item.out,) if isinstance(item, Statement) else item.block.outputs


def _read(item: Statement | Call) -> tuple[int, ...]:
    return item.inputs if isinstance(item, Statement) else item.block.inputs


def one(kind: Kind, *, last: bool = False) -> Program:
    """A program around one statement of ``kind``: layers before it and, unless it is the ``last``, one after it."""
    linear = next(it for it in catalog("plain") if it.name == "linear_tanh")
    residual = next(it for it in catalog("plain") if it.name == "residual")

    def plain(of: Kind, number: int, read: int) -> Statement:
        return Statement(of, number, (read,), (Layer(f"p{number}", "l"),))

    first = [plain(linear, number, 0) for number in range(1, len(kind.inputs) + 1)]
    layers = tuple(Layer(f"l{at}", letter[0]) for at, letter in enumerate(kind.layers))
    middle = Statement(kind, 4, tuple(range(1, len(kind.inputs) + 1)), layers)
    body = (*first, middle) if last else (*first, middle, plain(residual, 5, 4))
    wide = any(it[0] in "ef" for it in kind.layers)
    return Program(Block(0, (0,), body, (body[-1].out,)), wide=wide)
