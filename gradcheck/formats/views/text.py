"""Words and numbers for people: cleaned of what does not belong in a report, shortened, counted."""

import re
import unicodedata
from collections.abc import Iterator

from gradcheck.core.words import counted, dtype_text

APPLICABILITY = {
    "safe": "safe: the loss stays as it is",
    "unsafe": "changes loss, numerics or memory",
    "display-only": "by hand",
}
"""What a repair changes beside curing."""
ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]?|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[PX^_][^\x1b]*(?:\x1b\\)?|.?)",
    re.DOTALL,
)
"""ANSI escape sequences (ECMA-48): CSI, OSC with its text, string sequences, two-character ones."""
INSTALLED = re.compile(r"^.*[/\\](?:site|dist)-packages[/\\]")
STANDARD_LIBRARY = re.compile(r"^.*[/\\]lib[/\\](?=python3\.\d+[/\\])")
COMMAND_START = re.compile(r"^(\s*)::")
COMMAND_ANYWHERE = re.compile(r"##(?=\w*\[)")
SHORT_BRACKET = re.compile(r"[^()\[\]{}]{0,24}[)\]}]")
"""What is in a bracket that is not worth a line of its own."""


def clean(text: str, limit: int = 2000) -> str:
    """``text`` on one line: no escape sequences, no control or invisible characters, bounded.

    What a model, its source or an exception says is shown and never obeyed: a terminal acts on escape sequences, and
    the marks that turn the writing direction make a line read as another.
    """
    return _cut(inert(" ".join(_harmless(text[: limit * 4]).split())), limit)


def inert(line: str) -> str:
    """``line`` as no continuous integration takes a command from it.

    They read commands in what a job prints: GitHub ``::error::`` at the start of a line and ``##[error]`` anywhere,
    Azure Pipelines ``##vso[…]``, TeamCity ``##teamcity[…]``. A space in the mark is all it takes.
    """
    return COMMAND_START.sub(r"\1: :", COMMAND_ANYWHERE.sub("# #", line))


def clean_lines(text: str, max_lines: int = 12, limit: int = 400) -> list[str]:
    """The lines of ``text``, each cleaned, with their spaces as they are; the last says how many were left out."""
    lines = ESCAPE.sub("", text[: max_lines * limit * 4]).splitlines()
    shown = [_cut(inert(_harmless(line).rstrip()), limit) for line in lines[:max_lines]]
    more = len(lines) - max_lines
    return shown if more <= 0 else [*shown, f"… {counted(more, 'more line')}"]


def code_lines(line: str, width: int, depth: int = 0) -> list[str]:
    """A line of Python in lines of ``width``, broken inside brackets: after one that opens, a comma, or else a space.

    There it stays valid, so that it can be copied. ``depth`` is how many brackets are open before it. A line without
    such a place stays whole.
    """
    if len(line) <= width:
        return [line]
    fitting = [place for place in _break_places(line, depth) if place[1] <= width]
    if not fitting:
        return [line]
    _, position, inside = max(fitting)
    rest = " " * (_leading(line) + (0 if depth else 4)) + line[position:].lstrip(" ")
    if len(rest) >= len(line):
        return [line]
    return [line[:position].rstrip(" "), *code_lines(rest, width, inside)]


def _break_places(line: str, depth: int) -> Iterator[tuple[int, int, int]]:
    """(how good, position, brackets open there) of each place inside brackets where a line may end; not in strings."""
    quote = ""
    for position, character in enumerate(line, 1):
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        else:
            depth += (character in "([{") - (character in ")]}")
            if depth > 0 and character in "([{, " and position > _leading(line):
                yield _goodness(line, position), position, depth


def _goodness(line: str, position: int) -> int:
    """2 after a comma or a bracket that opens; 1 after a space; 0 where little follows before the bracket closes."""
    if line[position - 1] == " ":
        return 1
    opens = line[position - 1] in "([{"
    return 0 if opens and SHORT_BRACKET.match(line, position) else 2


def _leading(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _cut(line: str, limit: int) -> str:
    return line if len(line) <= limit else line[: limit - 1].rstrip() + "…"


def _harmless(text: str) -> str:
    if text.isprintable():
        return text  # nearly always, and a hundred times faster
    return "".join(map(_visible, ESCAPE.sub("", text)))


def _visible(character: str) -> str:
    if character in "\t\n\r\v\f":
        return " "
    category = unicodedata.category(character)
    if category in {"Zl", "Zp"}:
        return " "
    if category in {"Cs", "Cn", "Co"}:
        return "\ufffd"  # a lone surrogate cannot be written out; the others have no agreed look
    return "" if category in {"Cc", "Cf"} else character


def middle(text: str, limit: int) -> str:
    """``text`` cut in its middle where it is longer than ``limit``: a dotted name is known by its two ends."""
    if len(text) <= limit:
        return text
    tail = max((limit - 1) * 2 // 3, 1)
    return text[: limit - 1 - tail] + "…" + text[len(text) - tail :]


def short_path(file: str) -> str:
    """``file`` from its package on where it is an installed one; otherwise as it was given."""
    return STANDARD_LIBRARY.sub("", INSTALLED.sub("", clean(file, 400)))


def short_dtype(dtype: str) -> str:
    """``bf16`` of ``bfloat16``."""
    return clean(dtype_text(dtype), 24)


def norm(value: float) -> str:
    """A gradient norm in two digits."""
    return f"{value:.2g}"


def percent(part: int, whole: int, digits: int = 2) -> str:
    """``part`` of ``whole`` in percent, without the sign; a part that is not zero never reads as zero."""
    ratio = 100 * part / whole if whole else 0.0
    text = f"{ratio:.{digits}f}"
    return f"<{10**-digits:.{digits}f}" if part and float(text) == 0 else text


def ranges(text: str) -> str:
    """``layers.0–31`` of ``layers.0-31``."""
    return re.sub(r"(?<=\d)-(?=\d)", "–", text)
