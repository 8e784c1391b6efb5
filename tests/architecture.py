"""Reads the package's sources: the imports of each room, and what a room does to the world."""

import ast
import re
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TypeGuard

import gradcheck

PACKAGE = Path(gradcheck.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))

LEVELS = (
    {"core", "errors", "settings", "version"},
    {"trace"},
    {"judging"},
    {"reading"},
    {"findings"},
    {"reports"},
    {"gates"},
    {"rules", "repairs", "formats", "subject"},
    {"internals"},
    {"loading", "recording", "editing", "configuring"},
    {"diagnose"},
    {"step", "diagnose_training"},
    {"search"},
    {"mending"},
    {"pipeline"},
    {"isolation"},
    {"integrations", "cli"},
)
"""The rooms from the bottom up. A room imports from lower levels and from itself."""
MIXING_LEVEL = 0
"""The one level whose rooms may import each other."""
PURE_ROOMS = set().union(*LEVELS[: LEVELS.index({"internals"})]) - {"subject"} | {
    "diagnose",
    "diagnose_training",
}
ALLOWED_IN_PURE = {
    "core": {"pydantic", "pydantic_core", "typing_extensions"},
    "formats": {"rich", "typing_extensions"},
    "judging": {"typing_extensions"},
}
"""What a pure room may import besides the standard library."""

HOOKS_AND_MODES = re.compile(
    r"register_\w*hook\w*|add_\w+_hook|TorchFunctionMode|TorchDispatchMode|saved_tensors_hooks"
    r"|(set_)?detect_anomaly|_push_mode|_push_on_torch_function_stack"
)
MUTATING_NAMES = re.compile(
    r"(register|remove)_(parameter|buffer)|requires_grad_|load_state_dict|setattr|delattr"
)
MUTATED_ATTRIBUTES = {"requires_grad", "grad", "data", "training", "forward"}
FILE_WRITES = re.compile(r"write_text|write_bytes|unlink|rmtree|rmdir|rename|copyfile|copytree")
WRITING_MODE = re.compile(r"[wax]b?\+?|rb?\+")
PRINTS_AND_EXITS = re.compile(
    r"(\w+\.)?(print|secho)|(sys\.)?exit|os\._exit|quit|sys\.std(out|err)\.write|(typer\.)?Exit|SystemExit"
)
CONTAINERS = re.compile(r"list|dict|set|defaultdict|OrderedDict|deque|Counter|Weak\w+|local")
MUTATING_METHODS = {"append", "add", "update", "setdefault", "pop", "clear", "extend", "insert"}
CACHES = re.compile(r"cache|lru_cache")


def room_of(path: Path) -> str:
    """First part of a file's path inside the package: ``trace`` of ``trace/file.py``."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def level_of(room: str) -> int:
    return next(level for level, rooms in enumerate(LEVELS) if room in rooms)


def may_import(importer: str, imported: str) -> bool:
    """Whether the imports of the room ``importer`` may name the room ``imported``."""
    if importer == imported:
        return True
    low, high = level_of(imported), level_of(importer)
    return low < high or (low == high == MIXING_LEVEL)


@cache
def text_of(path: Path) -> str:
    return path.read_text("utf-8")


@cache
def tree_of(source: str) -> ast.Module:
    return ast.parse(source)


@cache
def nodes_of(source: str) -> tuple[ast.AST, ...]:
    """Every node of ``source``; each file is parsed and walked once for all checks."""
    return tuple(ast.walk(tree_of(source)))


def offenders(paths: Iterable[Path], complaints: Callable[[Path], list[str]]) -> list[str]:
    """What is wrong in which of the files, all of it."""
    return [f"{path.relative_to(PACKAGE)}, {said}" for path in paths for said in complaints(path)]


def imported_names(source: str, package: str) -> Iterator[tuple[int, str]]:
    """(line, dotted name) of each import anywhere in ``source``, a module of ``package``."""
    for node in nodes_of(source):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            stem = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{stem}.{alias.name}") for alias in node.names)


def rooms_imported(source: str, package: str) -> Iterator[tuple[int, str]]:
    """(line, room) of each import of this package's own rooms; a public name counts as its home."""
    for line, name in imported_names(source, package):
        top, _, rest = name.partition(".")
        if top != "gradcheck":
            continue
        name = gradcheck._HOMES.get(rest, name)
        room = name.split(".")[1] if "." in name else ""
        if any(room in rooms for rooms in LEVELS):
            yield line, room


def modules_imported() -> dict[str, set[str]]:
    """Module of this package -> those that it imports, under TYPE_CHECKING and inside functions as well."""
    modules = {_module_name(path): path for path in SOURCES}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        graph[name] = set()
        for _, imported in imported_names(text_of(path), package):
            home = imported if imported in modules else imported.rpartition(".")[0]
            graph[name] |= {home} & set(modules) - {name}
    return graph


