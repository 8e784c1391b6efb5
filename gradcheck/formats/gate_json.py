"""The GateReport as a JSON document; its schema is published as ``docs/gate.schema.json``."""

from gradcheck.core.formatter import RenderOptions, gate_formatter
from gradcheck.core.gate import GateReport
from gradcheck.formats.documents import dumps


@gate_formatter("json")
def render(gate: GateReport, options: RenderOptions) -> str:  # noqa: ARG001 (one signature for all formats)
    """Every target with its report whole, what the baseline holds, and how what trains differs from the lock."""
    return dumps(gate.to_dict())
