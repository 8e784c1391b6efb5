"""Input and output embedding that should be one parameter."""

from gradcheck.findings.candidates import offered, repair
from gradcheck.findings.edit import Edit, TieParameters
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.trace.trace import Trace


@repair("GC107", change=3)
def tie_weights(_trace: Trace, finding: Finding) -> tuple[Repair, tuple[Edit, ...]] | None:
    """The one that trains put in the place of the one that does not."""
    text = offered(finding, "tie-weights")
    evidence = dict(finding.evidence)
    edit = TieParameters(source=evidence["trains"], target=evidence["stays"])
    return (text, (edit,)) if text else None
