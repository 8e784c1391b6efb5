"""The version of transformers that a script asks for in its own metadata (PEP 723)."""

import re

from gradcheck.editing.scripts.text import NEWLINE

BLOCK = re.compile(r"^# /// script\s*$(.*?)^# ///\s*$", re.MULTILINE | re.DOTALL)
PIN = re.compile(r"""["']transformers\s*(?:\[[^\]]*\])?\s*(?:==|>=|~=)\s*(\d+(?:\.\d+)*)""")
UPPER = re.compile(r"""["']transformers[^"']*<\s*(\d+(?:\.\d+)*)""")


def pinned_transformers(text: str) -> str | None:
    """The version that decides what its defaults are; None where the script leaves it open.

    # /// script
    # dependencies = ["transformers==4.57.1"]
    # ///
    """
    block = BLOCK.search(NEWLINE.sub("\n", text))
    if block is None:
        return None
    lowest, upper = PIN.search(block[1]), UPPER.search(block[1])
    if upper is not None and _numbers(upper[1]) <= (5, 0):
        return lowest[1] if lowest else "4"
    if lowest is None:
        return None
    exact = "==" in lowest[0] or "~=" in lowest[0]
    return lowest[1] if exact or _numbers(lowest[1]) >= (5,) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
