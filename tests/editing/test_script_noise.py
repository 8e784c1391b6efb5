"""The edits do not depend on how a script looks: noise made by hypothesis neither breaks nor hides one."""

import ast
import functools
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gradcheck.editing.files import FilePlan
from gradcheck.editing.scripts.plan import plan_script
from gradcheck.errors import TargetError
from tests.editing import noise

FOLDER = Path(__file__).parents[2] / "fixtures" / "scripts"
BROKEN = (
    "01_trainer_8bit_lora",
    "04_custom_class_in_script",
    "08_peft_plain_loop_4bit",
    "09_adapter_for_training",
    "12_prepared_after_adapter",
    "15_optimizer_too_early",
    "17_eval_before_loop",
    "20_loss_made_a_leaf",
    "23_hidden_state_penalty",
    "25_inference_mode_reference",
    "26_vit_tower",
    "33_several_defects",
    "34_loss_from_numbers",
)
RIGHT = (
    "50_ok_kbit_default",
    "51_ok_line_is_there",
    "52_ok_non_reentrant",
    "57_ok_sft_adapter_merged_then_new_lora",
    "58_ok_plain_loop",
    "59_ok_teacher_and_baseline",
)
HEADS = (
    "def main():",
    'if __name__ == "__main__":',
    "class Job:\n    def run(self):",
    "def outer():\n    def inner():",
    "with open('log') as log:",
)
noisy = settings(
    max_examples=3,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
both = pytest.mark.parametrize("case", [*BROKEN, *RIGHT])


def script(case: str) -> str:
    return (FOLDER / case / "before.py").read_text("utf-8")


def planned(text: str) -> FilePlan:
    """The plan for ``text``; its result is checked on the way."""
    plan = plan_script(text)
    ast.parse(plan.text)
    assert plan.text == text or plan_script(plan.text).text == plan.text
    return plan


def changes(plan: FilePlan) -> Counter[str]:
    """What is changed."""
    return Counter(change.name for change in plan.changes)


@functools.cache
def expected(case: str) -> Counter[str]:
    """What is changed without noise."""
    return changes(planned(script(case)))


@both
@noisy
@given(seed=st.integers(0, 2**32))
def test_comments_and_line_breaks_change_nothing(case: str, seed: int) -> None:
    pick = random.Random(seed).randrange
    commented, comments = noise.with_comments(script(case), pick)
    noised = noise.with_line_breaks(commented, pick)
    ast.parse(noised)
    plan = planned(noised)
    assert changes(plan) == expected(case)
    assert all(comment in plan.text for comment in comments)


def test_the_noise_is_heard() -> None:
    text = script("33_several_defects")
    pick = random.Random(1).randrange
    assert len(noise.with_comments(text, pick)[1]) > 1
    assert noise.with_line_breaks(text, pick).count("\n") > text.count("\n")
    assert "model" not in noise.renamed("model = f(model=model)", "model", "m").replace(
        "model=m", ""
    )
    assert noise.wrapped("import a\nb = 1\n", "def f():") == "import a\ndef f():\n    b = 1\n"


@both
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.split("\n")[-1].strip())
def test_a_script_in_a_function_is_the_same_script(case: str, head: str) -> None:
    text = noise.wrapped(script(case), head)
    ast.parse(text)
    assert changes(planned(text)) == expected(case)


@both
@pytest.mark.parametrize("new", ["net_1", "größe", "embedding"])
def test_a_model_may_have_any_name(case: str, new: str) -> None:
    text = noise.renamed(script(case), "model", new)
    ast.parse(text)
    assert changes(planned(text)) == expected(case)


@both
def test_a_function_may_be_imported_under_any_name(case: str) -> None:
    text = script(case)
    for number, imported in enumerate(
        ["get_peft_model", "prepare_model_for_kbit_training", "PeftModel", "AutoModelForCausalLM"]
    ):
        if f"import {imported}" in text or f", {imported}" in text:
            text = noise.aliased(text, imported, f"alias_{number}")
    ast.parse(text)
    assert changes(planned(text)) == expected(case)


@noisy
@given(
    st.text(alphabet="abc=()[]{}:,.#'\"\\ \t\n\r\f@*+lambda if for in with def class", max_size=80)
)
def test_any_text_is_planned_or_refused(text: str) -> None:
    try:
        plan = plan_script(text)
    except TargetError:
        return
    assert plan.text == text
