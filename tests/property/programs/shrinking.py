"""Makes a failing program smaller while it still fails."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from tests.property.programs.kinds import kind
from tests.property.programs.program import Block, Call, Program, Statement

_MOST_TRIES = 150


def shrunk(program: Program, fails: Callable[[Program], bool]) -> Program:
    """The smallest program found that ``fails`` too."""
    tries = 0
    while tries < _MOST_TRIES:
        for smaller in _smaller(program.root):
            tries += 1
            candidate = replace(program, root=smaller)
            if fails(candidate):
                program = candidate
                break
            if tries >= _MOST_TRIES:
                return program
        else:
            return program
    return program


def _smaller(block: Block) -> Iterator[Block]:
    """``block`` with one thing less, what takes most away first."""
    for at in range(len(block.body) - 1, -1, -1):
        yield from _without(block, at)
    for at, item in enumerate(block.body):
        for simpler in _simpler(item):
            yield _put(block, at, simpler)
    if len(block.outputs) > 1:
        for output in block.outputs:
            yield replace(block, outputs=tuple(o for o in block.outputs if o != output))


def _without(block: Block, at: int) -> Iterator[Block]:
    """Without a statement: what read it reads one of its inputs."""
    item = block.body[at]
    made = (item.out,) if isinstance(item, Statement) else item.block.outputs
    read = item.inputs if isinstance(item, Statement) else item.block.inputs
    rest = block.body[:at] + block.body[at + 1 :]
    for source in dict.fromkeys(read):
        names = dict.fromkeys(made, source)
        outputs = tuple(dict.fromkeys(names.get(value, value) for value in block.outputs))
        body = tuple(_renamed(it, names) for it in rest)
        if set(outputs) <= set(block.inputs):
            continue
        yield replace(block, body=body, outputs=outputs)


def _renamed(item: Statement | Call, names: dict[int, int]) -> Statement | Call:
    if isinstance(item, Statement):
        inputs = tuple(names.get(value, value) for value in item.inputs)
        alike = "apart" in item.kind.tags and len(set(inputs)) < len(inputs)
        return replace(item, inputs=inputs, kind=kind("add") if alike else item.kind)
    block = _renamed_in(item.block, names)
    alone = len(block.inputs) < 2 and "last" in item.kind.inputs
    return replace(item, block=block, kind=kind("call") if alone else item.kind)


def _renamed_in(block: Block, names: dict[int, int]) -> Block:
    inputs = tuple(dict.fromkeys(names.get(value, value) for value in block.inputs))
    outputs = tuple(dict.fromkeys(names.get(value, value) for value in block.outputs))
    body = tuple(_renamed(item, names) for item in block.body)
    return replace(block, inputs=inputs, outputs=outputs, body=body)


def _simpler(item: Statement | Call) -> Iterator[Statement | Call]:
    if item.kind.cuts and not item.healed:
        yield replace(item, healed=True)
    if isinstance(item, Statement):
        if item.kind.name != "linear" and len(item.layers) == 1 == len(item.inputs):
            yield replace(item, kind=kind("linear"), healed=False)
        return
    if item.kind.name != "call":
        yield replace(item, kind=kind("call"), healed=False)
    if item.style != "tuple":
        yield replace(item, style="tuple")
    for smaller in _smaller(item.block):
        if smaller.outputs == item.block.outputs:
            yield replace(item, block=smaller)


def _put(block: Block, at: int, item: Statement | Call) -> Block:
    return replace(block, body=(*block.body[:at], item, *block.body[at + 1 :]))
