"""Where in a page a part stands, and what all parts are made with."""

from dataclasses import dataclass, replace

from gradcheck.core.location import Location
from gradcheck.formats.html.element import Child, Element, h
from gradcheck.formats.views.places import place_of, source_link
from gradcheck.formats.views.text import clean
from gradcheck.reports.formatter import RenderOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Scope:
    """Where in a page a part stands."""

    key: str = ""
    """Beginning of every id in it; empty where the page holds one report."""
    level: int = 2
    """Of its headings."""
    factor: int = 1
    """How much more than usual is shown."""
    share: int = 1
    """How many reports share the page, and so the bound on its size."""
    options: RenderOptions
    """Where the repository is, and its files on the web."""

    def id(self, name: str) -> str:
        """``name`` as an id that the page has once."""
        return f"{self.key}{name}"

    def bound(self, usual: int) -> int:
        """How many of something to show, of which a page with one report shows ``usual``."""
        return max(usual * self.factor // self.share, 1)

    @property
    def inside(self) -> "Scope":
        """The same one level of headings further down."""
        return replace(self, level=self.level + 1)


def section(scope: Scope, name: str, title: str, *children: Child, aside: str = "") -> Element:
    """A part of the page with a heading, which the navigation can name."""
    label = scope.id(f"{name}-title")
    beside = h("span", f" {aside}", class_="aside") if aside else None
    heading = h(f"h{scope.level}", title, beside, id=label)
    named = None if scope.key else label  # as a landmark only where no other section has its name
    return h("section", heading, children, id=scope.id(name), aria_labelledby=named)


def code(text: str, limit: int = 400) -> Element:
    """``text`` in the face of code."""
    return h("code", clean(text, limit))


def place(location: Location, scope: Scope) -> Element:
    """A source line's file and number, a link where the repository is on the web; it breaks after a slash."""
    found = place_of(location, scope.options)
    parts = str(found).split("/")
    broken: list[Child] = [[part, "/", h("wbr")] for part in parts[:-1]]
    shown = h("code", broken, parts[-1])
    link = source_link(found, scope.options)
    return h("a", shown, href=link, rel="noreferrer noopener") if link else shown


def pairs(rows: list[tuple[str, Child]], class_: str = "facts") -> Element | None:
    """Labels and values."""
    if not rows:
        return None
    cells = [h("div", h("dt", label), h("dd", value)) for label, value in rows]
    return h("dl", cells, class_=class_)


def glyph(mark: str, class_: str = "") -> Element:
    """A mark that says what a word beside it says too."""
    return h("span", mark, class_=f"glyph {class_}".strip(), aria_hidden="true")


def meter(part: int, whole: int, tone: str) -> Element:
    """A bar of ``part`` of ``whole``, beside the words that say the same."""
    width = 100 * part / whole if whole else 0
    bar = h("rect", x="0", y="0", width=f"{width:.2f}", height="4", class_=f"fill {tone}")
    track = h("rect", x="0", y="0", width="100", height="4", class_="track")
    return h(
        "svg",
        [track, bar],
        class_="meter",
        viewBox="0 0 100 4",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
