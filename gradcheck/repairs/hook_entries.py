"""The same hook by hand, on every module through which a dead checkpoint is fed."""

from gradcheck.findings.candidates import repair
from gradcheck.findings.edit import Edit, LetInputsRequireGrad, LetOutputsRequireGrad
from gradcheck.findings.finding import Finding
from gradcheck.findings.remedy import hook_entries as text
from gradcheck.findings.repair import Repair
from gradcheck.reading.checkpoint_inputs import entries
from gradcheck.trace.trace import Trace


@repair("GC301", "GC508", change=1, keeps_gradients=True)
def hook_entries(trace: Trace, _finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """Hooks on the modules before the dead checkpoints, and on the inputs where no module is before them.

    For models without ``enable_input_require_grads``, for towers whose entry it does not know (patch embeddings,
    convolutions), for embeddings that return a tuple, and for code that writes into the embedding's output.
    """
    found = entries(trace)
    edits: list[Edit] = []
    if found.modules:
        edits.append(LetOutputsRequireGrad(modules=found.modules))
    if found.from_batch:
        floating = [name for name, _, dtype in trace.batch if dtype.startswith(("float", "bfloat"))]
        if floating:
            edits.append(LetInputsRequireGrad(names=tuple(dict.fromkeys(floating))))
    return (text(found), tuple(edits)) if edits else None
