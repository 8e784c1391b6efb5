"""Loads what the user's own function makes: ``package.module:function`` or ``path/to/file.py:function``."""

import contextlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from gradcheck.core.target import Target
from gradcheck.errors import DiagnosticError, LoadError, TargetError
from gradcheck.loading.checks.factories import NO_MODULE, check_factory, missing_file, no_function
from gradcheck.loading.factory_arguments import keyword_arguments
from gradcheck.loading.failures import first_line, is_out_of_memory
from gradcheck.loading.program import as_program, importable
from gradcheck.loading.seeding import seeded_generators
from gradcheck.subject import Subject, loader

_FACTORY = re.compile(
    r"(?P<place>.+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<function>[A-Za-z_]\w*)"
)
_MODULE_PREFIX = "gradcheck_target_"
"""Of a file's module name: a file called inspect.py must not hide the module of that name."""


def _is_factory(target: Target) -> bool:
    return bool(_FACTORY.fullmatch(target.name)) and not Path(target.name).expanduser().is_dir()


@loader(
    "factory",
    accepts="a factory (package.module:function or path/to/file.py:function)",
    priority=10,
    matches=_is_factory,
    check=lambda target: check_factory(*_parts(target), target),
)
def load_factory(target: Target) -> Subject:
    """What the factory returns, called with the ``--set`` arguments. What it prints goes to stderr."""
    from gradcheck.loading.factory_result import subject_of  # which imports torch

    place, name = _parts(target)
    with (
        importable(_import_folder(place)),
        as_program(place),
        contextlib.redirect_stdout(sys.stderr),
    ):
        with _explained(target.name, "does not import"):
            module = _imported(place)
        function = _function(module, name, target.name)
        arguments = keyword_arguments(function, target.arguments, target.name)
        with _explained(target.name, "raised"), seeded_generators(target.seed):
            made = function(**arguments)
            return subject_of(made, target)


def _parts(target: Target) -> tuple[str, str]:
    found = _FACTORY.fullmatch(target.name)
    assert found is not None, "asked only for what _is_factory accepts"
    return found["place"], found["function"]


def _import_folder(place: str) -> Path:
    return Path(place).expanduser().resolve().parent if place.endswith(".py") else Path.cwd()


def _imported(place: str) -> ModuleType:
    if not place.endswith(".py"):
        return importlib.import_module(place)
    path = Path(place).expanduser().resolve()
    if not path.is_file():
        raise missing_file(place)
    name = _MODULE_PREFIX + path.stem
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, "a .py file has a spec"
    assert spec.loader is not None, "and a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _function(module: ModuleType, name: str, target_name: str) -> Callable[..., Any]:
    function = getattr(module, name, None)
    if callable(function):
        return function  # type: ignore[no-any-return]
    candidates = sorted(
        key
        for key, value in vars(module).items()
        if callable(value)
        and getattr(value, "__module__", None) == module.__name__
        and not key.startswith("_")
    )
    problem = (
        "there is none of that name" if function is None else f"it is a {type(function).__name__}"
    )
    raise no_function(target_name, problem, candidates)


@contextlib.contextmanager
def _explained(name: str, what: str) -> Iterator[None]:
    """Raises what the user's code raises as a LoadError that names the line."""
    try:
        yield
    except DiagnosticError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and name.startswith(f"{error.name}"):
            raise TargetError(NO_MODULE.format(name=name, module=error.name)) from error
        if is_out_of_memory(error):
            raise LoadError(
                f"memory ran out while the factory {name} ran; make it build less"
            ) from error
        raise LoadError(
            f"the factory {name} {what}: {type(error).__name__}: {first_line(error)}{_place(error)}; "
            "--debug shows the traceback"
        ) from error


def _place(error: BaseException) -> str:
    """`` (file.py, line 12)``: the innermost frame, or where the syntax is wrong."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({Path(error.filename).name}, line {error.lineno})"
    frames = traceback.extract_tb(error.__traceback__)
    outside = [
        frame
        for frame in frames
        if frame.filename != __file__ and "importlib" not in frame.filename
    ]
    return f" ({Path(outside[-1].filename).name}, line {outside[-1].lineno})" if outside else ""
