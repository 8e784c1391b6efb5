"""The map of gradients: which cell a parameter is in, what a cell of several says, the shades."""

import math

import pytest

from gradcheck.formats.views.gradient_map import LEVELS, Scale, gradient_maps
from gradcheck.reports.report import ParameterRecord
from gradcheck.trace.model import GradientState
from tests.formats import reports
from tests.formats.reports import parameter


def test_a_decoder_is_one_map_with_a_row_for_each_projection_of_each_kind() -> None:
    (found,) = gradient_maps(reports.healthy().parameters)
    assert found.container == "base_model.model.model.layers"
    assert found.layers == tuple(range(30))
    assert len(found.rows) == 14
    assert found.rows[0] == "self_attn.q_proj lora_A"
    assert found.rows[7] == "self_attn.q_proj lora_B"
    waiting = found.places["self_attn.q_proj lora_A", 3]
    assert (waiting.state, waiting.explanation) == ("waits", "waits for lora_B")
    assert found.places["self_attn.q_proj lora_B", 3].norm == pytest.approx(0.0025)


def record(
    fqn: str, state: GradientState, norm: float | None = None, group: str = "weight"
) -> ParameterRecord:
    return parameter(fqn, (2,), group, state, norm)


def test_containers_and_what_is_in_no_layer_have_maps_of_their_own() -> None:
    maps = gradient_maps(
        [
            record("enc.layers.0.fc.weight", "flows", 1.0),
            record("dec.layers.0.fc.weight", "flows", 1.0),
            record("head.weight", "missing"),
            record("frozen.weight", "frozen"),
        ]
    )
    assert [(m.container, m.rows) for m in maps] == [
        ("enc.layers", ("fc weight",)),
        ("dec.layers", ("fc weight",)),
        ("", ("head weight",)),
    ]


def test_experts_share_a_cell_which_shows_the_worst_of_them() -> None:
    states: list[tuple[GradientState, float | None]] = [
        ("flows", 1.0),
        ("missing", None),
        ("flows", 3.0),
    ]
    (found,) = gradient_maps(
        record(f"m.layers.0.experts.{n}.up.weight", state, norm)
        for n, (state, norm) in enumerate(states)
    )
    place = found.places["experts.*.up weight", 0]
    assert (place.state, place.num_tensors, place.norm) == ("missing", 3, 2.0)


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (("flows", "zero"), "zero"),
        (("zero", "non-finite"), "non-finite"),
        (("non-finite", "missing"), "missing"),
        (("flows", "flows"), "flows"),
    ],
)
def test_the_order_of_what_is_worse(states: tuple[GradientState, ...], worst: str) -> None:
    (found,) = gradient_maps(record(f"a.0.{n}.w", state) for n, state in enumerate(states))
    assert {place.state for place in found.places.values()} == {worst}


def test_an_excused_gradient_is_no_worse_than_one_in_trouble() -> None:
    excused = parameter("a.0.x.1.w", (2,), "w", "missing", explanation="no token reached it")
    (found,) = gradient_maps([excused, record("a.0.x.2.w", "zero", group="w")])
    (place,) = found.places.values()
    assert place.state == "zero"


def test_the_shades_are_logarithmic_and_all_used() -> None:
    norms = [10.0**exponent for exponent in range(LEVELS)]
    maps = gradient_maps(record(f"a.{n}.w.weight", "flows", norm) for n, norm in enumerate(norms))
    scale = Scale.of(maps)
    assert scale is not None
    levels = [scale.level(norm) for norm in norms]
    assert levels[0] == 1
    assert levels[-1] == LEVELS
    assert levels == sorted(levels)


@pytest.mark.parametrize("norm", [0.0, math.nan, math.inf, None])
def test_a_norm_that_is_no_size_has_no_shade(norm: float | None) -> None:
    assert Scale.of(gradient_maps([record("a.0.w.weight", "flows", norm)])) is None


def test_one_norm_is_the_middle_shade() -> None:
    scale = Scale.of(gradient_maps([record("a.0.w.weight", "flows", 0.5)]))
    assert scale is not None
    assert 1 < scale.level(0.5) < LEVELS
