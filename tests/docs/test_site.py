"""The site as it is built: every page is there, and none of them loads anything from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, ROOT

LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=[\"']?([^\"'\s>]+)|<link\b(?![^>]*\brel=[\"']?(?:canonical|prev|next)\b)"
    r"[^>]*\bhref=[\"']?([^\"'\s>]+)|url\(([^)]+)\)"
)


def loaded_from_elsewhere(html: str) -> list[str]:
    found = ("".join(match.groups(default="")) for match in LOADED.finditer(html))
    return [address for address in found if re.match(r"(https?:)?//", address.strip("\"' "))]


@pytest.fixture(scope="module")
def site() -> Path:
    program = Path(sys.executable).parent / "zensical"
    done = subprocess.run(
        [program, "build", "--strict"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return ROOT / "build" / "site"


def test_every_page_is_in_it(site: Path) -> None:
    pages = [page for page in DOCS.rglob("*.md") if page.name != "README.md"]
    missing = [
        page.name
        for page in pages
        if not (site / page.relative_to(DOCS)).with_suffix(".html").is_file()
    ]
    assert missing == []


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    files = [*site.rglob("*.html"), *site.rglob("*.css")]
    assert {str(f): loaded_from_elsewhere(f.read_text("utf-8")) for f in files} == {
        str(f): [] for f in files
    }


def test_what_is_loaded_from_elsewhere_is_noticed() -> None:
    for html in (
        '<script src="https://cdn.example/x.js"></script>',
        "<script src=//cdn.example/x.js></script>",
        '<link rel="stylesheet" href="https://fonts.example/css">',
        "@font-face { src: url('https://fonts.example/f.woff2') }",
    ):
        assert loaded_from_elsewhere(html)
    assert not loaded_from_elsewhere(
        '<a href="https://example.com">x</a><link rel=icon href=x.png>'
    )


def test_the_classes_of_the_page_on_python_are_there(site: Path) -> None:
    html = (site / "python.html").read_text("utf-8")
    for name in ("inspect", "fix", "watch", "Report", "Finding", "GradcheckCallback"):
        assert re.search(rf'id="gradcheck\.[\w.]*{name}"', html), name
