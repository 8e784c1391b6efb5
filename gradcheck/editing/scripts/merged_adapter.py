"""Shows an adapter that is merged away before the training that was meant for it."""

from collections.abc import Iterator

from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.load_trainable import MERGED, unfreezes
from gradcheck.editing.scripts.models import Model, models
from gradcheck.editing.scripts.script import Script
from gradcheck.editing.scripts.sites import Site, sites
from gradcheck.editing.scripts.training import conditional, trained_after

WHY = (
    "merge_and_unload() adds the adapter to the base weights and takes it away; what is trained afterwards has no "
    "adapter, and its quantized weights cannot train."
)


@script_edit("merge-after-training", Stage.ADVICE)
def merged_adapter(script: Script) -> Iterator[Proposal]:
    """Where to merge instead is for the author to say; a new adapter after the merge is all right."""
    for model in models(script):
        for site in sites(script):
            merges = site.last in MERGED and site.receiver in model.names
            if merges and not unfreezes(script) and _too_early(script, model, site):
                yield Proposal(
                    line=script.line(site.call),
                    summary=WHY,
                    suggestion=f"move below the training: {script.line_text(script.line(site.call))}",
                )


def _too_early(script: Script, model: Model, site: Site) -> bool:
    if site.target and site.target != site.receiver:  # merged = model.merge_and_unload()
        names = frozenset({site.target})
        model_after = any(s.order > site.order and s.receiver in names for s in sites(script))
        if not model_after:
            return False
    home = script.function(site.call)
    adapted = any(a.order > site.order for a in (*model.adaptations, *model.adapter_loads))
    before = any(
        a.order < site.order and script.function(a.call) is home
        for a in (*model.adaptations, *model.adapter_loads)
    )
    return (
        before
        and not adapted
        and trained_after(script, model, site)
        and not conditional(script, site)
    )
