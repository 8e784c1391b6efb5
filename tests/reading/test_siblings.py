"""Siblings: what the same line of code calls, in whichever part of the model."""

import pytest

from gradcheck.reading.siblings import siblings
from tests.rules.traces import module, trace

BLOCK, CONTAINER = {"type": "mine.Block"}, {"type": "torch.nn.modules.container.ModuleList"}
MODULES = (
    module("", type="mine.Model"),
    module("encoder", **CONTAINER),
    module("encoder.0", **BLOCK),
    module("encoder.0.wi"),
    module("encoder.0.wo", type="peft.Linear", adapter=0),
    module("encoder.0.wo.base_layer", adapter=0),
    module("encoder.1", **BLOCK),
    module("encoder.1.wi"),
    module("encoder.1.wo", type="peft.Linear", adapter=1),
    module("encoder.1.wo.base_layer", adapter=1),
    module("decoder", **CONTAINER),
    module("decoder.0", **CONTAINER),
    module("decoder.0.mlp", **BLOCK),
    module("decoder.0.mlp.wi"),
    module("decoder.0.mlp.wo", type="peft.Linear", adapter=2),
    module("decoder.0.mlp.wo.base_layer", adapter=2),
    module("other", type="mine.Other"),
    module("other.wi"),
)
FQNS = [row.fqn for row in MODULES]


@pytest.mark.parametrize(
    ("fqn", "same"),
    [
        ("encoder.1.wi", {"encoder.0.wi", "encoder.1.wi", "decoder.0.mlp.wi"}),
        ("encoder.0.wo", {"encoder.0.wo", "encoder.1.wo", "decoder.0.mlp.wo"}),
        (
            "encoder.0.wo.base_layer",
            {"encoder.0.wo.base_layer", "encoder.1.wo.base_layer", "decoder.0.mlp.wo.base_layer"},
        ),
        ("encoder.0", {"encoder.0", "encoder.1"}),
        ("other.wi", {"other.wi"}),
        ("", {""}),
    ],
)
def test_the_owner_decides_and_not_where_it_stands(fqn: str, same: set[str]) -> None:
    found = siblings(trace(modules=MODULES), FQNS.index(fqn))
    assert {FQNS[index] for index in found} == same