def _module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Modules that import each other in a circle; empty where there is none."""
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        return list(error.args[1])
    return []


def wrong_imports(source: str, room: str, package: str = "gradcheck.any") -> list[str]:
    return [
        f"line {line}: {room} imports {imported}"
        for line, imported in rooms_imported(source, package)
        if not may_import(room, imported)
    ]


def names_used(source: str) -> Iterator[tuple[int, str]]:
    """(line, identifier) of each name and attribute that is read."""
    for node in nodes_of(source):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr


def lines_using(source: str, pattern: re.Pattern[str]) -> list[str]:
    return [f"line {line}: {name}" for line, name in names_used(source) if pattern.fullmatch(name)]


def prints_and_exits(source: str) -> list[str]:
    """Calls that print or exit, and the exceptions that exit where they are raised; catching one is neither."""
    nodes = nodes_of(source)
    called = [(n.lineno, ast.unparse(n.func)) for n in nodes if isinstance(n, ast.Call)]
    raised = [(n.lineno, ast.unparse(n.exc)) for n in nodes if isinstance(n, ast.Raise) and n.exc]
    return [
        f"line {at}: {name}" for at, name in called + raised if PRINTS_AND_EXITS.fullmatch(name)
    ]


def attributes_assigned(source: str) -> list[str]:
    """Assignments to the attributes that make up a module's or a tensor's state, except one's own."""
    found = []
    for node in nodes_of(source):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, (ast.Store, ast.Del)):
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            if node.attr in MUTATED_ATTRIBUTES and not own:
                found.append(f"line {node.lineno}: .{node.attr} =")
    return found


def file_writes(source: str) -> list[str]:
    """Calls that write, move or remove files, ``open`` with a writing mode included."""
    found = lines_using(source, FILE_WRITES)
    for node in nodes_of(source):
        if isinstance(node, ast.Call) and _callee(node.func) in {"open", "fdopen"}:
            of_path = isinstance(node.func, ast.Attribute)
            given = [*(node.args if of_path else node.args[1:]), *(k.value for k in node.keywords)]
            modes = [a.value for a in given if isinstance(a, ast.Constant)]
            if any(isinstance(m, str) and WRITING_MODE.fullmatch(m) for m in modes):
                found.append(f"line {node.lineno}: open for writing")
    return found


def module_state(source: str) -> list[str]:
    """What outlives a session at module or class level: containers that can grow, caches, ``global``."""
    tree, nodes = tree_of(source), nodes_of(source)
    found = [f"line {n.lineno}: global" for n in nodes if isinstance(n, ast.Global)]
    bodies = [tree.body, *(n.body for n in nodes if isinstance(n, ast.ClassDef))]
    found += [
        f"line {s.lineno}: mutable value"
        for body in bodies
        for s in body
        if isinstance(s, (ast.Assign, ast.AnnAssign)) and _can_grow(s.value)
    ]
    for node in nodes:
        decorators = getattr(node, "decorator_list", [])
        found += [
            f"line {d.lineno}: cache"
            for d in decorators
            if CACHES.fullmatch(_callee(d.func if isinstance(d, ast.Call) else d))
        ]
    return found + _mutated_constants(tree, nodes)


def _can_grow(value: ast.expr | None) -> bool:
    """An empty container, or one made by a call; a filled literal is a table (see below)."""
    match value:
        case ast.Dict(keys=items) | ast.List(elts=items) | ast.Set(elts=items):
            return not items
        case ast.Call(func=func):
            return bool(CONTAINERS.fullmatch(_callee(func)))
    return False


def _mutated_constants(tree: ast.Module, nodes: Iterable[ast.AST]) -> list[str]:
    """Writes into a module-level table, by subscript or by a mutating method."""
    names = set()
    for statement in tree.body:
        if isinstance(statement, (ast.Assign, ast.AnnAssign)):
            stored = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
            names |= {n.id for n in stored if isinstance(n.ctx, ast.Store)}
    writes = (node for node in nodes if _is_write(node))
    return [
        f"line {node.lineno}: {node.value.id} is written"
        for node in writes
        if isinstance(node.value, ast.Name) and node.value.id in names
    ]


def _is_write(node: ast.AST) -> TypeGuard[ast.Subscript | ast.Attribute]:
    match node:
        case ast.Subscript(ctx=ast.Store() | ast.Del()):
            return True
        case ast.Attribute(attr=attr):
            return attr in MUTATING_METHODS
    return False


def _callee(func: ast.expr) -> str:
    match func:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def foreign_imports(source: str, room: str) -> list[str]:
    """Imports of a pure room that are neither the standard library nor this package."""
    allowed = {"gradcheck", *ALLOWED_IN_PURE.get(room, ()), *sys.stdlib_module_names}
    return [
        f"line {line}: {room} imports {name}"
        for line, name in imported_names(source, f"gradcheck.{room}")
        if name.partition(".")[0] not in allowed
    ]


@cache
def modules_loaded_by(statement: str) -> frozenset[str]:
    """Top-level packages that a fresh interpreter holds after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*sorted({{n.partition('.')[0] for n in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return frozenset(done.stdout.split())
