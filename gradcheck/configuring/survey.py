"""What in a repository could be a target of a gate: files are read, never run."""

import ast
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["model", "adapter", "factory", "hub", "script"]

_PASSED_OVER = frozenset(
    {"node_modules", "site-packages", "__pycache__", "build", "dist", "wandb", "runs", "tests"}
)
_MAX_FOLDERS = 4000
_MAX_BYTES = 2**20
"""A longer file is no source that somebody wrote."""
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MODEL = re.compile(r"(.*_)?(model|net|network)s?", re.IGNORECASE)
_BATCH = re.compile(r"(.*_)?(batch|inputs|example|encoding|encoded)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """Something that could be checked."""

    kind: Kind
    target: str
    """As a target is written, relative to the repository; of a script its path."""
    needs: tuple[str, ...] = ()
    """Arguments of a factory that have no default."""


def survey(root: Path) -> tuple[Candidate, ...]:
    """What was found below ``root``, sorted by kind and name."""
    found: dict[tuple[str, str], Candidate] = {}
    for folder, files in _folders(root):
        place = folder.relative_to(root).as_posix()
        for candidate in _in_folder(folder, files, place):
            found.setdefault((candidate.kind, candidate.target), candidate)
    return tuple(candidate for _, candidate in sorted(found.items()))


def _folders(root: Path) -> Iterator[tuple[Path, list[str]]]:
    seen = 0
    for name, folders, files in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in _PASSED_OVER and not f.startswith("."))
        if "pyvenv.cfg" in files:  # a virtual environment, whatever its name
            folders.clear()
            continue
        seen += 1
        if seen > _MAX_FOLDERS:
            return
        yield Path(name), sorted(files)


def _in_folder(folder: Path, files: list[str], place: str) -> Iterator[Candidate]:
    here = place if place != "." else ""
    if "adapter_config.json" in files and "peft_type" in _object(folder / "adapter_config.json"):
        yield Candidate(kind="adapter", target=place)
    elif "config.json" in files and "model_type" in _object(folder / "config.json"):
        yield Candidate(kind="model", target=place)
    for name in files:
        if name.endswith(".py") and not name.startswith(("test_", "conftest")):
            yield from _in_source(folder / name, f"{here}/{name}".lstrip("/"))


def _object(path: Path) -> dict[str, object]:
    try:
        content = json.loads(_text(path))
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace") if path.stat().st_size <= _MAX_BYTES else ""
    except OSError:  # a broken link, or nobody's to read: nothing to be found in it
        return ""


def _in_source(path: Path, place: str) -> Iterator[Candidate]:
    try:
        tree = ast.parse(_text(path))
    except (SyntaxError, ValueError, RecursionError):
        return
    factories = [n for n in tree.body if isinstance(n, ast.FunctionDef) and _is_factory(n)]
    for function in factories:
        yield Candidate(
            kind="factory", target=f"{place}:{function.name}", needs=_without_default(function)
        )
    for name in _hub_ids(tree):
        yield Candidate(kind="hub", target=name)
    if not factories and _trains(tree):
        yield Candidate(kind="script", target=place)


def _is_factory(function: ast.FunctionDef) -> bool:
    """Whether it returns ``model, batch``, with a loss function or not, or a dict of these."""
    if function.name.startswith(("_", "test")):
        return False
    returned = [n.value for n in ast.walk(function) if isinstance(n, ast.Return)]
    return any(_is_model_and_batch(value) for value in returned)


def _is_model_and_batch(value: ast.expr | None) -> bool:
    match value:
        case ast.Tuple(elts=[model, batch, *others]) if len(others) <= 1:
            return _is_model(model) and _is_batch(batch)
        case ast.Dict(keys=keys):
            names = {key.value for key in keys if isinstance(key, ast.Constant)}
            return {"model", "batch"} <= names
    return False


def _is_model(value: ast.expr) -> bool:
    match value:
        case ast.Name(id=name):
            return bool(_MODEL.fullmatch(name))
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name[:1].isupper() or name == "get_peft_model"
    return False


def _is_batch(value: ast.expr) -> bool:
    match value:
        case ast.Name(id=name):
            return bool(_BATCH.fullmatch(name))
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return bool(_BATCH.search(name)) or name == "dict"
    return isinstance(value, ast.Dict)


def _without_default(function: ast.FunctionDef) -> tuple[str, ...]:
    arguments = function.args
    positional = [*arguments.posonlyargs, *arguments.args]
    needed = positional[: len(positional) - len(arguments.defaults)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return tuple(a.arg for a in (*needed, *(a for a, default in pairs if default is None)))


def _hub_ids(tree: ast.Module) -> Iterator[str]:
    """Hub ids written out in calls of ``from_pretrained``."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(value=owner, attr="from_pretrained"),
                args=[ast.Constant(value=str(name)), *_],
            ) if _HUB_ID.fullmatch(name) and "Model" in ast.unparse(owner):
                yield name


def _trains(tree: ast.Module) -> bool:
    """Whether it calls ``trainer.train()`` or ``loss.backward()``."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=owner, attr="train"), args=[]):
                if "trainer" in ast.unparse(owner).lower():
                    return True
            case ast.Call(func=ast.Attribute(attr="backward")):
                return True
    return False
