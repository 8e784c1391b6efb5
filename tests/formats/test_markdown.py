"""Markdown, read by a parser: what a model says becomes text and code, never markup; the whole fits a comment."""

import dataclasses
import re
from collections.abc import Iterator

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from gradcheck.core.location import Location
from gradcheck.formats.markdown.markdown import MAX_COMMENT_BYTES, MAX_SUMMARY_BYTES
from gradcheck.formats.markdown.page import MARKER, page
from gradcheck.formats.markdown.text import code, code_block, prose, table
from gradcheck.formats.views.text import clean, clean_lines
from gradcheck.gates.gate import Judged
from gradcheck.reports.formatter import render
from gradcheck.reports.outcome import FixReport
from tests.formats import fixes, gates, reports
from tests.formats.fixes import FIXES
from tests.formats.gates import GATES
from tests.formats.reports import REPORTS

MADE = {**REPORTS, **GATES, **{f"fix-{name}": make for name, make in FIXES.items()}}
PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
OBEYED = re.compile(r"@\w|#\d|GH-\d|https?:|www\.|:\w+:|\$|(?<!\w)[!~%&]\d|<|^/\w", re.IGNORECASE)
"""What GitHub and GitLab look for in text once the Markdown has been read."""
PLAIN_TAGS = {"p", "code", "text", "inline", "softbreak"}
MARKUP = (
    "@everyone #12 GH-7 !3 /close :tada: $x$ ``` ` `` | \\| \\ [a](http://evil) ![i](x) <!-- --> <b> &amp; * _x_ **x** "
    "http://evil www.evil.com ~~x~~ 1. - + # > --- === ( ) [ ] a.b model(x, y) x_y word, (a.b). e.g. 0.5"
)
HOSTILE = st.one_of(
    st.text(max_size=80),
    st.lists(
        st.sampled_from([*MARKUP.split(), "\n", "\r\n", "\t", "\ud800", "\u202e"]), max_size=12
    ).map(" ".join),
)


def markdown(judged: Judged, name: str = "markdown") -> str:
    return render(judged, name, gates.options())


def tokens(text: str) -> Iterator[Token]:
    for token in PARSER.parse(text):
        yield token
        yield from token.children or ()


def content(text: str) -> str:
    """What a reader sees of a paragraph."""
    return "".join(t.content for t in tokens(text) if t.type in ("text", "code_inline"))


@settings(max_examples=400)
@given(HOSTILE)
def test_prose_shows_the_text_and_nothing_of_it_is_markup(text: str) -> None:
    made = prose(text)
    assert content(made) == clean(text)
    assert {t.tag for t in tokens(made) if t.tag} <= {"p", "code"}
    assert {t.type for t in tokens(made) if t.type.startswith("html")} == set()
    for token in tokens(made):
        if token.type == "text":
            assert not OBEYED.search(token.content.replace(" < ", "")), token.content


@settings(max_examples=400)
@given(HOSTILE, HOSTILE)
def test_a_cell_stays_one_cell(first: str, second: str) -> None:
    rows = [[prose(first, cell=True), code(second, cell=True)]]
    made = list(tokens(table(["a", "b"], rows)))
    assert [t.type for t in made].count("tr_open") == 2
    assert [t.type for t in made].count("td_open") == 2
    assert {t.type for t in made if t.type.startswith(("html", "link", "image"))} == set()


@given(HOSTILE)
def test_code_is_code(text: str) -> None:
    made = f"before {code(text)} after"
    if clean(text):
        (inline,) = [t for t in tokens(made) if t.type == "code_inline"]
        assert inline.content == clean(text)


@example("a\n```\nb")
@example("````\n```\n~~~")
@given(st.one_of(HOSTILE, st.text(alphabet="`~\n a")))
def test_a_block_of_code_ends_where_it_should(text: str) -> None:
    made = list(tokens(f"{code_block(text)}\n\nafter"))
    blocks = [t.content for t in made if t.type == "fence"]
    lines = clean_lines(text)
    assert blocks == (["\n".join(lines) + "\n"] if lines else [])
    assert [t.content for t in made if t.type == "text"] == ["after"]


def test_what_is_obeyed_would_be_noticed() -> None:
    assert all(
        map(OBEYED.search, ("@ada", "see #12", "http://x", ":tada:", "a $x$", "!3", "/close"))
    )
    assert {t.tag for t in tokens("a *b* [c](d)")} > {"em", "a"}


def test_names_and_calls_read_as_code_and_sentences_as_sentences() -> None:
    text = "Call model.enable(x, y) in layers.0–29 (torch.nn.Linear), then bf16[1, 64, 576] = ok, e.g. 0.5."
    assert prose(text) == (
        "Call `model.enable(x, y)` in `layers.0–29` (`torch.nn.Linear`), then `bf16[1, 64, 576]` = ok, e.g. 0.5."
    )
    assert prose("1. no list") == "`1`. no list"
    assert prose("# no heading") == "`#` no heading"


