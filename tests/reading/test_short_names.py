"""The shortest name that means a layer and no other."""

import dataclasses

import pytest

from gradcheck.reading.short_names import left_out, short_names
from tests.rules.traces import module, trace

LINEAR = {"type": "torch.nn.modules.linear.Linear"}
QUANTIZED = {"type": "bitsandbytes.nn.modules.Linear4bit", "quantized": "4bit"}
MODULES = (
    module("", type="mine.Model"),
    *(module(f"layers.{i}", type="mine.Block") for i in range(2)),
    *(module(f"layers.{i}.mlp.router", 0, **QUANTIZED) for i in range(2)),
    *(module(f"layers.{i}.mlp.dense", 0, **QUANTIZED) for i in range(2)),
    module("head", type="mine.Head"),
    module("head.dense", type="peft.Linear", adapter=0),
    module("head.dense.base_layer", 0, adapter=0, **QUANTIZED),
    module("head.dense.lora_A", 0, adapter=0, **LINEAR),
    module("score", 0, **LINEAR),
)
FQNS = [row.fqn for row in MODULES]
TRACE = trace(modules=MODULES)


@pytest.mark.parametrize(
    ("fqns", "names"),
    [
        (["layers.0.mlp.router"], ("router",)),
        (["layers.0.mlp.router", "layers.1.mlp.router"], ("router",)),
        (["layers.1.mlp.dense"], ("mlp.dense",)),
        (["head.dense"], ("head.dense",)),
        (["head.dense.base_layer", "score"], ("head.dense", "score")),
    ],
)
def test_a_name_is_as_long_as_it_has_to_be(fqns: list[str], names: tuple[str, ...]) -> None:
    assert short_names(TRACE, map(FQNS.index, fqns)) == names


def test_what_is_unquantized_already_is_named_too() -> None:
    assert left_out(TRACE, (FQNS.index("layers.0.mlp.router"),)) == ("score", "router")


@pytest.mark.parametrize(("version", "name"), [("4.57.1", "dense"), ("5.23.0", "head.dense")])
def test_before_transformers_5_only_the_last_part_counts(version: str, name: str) -> None:
    environment = dataclasses.replace(TRACE.environment, versions=(("transformers", version),))
    dated = dataclasses.replace(TRACE, environment=environment)
    assert left_out(dated, (FQNS.index("head.dense"),)) == ("score", name)


def test_a_tower_that_is_unquantized_as_a_whole_is_one_name() -> None:
    tower = (
        module("base_model.model.vision"),
        *(module(f"base_model.model.vision.layers.{i}.router", 0, **LINEAR) for i in range(3)),
        *(module(f"base_model.model.vision.layers.{i}.dense", 0, **LINEAR) for i in range(3)),
    )
    others = [row._replace(fqn=f"base_model.model.{row.fqn}") for row in MODULES if row.fqn]
    rows = (MODULES[0], *others, *tower)
    layer = [row.fqn for row in rows].index("base_model.model.head.dense")
    assert left_out(trace(modules=rows), (layer,)) == ("vision", "score", "head.dense")
