"""Target -> Subject: everything that turns what was typed into a live model with a batch.

The loaders are the modules of this package that use ``@loader``; finding them imports no torch, so each of them
imports torch, transformers, peft and bitsandbytes inside the functions that need them.
"""

from pathlib import Path

from gradcheck.core.target import Target
from gradcheck.errors import TargetError
from gradcheck.subject import LOADERS, Loader, Subject


def load(target: Target) -> Subject:
    """What ``target`` asks for, ready to take one training step.

    Raises:
        TargetError: where no loader accepts the target, or the one that does finds nothing to load.
        LoadError: where it exists and loading it failed.
        BatchError: where the batch cannot be made or does not fit the model.
    """
    for entry in _loaders():
        if entry.matches(target):
            return entry.load(target)
    raise TargetError(_refusal(target.name))


def _loaders() -> list[Loader]:
    return sorted(LOADERS.all().values(), key=lambda entry: entry.priority)


def _refusal(name: str) -> str:
    accepted = "; ".join(entry.accepts for entry in _loaders())
    if Path(name).expanduser().exists():
        problem = f"{name!r} is a file that cannot be loaded as a target"
    elif Path(name).is_absolute() or name.startswith((".", "~")):
        problem = f"{name!r} does not exist"
    else:
        problem = f"{name!r} names nothing that can be loaded"
    return f"{problem}; accepted are: {accepted}. Check the spelling and the working directory."