@pytest.mark.parametrize("name", MADE)
def test_a_comment_fits_and_so_does_a_summary(name: str) -> None:
    assert len(markdown(MADE[name]()).encode()) <= MAX_COMMENT_BYTES < 65_536
    assert len(markdown(MADE[name](), "github-summary").encode()) <= MAX_SUMMARY_BYTES < 2**20


def test_a_comment_fits_where_every_character_takes_four_bytes() -> None:
    wide = "\U00020000" * 5000
    (found,) = fixes.source_only().before.findings
    found = dataclasses.replace(
        found,
        message=wide,
        module=wide,
        evidence=((wide, wide),) * 20,
        location=Location(file=wide, line=1, text=wide),
        repairs=(dataclasses.replace(fixes.ENABLE, name=wide, summary=wide, snippet=wide),) * 9,
    )
    report = dataclasses.replace(
        reports.healthy(), findings=(found,) * 40, setup=((wide, wide),) * 90, notes=(wide,) * 90
    )
    result = dataclasses.replace(gates.mixed().results[1], name=wide, report=report)
    gate = dataclasses.replace(gates.mixed(), results=(result,) * 100)
    verified = fixes.verified(found.repairs[0], wide, found.code)
    fixed = FixReport(before=report, after=report, outcomes=(verified,) * 30)
    for judged in (report, gate, fixed):
        text = markdown(judged)
        assert len(text.encode()) <= MAX_COMMENT_BYTES
        assert "GC202" in text


def test_a_dry_run_is_no_success_yet() -> None:
    for dry_run, sign in ((True, "⚠️ gradcheck: REPAIRABLE"), (False, "✅ gradcheck: REPAIRED")):
        made = render(fixes.repaired(), "markdown", gates.options(dry_run=dry_run))
        assert made.splitlines()[2].startswith(f"### {sign}")
    assert "`transformers/models/llama/modeling_llama.py:412` in" in made


@pytest.mark.parametrize("name", MADE)
def test_every_line_that_opens_something_closes_it(name: str) -> None:
    made = [t for t in tokens(markdown(MADE[name]())) if t.type == "html_block"]
    text = "".join(t.content for t in made)
    assert text.count("<details>") == text.count("</details>") == text.count("<summary>")
    tags = set(re.findall(r"<[/!\w-]+", text))
    assert tags <= {"<!--", "<details", "</details", "<summary", "</summary", "<code", "</code"}
    assert not [t for t in tokens(markdown(MADE[name]())) if t.type == "html_inline"]


@pytest.mark.parametrize("make", [reports.hostile, fixes.hostile, gates.hostile])
@pytest.mark.parametrize("name", ["markdown", "github-summary"])
def test_hostile_text_is_neither_markup_nor_a_mention(make: object, name: str) -> None:
    assert callable(make)
    made = list(tokens(markdown(make(), name)))
    links = [str(t.attrs["href"]) for t in made if t.type == "link_open"]
    assert all(link.startswith(f"{gates.SOURCE_URL}/") for link in links)
    assert not [t for t in made if t.type == "image"]
    words = [t.content for t in made if t.type == "text"]
    assert not [word for word in words if OBEYED.search(word)]


def test_a_line_of_the_repository_is_linked_and_no_other() -> None:
    made = markdown(gates.mixed())
    assert f"[`train/model.py:88`]({gates.SOURCE_URL}/train/model.py#L88)" in made
    assert "[`transformers" not in made
    assert "](" not in render(gates.mixed(), "markdown", gates.options(source_url=""))
    assert "](" not in render(gates.mixed(), "markdown", gates.options(source_url="javascript:x"))


def test_what_does_not_fit_is_counted() -> None:
    blocks = [f"problem {i} " + "x" * 90 for i in range(50)]
    made = page(["head"], {"problem": blocks, "section": ["y" * 900]}, 2000)
    assert len(made.encode()) <= 2000
    shown = made.count("problem ")
    assert f"… {50 - shown} more problems: all of them with `--format json`" in made
    assert made.rstrip().endswith("… 1 more section: all of them with `--format json`")


def test_a_comment_is_found_again_by_its_first_line() -> None:
    for judged in (reports.classic(), fixes.repaired(), gates.mixed()):
        assert markdown(judged).splitlines()[0] == MARKER
        assert markdown(judged).count(MARKER) == 1


def test_a_gate_shows_a_row_a_target_and_tells_of_each_problem() -> None:
    made = markdown(gates.mixed())
    for name, words in zip(
        gates.NAMES, ("✅ healthy", "❌ findings", "❌ findings", "⚠️ drifted", "⛔ could not run"), strict=True
    ):  # fmt: skip
        assert f"| `{name}` | {words} |" in made
    assert "- `lora_A q_proj layers.0–29`: tensors 30 → 15;" in made
    assert "`broken-source`: ignored: GC6: the optimizer is made elsewhere" in made
    assert "1 in the baseline" in made


def test_a_repair_is_shown_with_its_proof() -> None:
    made = markdown(fixes.two_repairs())
    assert "### ✅ gradcheck: REPAIRED by enable-input-require-grads and hook-entries" in made
    assert "```python\nmodel.enable_input_require_grads()\n```" in made
    assert "Result: 210 of 420 trainable tensors with a gradient" in made
    assert "Rejected: 1 repair" in made
