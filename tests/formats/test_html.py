"""The HTML page and the notebook's fragment: well-formed, escaped, bounded, without anything that loads."""

import base64
import dataclasses
import hashlib
import re
from collections.abc import Callable
from html.parser import HTMLParser

import pytest

from gradcheck.findings.rule import RULES
from gradcheck.formats.html.document import asset
from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import RenderOptions, render
from tests.formats import fixes, gates, reports
from tests.formats.fixes import FIXES
from tests.formats.gates import GATES
from tests.formats.reports import REPORTS

Made = Callable[[], Judged]

FRAGMENT, PAGE = RenderOptions(fragment=True), RenderOptions()
VOID = {"br", "link", "meta", "wbr"}
MADE = [*REPORTS.values(), *FIXES.values(), *(make for n, make in GATES.items() if n != "endless")]
SINGLE = [*REPORTS.values(), *FIXES.values()]


class Checker(HTMLParser):
    """Collects tags, attributes and text; fails where a tag is closed that is not open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.attributes}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text.append(data)


def parsed(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == []
    return checker


# The page


@pytest.mark.parametrize("make", MADE)
@pytest.mark.parametrize("verbose", [False, True])
def test_the_page_is_well_formed_and_has_each_id_once(make: Made, verbose: bool) -> None:
    html = render(make(), "html", RenderOptions(verbose=verbose))
    assert html.startswith('<!doctype html>\n<html lang="en">')
    checker = parsed(html)
    ids = [value for name, value in checker.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    links = {
        value[1:] for n, value in checker.attributes if n == "href" and value and value[0] == "#"
    }
    assert links <= set(ids)


@pytest.mark.parametrize("make", MADE)
def test_nothing_in_the_page_loads_or_runs_but_its_own_script(make: Made) -> None:
    html = render(make(), "html", PAGE)
    checker = parsed(html)
    assert not {"img", "iframe", "object", "embed", "base", "form", "audio", "video"} & checker.tags
    assert not {name for name in checker.names if name.startswith("on") or name in ("style", "src")}
    targets = [value or "" for name, value in checker.attributes if name == "href"]
    assert all(re.match(r"#|https://|data:image/svg\+xml;base64,", target) for target in targets)
    scripts = re.findall(r"<script([^>]*)>", html)
    assert sorted(set(scripts)) in ([""], ["", ' type="application/json"'])
    assert scripts.count("") == 1


def test_the_policy_names_the_style_sheet_and_the_script_by_their_hashes() -> None:
    html = render(reports.classic(), "html", PAGE)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', html)
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{directive} &#x27;sha256-{digest}&#x27;" in policy
    assert "default-src &#x27;none&#x27;" in policy
    assert "unsafe" not in policy


def test_the_script_makes_text_and_never_markup() -> None:
    script = asset("page.js")
    for word in (
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "Function(",
    ):
        assert word not in script
    assert "</" not in script
    assert "</" not in asset("page.css")


@pytest.mark.parametrize(
    ("make", "options"),
    [
        (reports.hostile, PAGE),
        (fixes.hostile, PAGE),
        (gates.hostile, PAGE),
        (reports.hostile, FRAGMENT),
        (fixes.hostile, FRAGMENT),
    ],
)
def test_hostile_text_stays_text(make: Made, options: RenderOptions) -> None:
    html = render(make(), "html", options)
    assert "<script>alert" not in html
    assert "\x1b" not in html
    assert "\u202e" not in html
    assert "<script>alert(1)</script>" in "".join(parsed(html).text)


def test_an_unescaped_tag_would_be_noticed() -> None:
    assert "script" in parsed("<div><script>alert(1)</script></div>").tags
    assert "onerror" in parsed("<div><b onerror=1></b></div>").names


@pytest.mark.parametrize("make", [reports.many_findings, fixes.large, gates.endless])
def test_a_page_is_bounded(make: Made) -> None:
    assert len(render(make(), "html", PAGE).encode()) < 2_000_000


def test_endless_messages_and_ten_thousand_findings_are_cut_and_counted() -> None:
    report = reports.many_findings()
    finding = dataclasses.replace(report.findings[0], message="word " * 1_000_000)
    many = dataclasses.replace(report, findings=(finding,) * 10_000)
    html = render(many, "html", PAGE)
    assert len(html.encode()) < 2_000_000
    assert "9,670 more findings" in html


def test_the_page_tells_the_parts_in_the_order_in_which_they_are_read() -> None:
    words = " ".join(" ".join(parsed(render(reports.classic(), "html", PAGE)).text).split())
    told = (
        "✖ Broken",
        "None of the 420 trainable tensors gets a gradient · 1 error",
        "✖ error GC301 reentrant-checkpoint-without-grad-input",
        "modeling_llama.py:412",
        "hidden_states = decoder_layer(",
        "What to do makes the embedding's output require grad",
        "model.gradient_checkpointing_enable",
        "What it does",
        "inputs",
        "✂ cut in each · GC301",
        "Gradient norms",
        "Each cell is the tensor of one projection in one layer",
        "lora_A q_proj layers.0–29",
        "Set-up and environment",
        "What was not checked",
        "no optimizer",
        "GC601 trainable-parameter-not-in-optimizer",
    )
    places = [words.index(text) for text in told]
    assert places == sorted(places)


@pytest.mark.parametrize("code", sorted(RULES.all()))
def test_the_page_of_every_rule_is_told_whole(code: str) -> None:
    report = reports.classic()
    finding = dataclasses.replace(report.findings[0], code=code)
    html = render(dataclasses.replace(report, findings=(finding,)), "html", PAGE)
    said = re.sub(r"\s", "", "".join(parsed(html).text))
    for line in RULES.all()[code].page.splitlines()[1:]:
        plain = line.removeprefix("## ").removeprefix("- ") if not line.startswith("    ") else line
        plain = plain if line.startswith("    ") else plain.replace("`", "")
        assert re.sub(r"\s", "", plain) in said


def test_a_call_over_several_lines_is_shown_whole() -> None:
    report = reports.classic()
    statement = ((412, "hidden_states = decoder_layer("), (413, "hidden_states,"), (414, ")"))
    location = dataclasses.replace(reports.LAYER_CALL, statement=statement)
    finding = dataclasses.replace(report.findings[0], location=location)
    html = render(dataclasses.replace(report, findings=(finding,)), "html", PAGE)
    assert '<span class="line" data-n="412"><mark>hidden_states = decoder_layer(</mark>' in html
    assert '<span class="line further" data-n="413">hidden_states,' in html
    assert '<span class="line" data-n="414">)' in html


def test_a_source_line_leads_to_the_repository_on_the_web_where_there_is_one() -> None:
    link = f'<a href="{gates.SOURCE_URL}/train/model.py#L88" rel="noreferrer noopener">'
    assert link in render(reports.partial(), "html", gates.options())
    for url in ("", "javascript:alert(1)"):
        html = render(reports.partial(), "html", gates.options(source_url=url))
        assert "train/model.py" not in re.findall('href="([^"]*)"', html)
        assert "javascript:" not in html


@pytest.mark.parametrize(
    ("fix", "dry_run", "word"),
    [
        (fixes.repaired, False, "Repaired"),
        (fixes.repaired, True, "Repairable"),
        (fixes.improved, False, "Still broken"),
        (fixes.healthy, False, "Healthy"),
    ],
)
def test_the_page_of_a_repair_says_what_came_of_it(fix: Made, dry_run: bool, word: str) -> None:
    html = render(fix(), "html", RenderOptions(dry_run=dry_run))
    assert f"</span> {word}</h1>" in html


def test_a_gate_tells_of_each_target_what_the_lock_and_the_baseline_say() -> None:
    text = " ".join(" ".join(parsed(render(gates.mixed(), "html", PAGE)).text).split())
    for words in ("Failed", "could not run", "in the lock and does not train", "the optimizer is made elsewhere",
                  "fixed since the baseline", "no answer within 120 s"):  # fmt: skip
        assert words in text


# The fragment


@pytest.mark.parametrize("make", SINGLE)
@pytest.mark.parametrize("verbose", [False, True])
def test_the_fragment_is_well_formed_and_leaks_no_style(make: Made, verbose: bool) -> None:
    checker = parsed(render(make(), "html", RenderOptions(verbose=verbose, fragment=True)))
    assert checker.tags <= {
        "div", "p", "b", "span", "code", "pre", "table", "thead", "tbody", "tr", "th", "td",
    }  # fmt: skip
    assert checker.names <= {"style", "class"}


@pytest.mark.parametrize("make", [reports.classic, fixes.repaired])
def test_a_notebook_shows_the_fragment(make: Made) -> None:
    shown = make()._repr_html_()  # type: ignore[union-attr]
    assert shown == render(make(), "html", FRAGMENT)
    assert shown.startswith("<div")


@pytest.mark.parametrize("make", [reports.many_findings, fixes.large])
def test_a_fragment_is_compact(make: Made) -> None:
    assert len(render(make(), "html", FRAGMENT)) < 200_000


def test_a_repair_is_told_before_the_step_as_it_is_now() -> None:
    words = " ".join("".join(parsed(render(fixes.two_repairs(), "html", FRAGMENT)).text).split())
    told = (
        "REPAIRED by enable-input-require-grads and hook-entries",
        "before BROKEN: none of the 420 trainable tensors gets a gradient",
        "rejected GC301 use-non-reentrant-checkpointing why not with it the backward raises",
        "verified GC301 enable-input-require-grads",
        "model.enable_input_require_grads()",
        "not tried GC301 checkpointing-off: the step is healthy without it",
        "Trainable parameters, before and after",
        "HEALTHY all 420 trainable tensors get a gradient",
    )
    places = [words.index(text) for text in told]
    assert places == sorted(places)
