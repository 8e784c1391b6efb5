"""Looks for programs of which gradcheck says what plain torch does not: ``python -m tests.property.programs 0 500``.

Each one found is made as small as it gets and printed, line by line. ``python -m tests.property.programs KIND`` takes
a small program around one kind of statement.
"""

import sys
import warnings
from collections.abc import Iterator

import torch

from tests.property.programs.comparing import problems, shown
from tests.property.programs.drawing import drawn, one
from tests.property.programs.kinds import everything
from tests.property.programs.program import Program
from tests.property.programs.shrinking import shrunk


def _programs(words: list[str]) -> Iterator[tuple[str, Program]]:
    if words and words[0].isdigit():
        for seed in range(int(words[0]), int(words[-1]) + (len(words) == 1)):
            yield str(seed), drawn(seed)
        return
    for kind in everything():
        if "ins" not in kind.inputs and (not words or kind.name in words):
            yield kind.name, one(kind)
            yield f"{kind.name}, last", one(kind, last=True)


def main() -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = number = 0
    for name, program in _programs(sys.argv[1:]):
        number += 1
        if not problems(program):
            continue
        found += 1
        small = shrunk(program, lambda it: bool(problems(it)))
        print(f"---- {name}", *problems(small) or (), shown(small), sep="\n")
    print(f"{found} of {number}")


main()
