"""What a script does not show to who only reads it."""

from collections.abc import Iterator

from gradcheck.editing.scripts.checkpointing import Switch, settled, switches
from gradcheck.editing.scripts.models import Model, models
from gradcheck.editing.scripts.script import Script
from gradcheck.editing.scripts.sites import hidden_arguments, sites
from gradcheck.editing.scripts.supply import supplied, unseen_class
from gradcheck.editing.scripts.training import trainers, training_calls

INSPECT = "run gradcheck inspect on a factory that makes it"


def notes_on(script: Script) -> tuple[str, ...]:
    """One sentence for each thing that only running the script would show."""
    found = models(script)
    notes = [note for model in found for note in _on_model(script, model)]
    if not found:
        notes.append(
            "no model is made or adapted in this script: what trains comes from elsewhere and cannot be seen here"
        )
    elif not training_calls(script):
        notes.append(
            "no training step is in this script: what happens to the model elsewhere cannot be seen"
        )
    notes += _on_arguments(script)
    return tuple(dict.fromkeys(notes))


def _on_model(script: Script, model: Model) -> Iterator[str]:
    name = min(model.names, key=lambda name: (name.startswith("<"), len(name), name))
    root = model.maker.split(".")[0]
    if model.origin == "unknown" and model.maker and root not in script.definitions:
        module, _, function = model.maker.rpartition(".")
        origin = f", imported from {module}" if module.strip(".") else ""
        yield (
            f"{name} is made by {function or model.maker}(){origin}: whether it is quantized, checkpointed or has "
            f"an adapter cannot be seen here; {INSPECT}"
        )
    if unseen_class(script, model):
        yield f"the class {model.maker} is in another file: how it checkpoints cannot be seen here; {INSPECT}"
    for switch in switches(script, model):
        yield from _on_switch(script, model, switch)


def _on_switch(script: Script, model: Model, switch: Switch) -> Iterator[str]:
    line = script.line(switch.node)
    if switch.mode == "unseen" and switch.place in {"enable", "arguments", "preparation"}:
        yield f"line {line}: use_reentrant is not written in this script, so the kind of checkpointing cannot be seen"
    quiet = supplied(script, model) or not model.is_adapted()
    if switch.mode == "default" and settled(script, switch) == "non-reentrant" and not quiet:
        yield (
            f"line {line}: checkpointing is non-reentrant by default with transformers {script.transformers}; before "
            "version 5 it is reentrant, and this script would need model.enable_input_require_grads()"
        )


def _on_arguments(script: Script) -> Iterator[str]:
    """Calls that matter and take arguments which cannot be seen."""
    watched = ("from_pretrained", "TrainingArguments", "SFTConfig", "DPOConfig")
    for site in (*trainers(script), *sites(script)):
        relevant = site.last.endswith(watched) and "okenizer" not in site.name
        if relevant and hidden_arguments(script, site.call):
            yield (
                f"line {script.line(site.call)}: {site.name} takes arguments that are not written in this script"
            )
