"""Cleaning, shortening and counting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck.core.words import counted
from gradcheck.formats.views.text import (
    clean,
    clean_lines,
    code_lines,
    middle,
    percent,
    ranges,
    short_path,
)


@given(st.text(), st.integers(min_value=1, max_value=50))
def test_clean_text_is_one_bounded_line_that_can_be_written(text: str, limit: int) -> None:
    cleaned = clean(text, limit)
    assert len(cleaned) <= limit
    assert cleaned.isprintable() or all(c.isprintable() or c.isspace() for c in cleaned)
    assert "\x1b" not in cleaned
    cleaned.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1bP1;2|payload\x1b\\text", "text"),
        ("a\r\nb\tc", "a b c"),
        ("a\u202eb\u200bc", "abc"),
        ("\ud800", "\ufffd"),
        ("naïve 模型 ✂", "naïve 模型 ✂"),
        ("[bold]kept[/bold]", "[bold]kept[/bold]"),
    ],
)
def test_clean_takes_out_what_acts_and_keeps_what_reads(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_clean_lines_keep_indentation_and_say_how_many_are_left_out() -> None:
    assert clean_lines("a(\n    b)\nc\nd", max_lines=2) == ["a(", "    b)", "… 2 more lines"]


def test_a_long_line_of_code_is_broken_inside_brackets_and_stays_valid() -> None:
    line = 'model.enable(first={"use_reentrant": False}, second=other_function(1, 2, 3), third=4)'
    parts = code_lines(line, 40)
    assert all(len(part) <= 44 for part in parts)
    compile("\n".join(parts), "snippet", "exec")
    assert "".join(part.strip() for part in parts).replace(" ", "") == line.replace(" ", "")


def test_a_long_line_of_code_is_broken_where_it_reads_well() -> None:
    line = 'group.add({"params": [p for p in model.parameters() if p.requires_grad and id(p) not in held]})'
    assert code_lines(line, 66) == [
        'group.add({"params": [',
        "    p for p in model.parameters() if p.requires_grad and id(p)",
        "    not in held]})",
    ]
    line = 'model = get_peft_model(model, LoraConfig(target_modules="all-linear"))'
    assert code_lines(line, 66) == [
        "model = get_peft_model(model, LoraConfig(",
        '    target_modules="all-linear"))',
    ]
    line = "model.get_submodule('vision.patch').register_forward_hook(require_grad)"
    assert code_lines(line, 66) == [
        "model.get_submodule('vision.patch').register_forward_hook(",
        "    require_grad)",
    ]


@pytest.mark.parametrize("line", ["x" * 90, "f('" + "a, " * 40 + "')", "a = b, " + "c" * 90])
def test_a_line_of_code_without_a_place_to_break_is_valid_still(line: str) -> None:
    compile("\n".join(code_lines(line, 40)), "snippet", "exec")


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/v/lib/python3.11/site-packages/peft/tuners/lora.py", "peft/tuners/lora.py"),
        ("C:\\v\\Lib\\site-packages\\peft\\lora.py", "peft\\lora.py"),
        ("/usr/lib/python3.11/contextlib.py", "python3.11/contextlib.py"),
        ("/home/ada/train.py", "/home/ada/train.py"),
        ("train.py", "train.py"),
    ],
)
def test_installed_files_are_named_from_their_package(file: str, expected: str) -> None:
    assert short_path(file) == expected


def test_numbers() -> None:
    assert counted(1, "tensor") == "1 tensor"
    assert counted(1024, "tensor") == "1,024 tensors"
    assert percent(1, 4) == "25.00"
    assert percent(1, 10**9) == "<0.01"
    assert percent(0, 0) == "0.00"
    assert middle("model.layers.0.self_attn", 12) == "mode…lf_attn"
    assert ranges("layers.0-31,40") == "layers.0–31,40"
