"""What to type instead of a name that no loader takes."""

import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from gradcheck.core.words import listed
from gradcheck.loading.checks.functions import read_source
from gradcheck.loading.checks.hub_ids import HUB_URL
from gradcheck.loading.checks.near import did_you_mean, near, near_path
from gradcheck.loading.weight_files import WEIGHT_SUFFIXES
from gradcheck.trace.file import looks_like_trace

CONFIGURATIONS = (".yaml", ".yml", ".toml", ".json")
MODEL_CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
_MAX_FUNCTIONS = 8
"""Of a script that are named; a training script may have many."""
_LIKE_A_FACTORY = re.compile(r"(?P<file>.+\.py):(?P<rest>.*)", re.DOTALL)


def refusal(name: str, accepted: Sequence[str]) -> str:
    """One sentence on a name that no loader takes: what it is, and the command that was meant."""
    path = Path(name).expanduser()
    found = _file_meant(name, path) if path.is_file() else _name_meant(name, path)
    if found:
        return found
    kinds = "; ".join(accepted)
    if path.exists():
        problem, hint = f"{name!r} is a file that cannot be loaded as a target", ""
    else:
        is_path = path.is_absolute() or name.startswith((".", "~")) or name.endswith("/")
        problem = f"{name!r} {'does not exist' if is_path else 'names nothing that can be loaded'}"
        hint = did_you_mean(near_path(name))
    end = hint or ". Check the spelling and the working directory."
    return f"{problem}; accepted are: {kinds}{end}"


def _file_meant(name: str, path: Path) -> str:
    if path.suffix == ".py":
        return _script_meant(name, path)
    if is_trace(path):
        return f"{name!r} is a recorded step, and no model; `{_command('recheck', name)}` judges it again"
    if path.name in (MODEL_CONFIG, ADAPTER_CONFIG) or path.suffix in WEIGHT_SUFFIXES:
        fix = path.name == ADAPTER_CONFIG
        also = f"; `{_command('fix', name)}` looks at the file alone" if fix else ""
        return (
            f"{name!r} is one file of a model; `{_command('inspect', _folder(name, path))}` takes the "
            f"folder that it lies in{also}"
        )
    if path.suffix in CONFIGURATIONS:
        return (
            f"{name!r} is a configuration, and no model; `{_command('fix', name)}` reads and repairs it "
            "without running anything"
        )
    return ""


def _script_meant(name: str, path: Path) -> str:
    try:
        functions = read_source(path).functions
    except (OSError, SyntaxError, ValueError):
        functions = []
    factory = near("make", functions) or (functions[0] if functions else "FUNCTION")
    made = f"`{_command('inspect', f'{name}:{factory}')}` inspects what a function of it returns"
    there = (
        f" (there are {listed(functions, _MAX_FUNCTIONS)})" if functions else " (it defines none)"
    )
    return (
        f"{name!r} is a script, and no model; `{_command('run', name)}` runs it and judges its steps, "
        f"`{_command('fix', name)}` reads and repairs it without running it, and {made}{there}"
    )


def _name_meant(name: str, path: Path) -> str:
    """What was meant by a name under which there is no file."""
    if url := HUB_URL.fullmatch(name):
        return f"{name!r} is an address; give the id in it: `{_command('inspect', url['id'])}`"
    if like := _LIKE_A_FACTORY.fullmatch(name):
        return _factory_meant(name, like["file"], like["rest"])
    if path.suffix == ".py" or path.suffix in CONFIGURATIONS:
        there = near_path(name)
        hint = (
            f"; did you mean `{_command('run' if path.suffix == '.py' else 'fix', there)}`?"
            if there
            else ""
        )
        kind = "script" if path.suffix == ".py" else "configuration"
        return (
            f"there is no file {name!r}{hint or '; check the path and the working directory'} "
            f"(`gradcheck run` runs a script, `gradcheck fix` repairs a {kind}, `gradcheck inspect` takes a model or "
            "file.py:function)"
        )
    return ""


def _factory_meant(name: str, file: str, rest: str) -> str:
    """``file.py:`` with something behind it that is no name of a function."""
    match = re.search(r"[A-Za-z_]\w*", rest)
    function = match[0] if match else "FUNCTION"
    return (
        f"{name!r} is no factory: behind the colon stands the name of a function and nothing else; "
        f"give `{_command('inspect', f'{file}:{function}')}`, its arguments with --set"
    )


def is_trace(path: Path) -> bool:
    """Whether the file at ``path`` begins as a recorded step does."""
    if path.suffix != ".json":
        return False
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return looks_like_trace(file.read(4096))
    except OSError:
        return False


def _folder(name: str, path: Path) -> str:
    """The folder of the file, as it would be typed."""
    return name[: len(name) - len(path.name)].rstrip("/\\") or "."


def _command(command: str, target: str) -> str:
    return f"gradcheck {command} {shlex.quote(target)}"
