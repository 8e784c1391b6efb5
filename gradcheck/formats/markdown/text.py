"""Text in Markdown as GitHub and GitLab read it: what a model says is shown, and never becomes markup.

Escaping is not enough there: after the Markdown has been read, mentions, references, emoji names, formulas and links
are looked for in the text that came out of it. In code none of them is. So a word of letters and digits stands as it
is, and every other one stands as code, where names and calls belong anyway.
"""

import re
from collections.abc import Iterator

from gradcheck.formats.views.text import clean, clean_lines

WORD = re.compile(
    r"[\"'“(]*(?:[^\W_]+(?:[-'’,–/][^\W_]+)*|\d+(?:[.,]\d+)*%?|e\.g|i\.e)[\"'”)]*[.,;:!?]*[\"'”)]*"
)
"""A word that no reader of Markdown takes for anything else, with its quotes and its punctuation."""
REFERENCE = re.compile(r"\W*GH-\d", re.IGNORECASE)
"""GitHub's other spelling of ``#12``."""
SIGNS = {
    "=": "=",
    "+": "+",
    "-": "-",
    "/": "/",
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    "→": "→",
    "·": "·",
    "×": "×",
}
"""Signs that mean nothing between two spaces, not even at the end of a line."""
LIST_MARK = re.compile(r"\d+[.)]")
"""What begins a list at the start of a paragraph."""
AFTER = re.compile(r"^(.+?)([.,;:!?]+)$")
MAX_BRACKETED = 12
"""Words that brackets hold together: ``bf16[1, 64, 576]``."""


def prose(text: str, limit: int = 2000, *, cell: bool = False) -> str:
    """``text`` as one line of a paragraph, or of a table's cell; words that are not plain are code."""
    parts: list[str] = []
    pending: list[str] = []
    words = clean(text, limit).split(" ")
    for number, word in enumerate(_held_together(words)):
        if _plain(word, first=number == 0):
            parts += _flushed(pending, cell)
            parts.append(SIGNS.get(word, word))
            continue
        before, inside, after = _taken_apart(word)
        if before:
            parts += _flushed(pending, cell)
        pending.append(inside)
        if before or after:
            parts.append(f"{before}{''.join(_flushed(pending, cell))}{after}")
    return " ".join([*parts, *_flushed(pending, cell)])


def _held_together(words: list[str]) -> Iterator[str]:
    """``words``, those of one bracket that a name opens as one."""
    index = 0
    while index < len(words):
        end = index + 1
        if not _plain(words[index], first=False) and _open(words[index]):
            ends = range(end + 1, min(index + MAX_BRACKETED, len(words)) + 1)
            end = next((e for e in ends if not _open(" ".join(words[index:e]))), end)
        yield " ".join(words[index:end])
        index = end


def _open(words: str) -> bool:
    """Whether a bracket is open at the end; not the one that stands before a word."""
    inside = words[1:] if words.startswith("(") else words
    return any(inside.count(left) > inside.count(right) for left, right in ("()", "[]", "{}"))


def _plain(word: str, *, first: bool) -> bool:
    if word in SIGNS:
        return not first
    fits = WORD.fullmatch(word) is not None and not REFERENCE.match(word)
    return fits and not (first and LIST_MARK.fullmatch(word))


def _taken_apart(word: str) -> tuple[str, str, str]:
    """A bracket that opens before a word, the word, and the punctuation after it."""
    before = after = ""
    if word.startswith("(") and len(word) > 1:
        before, word = "(", word[1:]
    ending = AFTER.match(word)
    if ending:
        word, after = ending[1], ending[2]
    if word.endswith(")") and word.count(")") > word.count("(") and len(word) > 1:
        word, after = word[:-1], f"){after}"
    return before, word, after


def _flushed(pending: list[str], cell: bool) -> list[str]:
    """The words collected as one piece of code; none where there are none."""
    words = " ".join(pending)
    pending.clear()
    return [code(words, cell=cell)] if words else []


def code(text: str, limit: int = 2000, *, cell: bool = False) -> str:
    """``text`` as code in a line; nothing for nothing.

    A bar would end the cell of a table, also behind a backslash, so that there another one stands for it.
    """
    line = clean(text, limit)
    if cell:
        line = line.replace("|", "│")
    if not line:
        return ""
    fence = "`" * (_longest_run(line) + 1)
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def code_block(text: str, language: str = "python", *, max_lines: int = 12) -> str:
    """``text`` as a block of code; nothing for nothing."""
    lines = clean_lines(text, max_lines)
    if not lines:
        return ""
    fence = "`" * max(3, max(map(_longest_run, lines)) + 1)
    return "\n".join([f"{fence}{language}", *lines, fence])


def _longest_run(line: str) -> int:
    return max(map(len, re.findall("`+", line)), default=0)


def table(header: list[str], rows: list[list[str]], numbers: tuple[int, ...] = ()) -> str:
    """A table of cells that are Markdown already; the columns ``numbers`` are aligned at the right."""
    rule = ["---:" if index in numbers else "---" for index in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in [header, rule, *rows])


def details(summary: str, body: str) -> str:
    """``body`` behind a line that opens it; ``summary`` is plain words of ours."""
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"
