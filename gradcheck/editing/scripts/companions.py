"""What people write beside the line after ``get_peft_model``: training mode, and a count of what trains."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.edit import Proposal
from gradcheck.editing.scripts.models import Model
from gradcheck.editing.scripts.script import Script
from gradcheck.editing.scripts.sites import Site, sites
from gradcheck.editing.scripts.training import training_loops
from gradcheck.editing.scripts.writing import inserted_after

COUNTS = frozenset({"print_trainable_parameters", "get_nb_trainable_parameters", "numel"})
TRAIN = "Dropout and gradient checkpointing are active in train mode only."
COUNT = "Shows how much trains before the time is spent."


def companions(script: Script, model: Model, site: Site) -> Iterator[Proposal]:
    """``model.train()`` for a plain loop or a class of one's own, ``print_trainable_parameters()`` for all.

    Only where the script has nothing of the kind; never on their own account.
    """
    statement = script.statement(site.call)
    if site not in model.adaptations or not isinstance(statement, cst.SimpleStatementLine):
        return
    plain = bool(training_loops(script)) or model.origin == "own"
    switched = any(s.last in {"train", "eval"} and s.receiver in model.names for s in sites(script))
    counted = any(s.last in COUNTS for s in sites(script))
    for wanted, name, method, why in (
        (plain and not switched, "train-mode", "train", TRAIN),
        (not counted, "print-trainable-parameters", "print_trainable_parameters", COUNT),
    ):
        splice = inserted_after(script, statement, [f"{site.target}.{method}()"])
        if wanted and splice is not None:
            yield Proposal(
                name=name,
                line=script.line(site.call),
                summary=why,
                splices=(splice,),
                applicability="unsafe" if name == "train-mode" else None,
            )
