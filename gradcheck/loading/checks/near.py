"""What somebody may have meant who typed something else."""

import difflib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

_MAX_ENTRIES = 2000
"""Of a folder that is searched for a name like the one that is not there."""


def near(name: str, names: Iterable[str]) -> str:
    """The one of ``names`` that is most like ``name``; empty where none is like it."""
    return next(iter(difflib.get_close_matches(name, list(names), n=1)), "")


def did_you_mean(found: str) -> str:
    """``; did you mean train.py?``; empty where there is nothing to propose."""
    return f"; did you mean {found}?" if found else ""


def near_path(name: str) -> str:
    """A path beside ``name`` that is there and is written much like it, as it would be typed; empty for none."""
    path = Path(name).expanduser()
    try:
        with os.scandir(path.parent) as entries:
            names = [entry.name for entry in islice(entries, _MAX_ENTRIES)]
    except OSError:
        return ""
    alike = [other for other in names if Path(other).suffix == path.suffix]
    found = near(path.name, alike)
    typed = name.rstrip("/\\")
    return f"{typed[: len(typed) - len(path.name)]}{found}" if found else ""
