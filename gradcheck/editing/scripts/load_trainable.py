"""Loads a saved adapter for training where the script trains it."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.models import Model, is_adapter_load, models
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import Site, argument, assigned, flag, hidden_arguments, sites
from gradcheck.editing.scripts.training import trained_after
from gradcheck.editing.scripts.writing import replaced, with_argument

WHY = (
    "from_pretrained loads an adapter for inference and freezes it unless it is told "
    "otherwise, and this one is trained."
)
MERGED = frozenset({"merge_and_unload", "unload"})


@script_edit("load-trainable", Stage.ARGUMENTS)
def load_trainable(script: Script) -> Iterator[Proposal]:
    """``is_trainable=True``; a reference model, or one that is loaded when training is over, is left as it is."""
    for model in models(script):
        for site in model.adapter_loads:
            if _to_be_trained(script, model, site):
                yield _proposal(script, site)


def _to_be_trained(script: Script, model: Model, site: Site) -> bool:
    given = argument(script, site.call, "is_trainable", 3)
    on = flag(script, given, default=False)
    if on is not False or hidden_arguments(script, site.call):
        return False
    later = [s for s in sites(script) if s.order > site.order]
    merged = any(s.last in MERGED and (s.receiver in model.names) for s in later)
    chained = isinstance(script.parents.get(site.call), cst.Attribute) and not site.target
    unfrozen = unfreezes(script)
    return not (merged or chained or unfrozen) and trained_after(script, model, site)


def unfreezes(script: Script) -> bool:
    """Whether the script lets parameters require a gradient by hand."""
    for node in script.nodes:
        match node:
            case cst.Assign(targets=[target], value=value):
                name = dotted(target.target)
                if name.endswith(".requires_grad") and "False" not in script.code(value):
                    return True
            case cst.Call(func=cst.Attribute(attr=cst.Name(value="requires_grad_"))):
                if "loss" not in script.code(node.func) and "False" not in script.code(node):
                    return True
            case _:
                pass
    return False


def _proposal(script: Script, site: Site) -> Proposal:
    assert is_adapter_load(site)
    given = argument(script, site.call, "is_trainable", 3)
    line = script.line(site.call)
    if given is None:
        splices = with_argument(script, site.call, "is_trainable=True")
        return Proposal(line=line, summary=WHY, splices=splices)
    if script.code(given) != "False":
        known = assigned(script, dotted(given), before=given)
        given = known if known is not None and script.code(known) == "False" else None
    if given is None:
        return Proposal(line=line, summary=WHY, suggestion="is_trainable=True")
    return Proposal(line=line, summary=WHY, splices=(replaced(script, given, "True"),))
