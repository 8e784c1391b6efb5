"""The terminal format: what it says, that it fits, and that nothing from the model acts on the terminal."""

import dataclasses
import re
import unicodedata

import pytest

from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.formats.terminal.report import render
from gradcheck.formats.views.chain import common_prefix, covers, shown_links
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Break, Link, Report
from tests.formats import reports
from tests.formats.reports import REPORTS

COLOR = re.compile(r"\x1b\[[0-9;]*m")


def shown(report: Report, *, width: int = 80, color: bool = False, verbose: bool = False) -> str:
    return render(report, RenderOptions(width=width, color=color, verbose=verbose))


@pytest.mark.parametrize("name", REPORTS)
@pytest.mark.parametrize("width", [76, 80, 120, 200])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_line_is_wider_than_the_window(name: str, width: int, verbose: bool) -> None:
    for line in shown(REPORTS[name](), width=width, verbose=verbose).splitlines():
        assert len(line) <= width, line


@pytest.mark.parametrize("name", REPORTS)
def test_color_changes_no_word(name: str) -> None:
    colored = shown(REPORTS[name](), color=True)
    assert COLOR.search(colored)
    plain = [line.rstrip() for line in COLOR.sub("", colored).splitlines()]
    assert plain == shown(REPORTS[name]()).splitlines()


def test_without_color_there_is_no_escape() -> None:
    assert "\x1b" not in shown(reports.classic())


@pytest.mark.parametrize("name", ["classic", "healthy", "partial", "failure", "no_adapters"])
def test_the_ordinary_case_fits_one_screen(name: str) -> None:
    assert len(shown(REPORTS[name]()).splitlines()) <= 52


def test_the_classic_bug_is_told_in_full() -> None:
    text = shown(reports.classic(), width=200)
    for words in (
        "BROKEN  none of the 420 trainable tensors gets a gradient · 1 error",
        "error GC301 reentrant-checkpoint-without-grad-input",
        "base_model.model.model.layers.0 · transformers/models/llama/modeling_llama.py:412",
        "> hidden_states = decoder_layer(",
        "hidden_states bf16[1, 64, 576], made by torch.nn.functional.embedding",
        "420 tensors, 4,884,480 parameters",
        "model.enable_input_require_grads()",
        "gradcheck rule GC301",
        "input grads off",
        "trainable params: 4,884,480 || all params: 139,399,488 || trainable%: 3.5039",
        "GC601, GC602: no optimizer",
    ):
        assert words in text


def test_the_cut_is_marked_where_it_is() -> None:
    lines = shown(reports.classic()).splitlines()
    (cut,) = [line for line in lines if "CUT" in line]
    for word in ("layers.0–29 ×30", "starved", "0 of 420", "GC301"):
        assert word in cut


def test_a_healthy_chain_has_no_cut() -> None:
    text = shown(reports.healthy())
    assert text.startswith("HEALTHY  all 420 trainable tensors get a gradient")
    assert "CUT" not in text
    assert "PART" not in text


def test_a_zero_gradient_that_is_all_right_says_why() -> None:
    assert "(1) waits for lora_B" in shown(reports.healthy())


def test_an_incomplete_gradient_is_said_in_the_verdict() -> None:
    first = " ".join(shown(reports.partial()).split())
    assert "all 420 trainable tensors get a gradient, 40 of them an incomplete one" in first


def test_a_partial_break_is_marked_where_no_parameter_is_lost() -> None:
    report = reports.partial()
    links = tuple(dataclasses.replace(link, cut=False) for link in report.chain)
    (marked,) = [
        line
        for line in shown(dataclasses.replace(report, chain=links)).splitlines()
        if "PART" in line
    ]
    assert "layers.12 " in marked


def test_the_tensor_comes_from_the_break_where_the_finding_names_none() -> None:
    assert "bf16[1, 64, 576], made by torch.nn.functional.linear" in shown(reports.partial())


def test_an_error_that_leaves_all_gradients_is_named_in_the_verdict() -> None:
    finding = Finding(
        code="GC601", rule="trainable-parameter-not-in-optimizer", severity="error", message="m"
    )
    text = shown(dataclasses.replace(reports.healthy(), findings=(finding,)), width=200)
    assert "get a gradient, but: trainable-parameter-not-in-optimizer" in text


def test_errors_come_before_warnings_and_notes() -> None:
    text = shown(reports.partial())
    assert text.index("GC202") < text.index("GC404")


def test_many_findings_are_bounded_and_counted() -> None:
    lines = shown(reports.many_findings()).splitlines()
    assert len(lines) < 170
    assert any("45 more findings" in line for line in lines)
    assert any("192 more groups" in line for line in lines)
    assert any("25 more notes" in line for line in lines)
    assert any("40 more" in line and "⋮" in line for line in lines)


def test_the_cut_is_shown_even_where_links_are_left_out() -> None:
    assert re.search(r"CUT +model\.blocks\.47", shown(reports.many_findings()))


def test_verbose_shows_every_group() -> None:
    report = reports.classic()
    assert "lora_A q_proj" not in shown(report)
    assert "lora_A q_proj" in shown(report, verbose=True)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_hostile_text_is_shown_and_never_obeyed(color: bool, verbose: bool) -> None:
    text = shown(reports.hostile(), color=color, verbose=verbose)
    left = COLOR.sub("", text) if color else text
    for character in left:
        bad = unicodedata.category(character) in {"Cc", "Cf", "Cs"}
        assert character == "\n" or not bad, repr(character)
    assert "[bold]x[/bold]" in left.replace("\n", " ")
    assert "evil" not in left


