"""Loads a model by Hub id or folder."""

from pathlib import Path

from gradcheck.core.target import Target
from gradcheck.loading import adapters
from gradcheck.loading.chatter import quiet
from gradcheck.loading.checks.training import check_training
from gradcheck.loading.failures import explained
from gradcheck.loading.sources import is_model
from gradcheck.subject import Subject, loader


@loader(
    "pretrained",
    accepts="a Hub model id (owner/name) or a local folder with a transformers model (safetensors or GGUF)",
    priority=30,
    matches=lambda target: is_model(target.name),
    check=check_training,
)
def load_pretrained(target: Target) -> Subject:
    """A base model with a new LoRA, or the adapter of ``--adapter``, ready for training."""
    from gradcheck.loading.pretrained import (  # which imports torch
        adapter_subject,
        training_subject,
    )

    with quiet(), explained(target.name):
        local = Path(target.name).expanduser().exists()
        adapter = None if local else adapters.hub_adapter(target)
        return training_subject(target) if adapter is None else adapter_subject(target, adapter)
