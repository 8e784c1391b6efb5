"""Input and output embedding that should be one parameter."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import TieParameters
from gradcheck.findings.finding import Finding
from gradcheck.trace.trace import Trace


@offered("GC107", change=3)
def tie_weights(_trace: Trace, finding: Finding) -> TieParameters:
    """The one that trains put in the place of the one that does not."""
    evidence = dict(finding.evidence)
    return TieParameters(source=evidence["trains"], target=evidence["stays"])