def test_a_report_with_nothing_in_it_renders() -> None:
    empty = Report(
        findings=(), parameters=(), breaks=(), skipped=(), environment=reports.ENVIRONMENT
    )
    assert shown(empty).startswith("HEALTHY  none of the 0 parameter tensors is trainable")


def test_no_terminal_and_no_variable_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = shown(reports.classic())
    for name, value in {"COLUMNS": "30", "FORCE_COLOR": "1", "TERM": "dumb"}.items():
        monkeypatch.setenv(name, value)
    assert shown(reports.classic()) == expected


@pytest.mark.parametrize(
    ("name", "fqn", "expected"),
    [
        ("model.layers.0-31", "model.layers.7", True),
        ("model.layers.0-31", "model.layers.7.mlp", True),
        ("model.layers.0-31", "model.layers.32", False),
        ("model.layers.0-31", "model.layers", False),
        ("model.layers.12", "model.layers.12", True),
        ("lm_head", "model.lm_head", False),
    ],
)
def test_a_folded_link_covers_its_modules(name: str, fqn: str, expected: bool) -> None:
    assert covers(name, fqn) is expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["base_model.model.model.a", "base_model.model.b"], "base_model.model."),
        (["model.a", "model.b"], ""),
        (["model.blocks.0", "model.blocks.1"], ""),
        (["language_model.layers.0", "language_model.layers.1"], "language_model."),
        (["only.one.that.is.long"], ""),
        (["", "a.b"], ""),
    ],
)
def test_the_shared_beginning_is_said_once(names: list[str], expected: str) -> None:
    assert common_prefix(names) == expected


def test_a_short_chain_is_shown_whole_and_a_long_one_around_its_cuts() -> None:
    def link(cut: bool) -> Link:
        return Link(name="a", type="A", count=1, trainable=0, reached=0, state="live", cut=cut)

    assert shown_links((link(False),) * 5, 16) == [range(5)]
    chain = tuple(link(i == 50) for i in range(100))
    stretches = shown_links(chain, 10)
    assert range(49, 52) in stretches
    assert sum(map(len, stretches)) <= 10


def loose(module: str | None) -> Report:
    """Two layers whose output is detached outside of both."""
    names = ("model.first", "model.second", "model.head")
    records = [reports.parameter(f"{name}.weight", (2,), name, "missing") for name in names]
    location = Location(file="/home/ada/train.py", line=7, text="h = h.detach()")
    cut = Break(
        cause="detach",
        module=module,
        location=location,
        tensor="fp32[2]",
        made_by="linear",
        operation="Tensor.detach",
        starved=("model.first.weight",),
        partial=(),
    )
    finding = Finding(
        code="GC202",
        rule="detached-tensor",
        severity="error",
        message="m",
        module=module,
        location=location,
    )
    links = [
        Link(name=name, type="Linear", count=1, trainable=1, reached=0, state="starved")
        for name in names
    ]
    return Report(
        findings=(finding,),
        parameters=tuple(records),
        breaks=(cut,),
        skipped=(),
        environment=reports.ENVIRONMENT,
        chain=tuple(links),
    )


@pytest.mark.parametrize(
    ("module", "before", "words"),
    [
        ("", "first", "in the model's forward"),
        ("model", "first", "in model"),
        (None, "head", "outside the model"),
    ],
)
def test_a_cut_between_links_has_a_row_of_its_own(
    module: str | None, before: str, words: str
) -> None:
    lines = shown(loose(module)).splitlines()
    (at,) = [index for index, line in enumerate(lines) if "CUT" in line]
    assert f"model.{before} " in lines[at - 1]
    assert words in lines[at]
    assert "train.py:7" in lines[at]
    assert "GC202" in lines[at]


def test_a_cut_of_some_paths_in_the_models_own_forward_has_a_row_too() -> None:
    whole = loose("")
    (cut,) = whole.breaks
    partly = dataclasses.replace(cut, starved=(), partial=cut.starved)
    records = tuple(dataclasses.replace(p, gradient="flows") for p in whole.parameters)
    links = tuple(dataclasses.replace(x, state="live", reached=x.trainable) for x in whole.chain)
    report = dataclasses.replace(whole, breaks=(partly,), parameters=records, chain=links)
    lines = shown(report).splitlines()
    (at,) = [index for index, line in enumerate(lines) if "✂" in line]
    assert "✂ PART  in the model's forward" in lines[at]
    assert "train.py:7" in lines[at]
    assert "model.first " in lines[at - 1]


def test_a_loss_without_a_number_is_not_called_no_loss() -> None:
    assert "loss not known" in shown(dataclasses.replace(reports.healthy(), loss=None))
    (link, *_) = reports.classic().chain
    ended = dataclasses.replace(link, state="unknown")
    assert "loss none" in shown(dataclasses.replace(reports.failure(), loss=None, chain=(ended,)))


def test_a_file_below_the_working_directory_is_named_from_there() -> None:
    location = Location(file="/home/ada/project/train/model.py", line=88, text="x")
    (finding,) = [f for f in reports.partial().findings if f.severity == "error"]
    report = dataclasses.replace(
        reports.partial(), findings=(dataclasses.replace(finding, location=location),)
    )
    inside = render(report, RenderOptions(folder="/home/ada/project"))
    assert "train/model.py:88" in inside
    assert "/home/ada" not in inside
    assert "/home/ada/project/train/model.py:88" in render(report, RenderOptions(folder="/home/b"))
