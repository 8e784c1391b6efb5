"""Whether there is a factory as named, from the text of its file: nothing of the user's is imported for it."""

import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path

from gradcheck.core.target import Target
from gradcheck.errors import LoadError, TargetError
from gradcheck.loading.checks.functions import Source, read_source
from gradcheck.loading.checks.near import did_you_mean, near, near_path
from gradcheck.loading.factory_arguments import check_complete, check_known

NO_MODULE = (
    "the factory {name}: there is no module {module} here or installed; "
    "check the spelling and the working directory"
)


def check_factory(place: str, function: str, target: Target) -> None:
    """Refuses a factory that is not there, and arguments that it does not take.

    Args:
        place: a file, or the dotted name of a module.
        function: what ``place`` is to define.
        target: where both are from, for the text and the arguments.

    Raises:
        TargetError: where the file, the module or the function is not there.
        LoadError: where the file is no Python.
        InputError: where an argument is missing, or one too many.
    """
    path = _file_of(place, target.name)
    if path is None:
        return
    try:
        source = read_source(path)
    except SyntaxError as error:
        where = f" ({path.name}, line {error.lineno})" if error.lineno else ""
        raise LoadError(
            f"the factory {target.name} does not import: SyntaxError: {error.msg}{where}; "
            "--debug shows the traceback"
        ) from error
    except (OSError, ValueError, RecursionError):
        return  # the import says what is wrong
    _check_function(source, function, target.name)
    declared = source.parameters(function)
    if declared is not None:
        check_known(declared, target.arguments, target.name)
        check_complete(declared, target.arguments, target.name)


def _check_function(source: Source, function: str, name: str) -> None:
    if function not in source.bound:
        if source.complete:
            raise no_function(name, "there is none of that name", source.functions)
        return
    value = source.constant(function)
    if value is not None and source.complete:
        raise no_function(name, f"it is a {type(value).__name__}", source.functions)


def missing_file(place: str) -> TargetError:
    """The refusal of a file that is not there."""
    hint = did_you_mean(near_path(place)) or "; check the path and the working directory"
    return TargetError(f"the factory file {place} does not exist{hint}")


def no_function(name: str, problem: str, functions: Sequence[str]) -> TargetError:
    """The refusal of the factory ``name``; ``functions`` are those that its file has."""
    place, _, function = name.rpartition(":")
    found = near(function, functions)
    hint = did_you_mean(f"{place}:{found}" if found else "")
    module = Path(place).stem if place.endswith(".py") else place
    return TargetError(
        f"the factory {name} is no function: {problem}; the functions of {module} are "
        f"{', '.join(functions) or 'none'}{hint}"
    )


def _file_of(place: str, name: str) -> Path | None:
    """The file of a module; None where only importing it would tell.

    Raises:
        TargetError: where there is none.
    """
    if place.endswith(".py"):
        path = Path(place).expanduser().resolve()
        if not path.is_file():
            raise missing_file(place)
        return path
    top, *rest = place.split(".")
    file = _beneath(Path.cwd(), top)
    if file is None and (Path.cwd() / top).is_dir():
        return None  # a package without a file of its own, or a folder that hides none
    if file is None:
        try:
            spec = (
                sys.modules[top].__spec__ if top in sys.modules else importlib.util.find_spec(top)
            )
        except (ImportError, ValueError):
            return None
        if spec is None:
            raise TargetError(NO_MODULE.format(name=name, module=top))
        file = Path(spec.origin) if spec.origin else None
    for part in rest:  # a package may move its modules: one that is not beneath it may be elsewhere
        file = _beneath(file.parent, part) if file and file.name == "__init__.py" else None
    return file if file is not None and file.suffix == ".py" else None


def _beneath(folder: Path, name: str) -> Path | None:
    """The file of the module ``name`` in ``folder``."""
    places = (folder / name / "__init__.py", folder / f"{name}.py")
    return next((path for path in places if path.is_file()), None)
