"""Loads a PEFT adapter folder: its base model is found through ``adapter_config.json``."""

import dataclasses
from pathlib import Path

from gradcheck.core.target import Target
from gradcheck.errors import InputError
from gradcheck.loading.adapters import ADAPTER_CONFIG, base_name
from gradcheck.loading.chatter import quiet
from gradcheck.loading.checks.training import check_training
from gradcheck.loading.failures import explained
from gradcheck.loading.weight_files import check_adapter_weights
from gradcheck.loading.weights import reason_to_skip
from gradcheck.subject import Subject, loader


def _is_adapter(target: Target) -> bool:
    return (Path(target.name).expanduser() / ADAPTER_CONFIG).is_file()


def _check(target: Target) -> None:
    if target.adapter is not None:
        raise InputError(
            f"{target.name} is an adapter folder and --adapter {target.adapter} names another one; "
            "give one of them, or a base model as target"
        )
    with explained(target.name):
        base = base_name(Path(target.name).expanduser())
        if not Path(base).expanduser().exists():
            return  # what the Hub has is asked for where both names are known
        check_training(dataclasses.replace(target, name=base, adapter=target.name, revision=None))


@loader(
    "adapter",
    accepts=f"a PEFT adapter folder ({ADAPTER_CONFIG})",
    priority=20,
    matches=_is_adapter,
    check=_check,
)
def load_adapter(target: Target) -> Subject:
    """The adapter on its base model, loaded as for training."""
    from gradcheck.loading.pretrained import adapter_subject  # which imports torch

    folder = Path(target.name).expanduser()
    with quiet(), explained(target.name):
        base = dataclasses.replace(target, name=base_name(folder))
        if not reason_to_skip(base):
            check_adapter_weights(folder, allow_pickle=target.allow_pickle)
        return adapter_subject(target, folder)
