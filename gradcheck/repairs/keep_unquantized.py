"""Quantized layers whose packed weight is taken for a matrix or for a dtype."""

from gradcheck.findings.candidates import offered
from gradcheck.findings.edit import KeepUnquantized
from gradcheck.findings.finding import Finding
from gradcheck.reading.packed import packed_products, storage_casts
from gradcheck.reading.siblings import siblings
from gradcheck.trace.trace import Trace


@offered("GC509", "GC510", change=3)
def keep_unquantized(trace: Trace, finding: Finding) -> KeepUnquantized:
    """The layers in floating point, as if they had been left out when the model was quantized.

    Where the step raised at the first of them, those in the same place of the other layers too.
    """
    products = {trace.parameters[product.parameter].module for product in packed_products(trace)}
    layers = products if finding.code == "GC510" else {c.layer for c in storage_casts(trace)}
    if trace.failure is not None:
        layers = {sibling for layer in layers for sibling in siblings(trace, layer)}
    fqns = tuple(trace.modules[layer].fqn for layer in sorted(layers))
    return KeepUnquantized(modules=fqns)
