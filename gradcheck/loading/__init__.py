"""Target -> Subject: everything that turns what was typed into a live model with a batch.

The loaders are the modules of this package that use ``@loader``; finding them imports no torch, so each of them
imports torch, transformers, peft and bitsandbytes inside the functions that need them.
"""

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
    entry = _loader(target)
    entry.check(target)
    return entry.load(target)


def check(target: Target) -> None:
    """Refuses in milliseconds what ``load`` would refuse after seconds of imports; what it lets pass may still fail.

    Raises:
        TargetError: as ``load`` does.
        LoadError: the same.
        InputError: where an option fits no model, or not this one.
    """
    _loader(target).check(target)


def _loader(target: Target) -> Loader:
    for entry in _loaders():
        if entry.matches(target):
            return entry
    from gradcheck.loading.checks.meant import refusal

    raise TargetError(refusal(target.name, [entry.accepts for entry in _loaders()]))


def _loaders() -> list[Loader]:
    return sorted(LOADERS.all().values(), key=lambda entry: entry.priority)
