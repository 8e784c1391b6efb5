"""The terminal format of a FixReport: what it says, that it fits, and that nothing acts on the terminal."""

import dataclasses
import re
import unicodedata

import pytest

from gradcheck.reports.formatter import RenderOptions, render
from gradcheck.reports.outcome import FixReport
from tests.formats import fixes, reports
from tests.formats.fixes import FIXES

COLOR = re.compile(r"\x1b\[[0-9;]*m")


def shown(report: FixReport, *, width: int = 80, color: bool = False, verbose: bool = False) -> str:
    return render(report, "terminal", RenderOptions(width=width, color=color, verbose=verbose))


@pytest.mark.parametrize("name", FIXES)
@pytest.mark.parametrize("width", [76, 80, 120, 200])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_the_window(name: str, width: int, verbose: bool) -> None:
    for line in shown(FIXES[name](), width=width, verbose=verbose).splitlines():
        assert len(line) <= width, line


@pytest.mark.parametrize("name", FIXES)
def test_color_changes_no_word(name: str) -> None:
    colored = shown(FIXES[name](), color=True)
    assert COLOR.search(colored)
    plain = [line.rstrip() for line in COLOR.sub("", colored).splitlines()]
    assert plain == shown(FIXES[name]()).splitlines()


@pytest.mark.parametrize("name", [name for name in FIXES if name not in ("large", "hostile")])
def test_the_ordinary_case_fits_one_screen(name: str) -> None:
    assert len(shown(FIXES[name]()).splitlines()) <= 56


def test_a_repair_is_told_in_full() -> None:
    lines = shown(fixes.repaired(), width=200).splitlines()
    for words in (
        "REPAIRED  by enable-input-require-grads, verified on the recorded step",
        "before    BROKEN  none of the 420 trainable tensors gets a gradient · 1 error",
        "after     HEALTHY  all 420 trainable tensors get a gradient (210 zero: waits for lora_B)",
        "✔ verified GC301 enable-input-require-grads",
        "  change    model.enable_input_require_grads()",
        "· not tried GC301 use-non-reentrant-checkpointing, hook-entries and checkpointing-off",
        "  why not   the step is healthy without it",
        "trainable params: 4,884,480 || all params: 139,399,488 || trainable%: 3.5039",
        "skipped   GC601, GC602: no optimizer",
    ):
        assert words in lines
    (row,) = [line.split() for line in lines if line.startswith("lora_B")]
    assert row[-4:-1] == ["fp32", "missing", "flows"]


def test_what_the_model_only_shows_says_that_it_was_not_kept() -> None:
    text = render(fixes.repaired(), "terminal", RenderOptions(dry_run=True))
    assert text.startswith("REPAIRABLE  by enable-input-require-grads")


def test_outcomes_come_in_the_order_in_which_they_were_tried() -> None:
    text = shown(fixes.two_repairs())
    heads = re.findall(r"^[✔✖·] (verified|rejected|not tried) GC301 (\S+)", text, re.MULTILINE)
    assert heads == [
        ("rejected", "use-non-reentrant-checkpointing"),
        ("verified", "enable-input-require-grads"),
        ("verified", "hook-entries"),
        ("not tried", "checkpointing-off"),
    ]


def test_verbose_shows_what_each_repair_would_change() -> None:
    snippet = "model.gradient_checkpointing_disable()"
    assert snippet not in shown(fixes.two_repairs())
    text = shown(fixes.two_repairs(), verbose=True)
    assert snippet in text
    assert text.count("  change  ") == 4


def test_what_is_left_comes_with_its_line_and_the_edit() -> None:
    for make in (fixes.improved, fixes.source_only):
        left = shown(make()).partition("What is left\n")[2]
        assert left.startswith("✖ error GC202 detached-tensor")
        assert "train/model.py:88" in left
        assert ".detach()" in left
        assert "x = x.clone()" in left


def test_where_nothing_changed_there_is_no_table_of_changes() -> None:
    text = shown(fixes.source_only())
    assert "before and after" not in text
    assert "verdict   2 of 3 trainable tensors get no gradient · 1 error" in text
    assert "weight embed" in text


def test_where_there_was_nothing_to_repair_there_is_no_word_of_repairs() -> None:
    text = shown(fixes.healthy())
    assert text.startswith("HEALTHY  nothing to repair: all 420 trainable tensors get a gradient")
    assert "Repairs" not in text
    assert "What is left" not in text


def test_an_unsafe_repair_is_called_so_and_a_warning_stays_visible() -> None:
    text = shown(fixes.unsafe(), width=200)
    assert "(changes loss, numerics or memory)" in text
    assert "▲ warning GC404" in text.partition("What is left\n")[2]
    assert re.search(r"^before +0 of 134,515,008 parameters are trainable", text, re.MULTILINE)
    assert re.search(
        r"^after +4,884,480 of 139,399,488 parameters are trainable", text, re.MULTILINE
    )
    assert re.search(r"^lora_B .* absent +flows", text, re.MULTILINE)


def test_a_note_alone_is_not_called_left() -> None:
    note = reports.partial().findings[0]
    report = fixes.repaired()
    noted = dataclasses.replace(report, after=dataclasses.replace(report.after, findings=(note,)))
    assert "What is left" not in shown(noted)
    assert "What is left" in shown(noted, verbose=True)


def test_much_is_bounded_and_counted() -> None:
    text = shown(fixes.large())
    assert len(text.splitlines()) < 260
    for words in (
        "24 more repairs rejected",
        "more repairs not tried",
        "more groups",
        "45 more findings",
    ):
        assert words in text
    assert all(f"anchor-{i}" in text for i in range(5))
    assert len(shown(fixes.large(), verbose=True)) < 1_000_000


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_hostile_text_is_shown_and_never_obeyed(color: bool, verbose: bool) -> None:
    text = shown(fixes.hostile(), color=color, verbose=verbose)
    left = COLOR.sub("", text) if color else text
    for character in left:
        bad = unicodedata.category(character) in {"Cc", "Cf", "Cs"}
        assert character == "\n" or not bad, repr(character)
    assert "[bold]x[/bold]" in " ".join(left.split())
    assert "evil" not in left
