"""Runs a script as ``python script.py`` would, in this process."""

import contextlib
import importlib
import json
import linecache
import runpy
import sys
import types
from collections.abc import Iterator, Sequence
from pathlib import Path

from gradcheck.errors import TargetError


def check_program(name: str, *, module: bool) -> None:
    """Refuses a script that is not there.

    Raises:
        TargetError: where it is missing, or is no Python file or notebook.
    """
    if module:
        return
    path = Path(name).expanduser()
    if path.is_dir() and (path / "__main__.py").is_file():
        return
    if not path.is_file():
        raise TargetError(f"{name} does not exist; check the path and the working directory")
    if path.suffix not in (".py", ".ipynb"):
        raise TargetError(
            f"{name} is no Python script; give a .py file, a notebook, or -m and the name of a module"
        )


def run_program(name: str, arguments: Sequence[str], *, module: bool = False) -> None:
    """Runs a script, a notebook's code cells, or with ``module`` what ``python -m`` runs, as ``__main__``.

    What it raises is raised, ``SystemExit`` included.
    """
    folder = Path.cwd() if module else Path(name).expanduser().resolve().parent
    with as_program(name, *arguments), importable(folder):
        if module:
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        elif name.endswith(".ipynb"):
            _run_cells(Path(name).expanduser().resolve())
        else:
            runpy.run_path(str(Path(name).expanduser()), run_name="__main__")


@contextlib.contextmanager
def as_program(name: str, *arguments: str) -> Iterator[None]:
    """Has ``sys.argv`` hold ``name`` and its own arguments: the user's code, which may parse it, is not given ours."""
    before = sys.argv
    sys.argv = [name, *arguments]
    try:
        yield
    finally:
        sys.argv = before


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Puts ``folder`` first on the import path, as ``python file.py`` does, and restores the path."""
    path = list(sys.path)
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path[:] = path


def _run_cells(path: Path) -> None:
    main = types.ModuleType("__main__")
    main.__file__ = str(path)
    before, sys.modules["__main__"] = sys.modules["__main__"], main
    try:
        for number, source in enumerate(_code_cells(path), 1):
            file = f"{path}#cell{number}"
            lines = source.splitlines(keepends=True)
            linecache.cache[file] = (len(source), None, lines, file)
            exec(compile(source, file, "exec"), main.__dict__)  # noqa: S102 (the user's own notebook)
    finally:
        sys.modules["__main__"] = before


def _code_cells(path: Path) -> Iterator[str]:
    """The code of a notebook, without magics and shell commands, which only IPython understands."""
    for cell in json.loads(path.read_text("utf-8")).get("cells", ()):
        if cell.get("cell_type") != "code":
            continue
        source = "".join(cell["source"])
        if not source.lstrip().startswith("%%"):
            yield "\n".join(
                "pass" if line.lstrip().startswith(("%", "!")) and line == line.lstrip() else line
                for line in source.split("\n")
            )
