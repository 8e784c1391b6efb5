"""The edits of configuration files: the value alone changes, and only where it takes gradients away."""

import json
from pathlib import Path

import pytest

from gradcheck.editing.configs import kind_of, plan_config
from gradcheck.errors import TargetError

FOLDER = Path(__file__).parents[2] / "fixtures" / "configs"
PAIRS = sorted(FOLDER.glob("*.before.*"))
ADAPTER = '{\n  "peft_type": "LORA",\n  "inference_mode": true,\n  "r": 8\n}\n'


def name(path: Path) -> str:
    return path.name


@pytest.mark.parametrize("path", PAIRS, ids=name)
def test_a_configuration_is_repaired_as_the_pair_says(path: Path) -> None:
    after = path.with_name(path.name.replace(".before.", ".after.")).read_text("utf-8")
    plan = plan_config(path.read_text("utf-8"), kind_of(path.name))
    assert plan.text == after
    assert bool(plan.changes) == ("_ok." not in path.name)
    again = plan_config(after, kind_of(path.name))
    assert again.text == after
    assert again.changes == ()
    assert again.notes


@pytest.mark.parametrize("path", PAIRS, ids=name)
def test_line_endings_and_marks_stay(path: Path) -> None:
    text = path.read_text("utf-8")
    after = path.with_name(path.name.replace(".before.", ".after.")).read_text("utf-8")
    plan = plan_config("\ufeff" + text.replace("\n", "\r\n"), kind_of(path.name))
    assert plan.text == "\ufeff" + after.replace("\n", "\r\n")


def test_a_change_names_its_line() -> None:
    (change,) = plan_config(
        (FOLDER / "axolotl_qlora.before.yaml").read_text("utf-8"), "yaml"
    ).changes
    assert change.line == 15
    assert change.before_text.startswith("use_reentrant: true ")
    assert change.applicability == "safe"


def test_a_value_behind_an_anchor_is_shown_and_not_changed() -> None:
    text = (
        "on: &on true\ngradient_checkpointing: true\n"
        "gradient_checkpointing_kwargs: {use_reentrant: *on}\n"
    )
    plan = plan_config(text, "yaml")
    assert plan.text == text
    assert [change.applicability for change in plan.changes] == ["display-only"]
    assert plan.changes[0].suggestion == "gradient_checkpointing_kwargs.use_reentrant: false"


def test_what_is_off_is_left_alone() -> None:
    off = "gradient_checkpointing: false\ngradient_checkpointing_kwargs: {use_reentrant: true}\n"
    assert plan_config(off, "yaml").changes == ()
    full = "finetuning_type: full\nuse_reentrant_gc: true\n"
    assert plan_config(full, "yaml").changes == ()
    assert "all right" in plan_config(full, "yaml").notes[0]


def test_an_adapter_saved_for_inference_is_made_trainable() -> None:
    plan = plan_config(ADAPTER, "adapter")
    assert plan.text == ADAPTER.replace("true", "false")
    assert json.loads(plan.text)["inference_mode"] is False
    assert "is_trainable=True" in plan.notes[0]
    again = plan_config(plan.text, "adapter")
    assert (again.changes, again.notes) == ((), ())


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ('{"a": ', "json", "no valid JSON"),
        ("a: [1", "yaml", "no valid YAML"),
        ("a = = 1", "toml", "no valid TOML"),
        ("{a: 1, a: 2}", "yaml", "no valid YAML"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_refused_in_one_sentence(
    text: str, kind: str, said: str
) -> None:
    with pytest.raises(TargetError, match=said) as caught:
        plan_config(text, kind)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_kinds_go_by_the_name() -> None:
    assert kind_of("adapter_config.json") == "adapter"
    assert kind_of("run.yml") == "yaml"
    with pytest.raises(TargetError, match="accepted"):
        kind_of("run.ini")
