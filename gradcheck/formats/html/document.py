"""A whole page in one file: what it looks like and what it does is in it, and it can load nothing."""

import base64
import hashlib
from importlib.resources import files

from gradcheck.formats.html.element import Child, Trusted, h

ICONS = {"good": "#1f7a4d", "warning": "#8a5a00", "error": "#b3261e"}
"""Color of the square in the browser's tab."""


def document(title: str, *, tone: str, body: Child) -> str:
    """The page with ``body``; ``tone`` is one of ``ICONS``.

    Its content security policy allows the style sheet and the script that are in it, by their hashes, and nothing
    else: no request, no other script, no style attribute.
    """
    style, script = asset("page.css"), asset("page.js")
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    head = h(
        "head",
        h("meta", charset="utf-8"),
        h("meta", http_equiv="Content-Security-Policy", content=policy),
        h("meta", name="viewport", content="width=device-width, initial-scale=1"),
        h("meta", name="color-scheme", content="light dark"),
        h("meta", name="referrer", content="no-referrer"),
        h("title", title),
        h("link", rel="icon", href=_icon(ICONS[tone])),
        h("style", Trusted(style)),
    )
    page = h("html", head, h("body", body, h("script", Trusted(script))), lang="en")
    return f"<!doctype html>\n{page}\n"


def asset(name: str) -> str:
    """A file under ``assets/``."""
    return files("gradcheck.formats").joinpath("assets", name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


def _icon(color: str) -> str:
    picture = (
        "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
        f"<rect width='16' height='16' rx='4' fill='{color}'/></svg>"
    )
    return f"data:image/svg+xml;base64,{base64.b64encode(picture.encode()).decode()}"
