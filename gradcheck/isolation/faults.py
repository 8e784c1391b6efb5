"""Where a process was when it was stopped or died: what faulthandler wrote, as frames."""

import importlib.util
import linecache
import os
import re
import sysconfig

from gradcheck.trace.rows import Frame
from gradcheck.version import PACKAGE_FOLDER

_FRAME = re.compile(r'^  File "(?P<file>.+)", line (?P<line>\d+) in (?P<function>.+)$')
_STDLIB = os.path.abspath(sysconfig.get_paths()["stdlib"]) + os.sep


def frames(dump: str) -> tuple[Frame, ...]:
    """The frames of the thread that was running, innermost first; none where the dump names none."""
    found: list[Frame] = []
    inside = False
    for line in dump.splitlines():
        if line.startswith(("Current thread", "Thread")):
            if found:
                break
            inside = line.startswith("Current thread")
        elif inside and (match := _FRAME.match(line)):
            found.append(_frame(match["file"], int(match["line"]), match["function"]))
    return tuple(found)


def nearest(found: tuple[Frame, ...]) -> Frame | None:
    """The innermost frame outside torch, this package and the standard library, which is where a wait ends up."""
    inner = (frame for frame in found if not _is_plumbing(frame.file))
    return next(inner, None)


def nearest_user(found: tuple[Frame, ...]) -> Frame | None:
    """The innermost frame outside installed packages, or else outside torch."""
    own = (frame for frame in found if not frame.library and not _is_plumbing(frame.file))
    return next(own, nearest(found))


def _frame(file: str, line: int, function: str) -> Frame:
    text = linecache.getline(file, line).strip()
    return Frame(file=file, line=line, function=function, text=text, library=_is_library(file))


def _is_plumbing(file: str) -> bool:
    """Frames that only pass a call on: torch's own, ours, the standard library's."""
    roots = (_package_folder("torch"), PACKAGE_FOLDER, "<")
    return file.startswith(roots) or (file.startswith(_STDLIB) and "site-packages" not in file)


def _package_folder(name: str) -> str:
    """The folder of an installed package, which is not imported for it."""
    spec = importlib.util.find_spec(name)
    places = spec.submodule_search_locations if spec else None
    return f"{next(iter(places))}{os.sep}" if places else os.sep * 2


def _is_library(file: str) -> bool:
    installed = os.path.abspath(sysconfig.get_paths()["purelib"]) + os.sep
    return file.startswith((_STDLIB, installed, "<")) or "site-packages" in file
