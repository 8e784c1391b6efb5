"""Elements escape what is put into them."""

import json
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradcheck.formats.html.element import Trusted, embedded, h


class Reader(HTMLParser):
    """What a browser would make of it: tags with their attributes, and the text between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


PRINTABLE = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")))


@given(PRINTABLE, PRINTABLE)
def test_text_and_attributes_are_read_back_as_they_were(text: str, value: str) -> None:
    reader = Reader(str(h("b", text, title=value)))
    assert reader.tags == [("b", {"title": value or None})]
    assert reader.text == text


def test_blocks_stand_on_lines_of_their_own_and_code_is_as_it_was() -> None:
    assert str(h("div", h("p", "a"), h("pre", h("code", "x\ny")))) == (
        "<div><p>a</p>\n<pre><code>x\ny</code></pre>\n</div>\n"
    )


@given(st.text())
def test_data_never_closes_its_element(text: str) -> None:
    html = str(embedded({"name": text}))
    reader = Reader(html)
    assert [tag for tag, _ in reader.tags] == ["script"]
    assert json.loads(reader.text) == {"name": text}
    assert "<" not in reader.text


def test_data_as_it_is_would_close_its_element() -> None:
    html = str(h("script", Trusted(json.dumps("</script><img src=x>"))))
    assert [tag for tag, _ in Reader(html).tags] == ["script", "img"]


@pytest.mark.parametrize(
    "bad", ["\x00", "\x1b", "\u202e", "\u2066", "\u200b", "\ud800", "\ufeff", "\r"]
)
def test_what_cannot_be_seen_is_left_out(bad: str) -> None:
    assert str(h("b", f"a{bad}b", title=f"c{bad}d")) == '<b title="cd">ab</b>'


def test_names_and_missing_values_of_attributes() -> None:
    made = h(
        "td",
        None,
        ["x", [1 > 0 and "y"]],
        class_="a",
        aria_label="b",
        open=True,
        id=None,
        hidden=False,
    )
    assert str(made) == '<td class="a" aria-label="b" open>xy</td>'
    assert str(h("br")) == "<br>"
