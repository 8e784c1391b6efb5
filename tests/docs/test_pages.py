"""The documentation: its blocks run, its links lead somewhere, its pictures are there and load nothing."""

import re
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from ruamel.yaml import YAML

from tests.docs.pages import DOCS, PAGES, ROOT, Block, Reader, blocks, conversations, matches

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)|\]\(([^)\s]+)\)|\bsrc(?:set)?=\"([^\"]+)\"")
RUN = [
    page
    for page in PAGES
    if any(
        block.language in ("python", "py", "console") for block in blocks(page.read_text("utf-8"))
    )
]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """What a page calls ``model`` and ``batch`` without saying more."""
    from gradcheck.loading.demo import demo_subject

    subject = demo_subject(broken=False)
    return {"model": subject.model, "batch": subject.batch}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a report breaks the line where a path is long."""
    with tempfile.TemporaryDirectory(prefix="page-") as made:
        yield Path(made)


@pytest.mark.parametrize("page", RUN, ids=name)
def test_what_a_page_says_is_so(page: Path, folder: Path, example: dict[str, Any]) -> None:
    reader = Reader(folder, dict(example))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the pages are about things that torch warns of
        for block in blocks(page.read_text("utf-8")):
            reader.follow(block)


def test_the_start_ends_with_a_repaired_model() -> None:
    console = [b for b in blocks((DOCS / "start.md").read_text("utf-8")) if b.language == "console"]
    answers = [answer for block in console for _, answer in conversations(block.text)]
    assert [answer.split()[0] for answer in answers] == ["BROKEN", "REPAIRED", "HEALTHY"]


def test_what_is_not_so_is_noticed(tmp_path: Path) -> None:
    reader = Reader(tmp_path, {})
    wrong = "$ gradcheck rule GC301\n# GC301 something-else\n...\n"
    with pytest.raises(AssertionError, match="GC301 reentrant-checkpoint-without-grad-input"):
        reader.follow(Block(language="console", title=None, text=wrong, line=1))
    with pytest.raises(ZeroDivisionError):
        reader.follow(Block(language="python", title=None, text="1 / 0\n", line=1))
    with pytest.raises(SyntaxError):
        reader.follow(Block(language="py", title=None, text="1 +\n", line=1))
    assert matches("a\n...\nc\n", "a\nb\nc\n")
    assert not matches("a\n...\nc\n", "a\nb\n")


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_toml_can_be_read(page: Path) -> None:
    for block in blocks(page.read_text("utf-8")):
        if block.language == "toml":
            tomlkit.parse(block.text)


def links(page: Path) -> list[str]:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", page.read_text("utf-8"), flags=re.M | re.S)
    return [found[1] or found[2] or found[3] for found in LINK.finditer(text)]


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {words.replace(" ", "-") for words in plain}


def dead(page: Path) -> list[str]:
    found = []
    for link in links(page):
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if "://" in link:
            continue
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", [*PAGES, *sorted(DOCS.glob("rules/*.md"))], ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    assert dead(page) == []


def test_a_dead_link_is_noticed(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A b\n[x](#a-b) [y](#c) ![z](no.svg) [w](page.md#a-b) [![q](q.svg)](page.md)\n"
    )
    assert dead(page) == ["#c", "no.svg", "q.svg"]


@pytest.mark.parametrize("picture", sorted(DOCS.glob("pictures/*.svg")), ids=name)
def test_a_picture_loads_nothing(picture: Path) -> None:
    text = picture.read_text("utf-8")
    outside = re.findall(r"https?://[^\s\"']+", text)
    assert set(outside) <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in text
    assert "<script" not in text


def test_every_picture_is_shown() -> None:
    shown = {link.rpartition("/")[2] for page in PAGES for link in links(page)}
    assert [p.name for p in DOCS.glob("pictures/*") if p.name not in shown] == []


def test_the_site_has_every_page_and_no_other() -> None:
    def named(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        inner = entry.values() if isinstance(entry, dict) else entry
        return [page for part in inner for page in named(part)]

    config = YAML(typ="safe").load((ROOT / "mkdocs.yml").read_text("utf-8"))
    there = {str(page.relative_to(DOCS)) for page in PAGES if page.is_relative_to(DOCS)}
    assert set(named(config["nav"])) == there | {"rules/README.md"}
