"""Changes the look of a script and not its meaning."""

import io
import tokenize
from collections.abc import Callable, Sequence

Pick = Callable[[int], int]
"""A number from 0 up to, not including, the one given."""


def tokens(text: str) -> list[tokenize.TokenInfo]:
    return list(tokenize.generate_tokens(io.StringIO(text).readline))


def inserted(text: str, places: Sequence[tuple[int, int, str]]) -> str:
    """``text`` with each of (line from 1, column, string) put in."""
    lines = text.splitlines(keepends=True)
    for row, column, new in sorted(places, reverse=True):
        lines[row - 1] = lines[row - 1][:column] + new + lines[row - 1][column:]
    return "".join(lines)


def logical_lines(text: str) -> list[tuple[int, int]]:
    """Where statements begin."""
    skipped = {tokenize.NL, tokenize.COMMENT, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}
    found, fresh = [], True
    for token in tokens(text):
        if token.type in skipped or token.type == tokenize.ENDMARKER:
            continue
        if fresh:
            found.append(token.start)
        fresh = token.type == tokenize.NEWLINE
    return found


def with_comments(text: str, pick: Pick) -> tuple[str, list[str]]:
    """A comment or blank lines above some statements; the comments are given too."""
    places, comments = [], []
    for number, (row, column) in enumerate(logical_lines(text)[1:]):
        kind = pick(5)
        if kind == 0:
            comments.append(f"# note {number}")
            places.append((row, 0, " " * column + comments[-1] + "\n"))
        elif kind == 1:
            places.append((row, 0, "\n"))
    tabs = "\t" in text
    return (text, []) if tabs else (inserted(text, places), comments)


def with_line_breaks(text: str, pick: Pick) -> str:
    """Some arguments on lines of their own."""
    depth, places = 0, []
    for token in tokens(text):
        if token.type == tokenize.OP:
            depth += (token.string in "([{") - (token.string in ")]}")
            breakable = token.string == "," or token.string in "(["
            if depth and breakable and pick(3) == 0:
                places.append((*token.end, "\n" + " " * (4 * pick(4) + 2)))
    return inserted(text, places)


def renamed(text: str, old: str, new: str) -> str:
    """A variable under another name; keywords and attributes keep theirs."""
    all_tokens = tokens(text)
    lines = text.splitlines(keepends=True)
    for index, token in reversed(list(enumerate(all_tokens))):
        before = all_tokens[index - 1].string if index else ""
        after = all_tokens[index + 1].string if index + 1 < len(all_tokens) else ""
        keyword = after == "=" and before in {"(", ",", "\n", ""} and token.start[1] > 0
        keyword = keyword and _in_brackets(all_tokens[:index])
        if token.type == tokenize.NAME and token.string == old and before != "." and not keyword:
            row, column = token.start
            line = lines[row - 1]
            lines[row - 1] = line[:column] + new + line[column + len(old) :]
    return "".join(lines)


def _in_brackets(seen: list[tokenize.TokenInfo]) -> bool:
    return sum((t.string in set("([{")) - (t.string in set(")]}")) for t in seen) > 0


def aliased(text: str, name: str, alias: str) -> str:
    """A function imported under another name."""
    changed = renamed(text, name, alias)
    return changed.replace(f"import {alias}", f"import {name} as {alias}", 1).replace(
        f", {alias}", f", {name} as {alias}", 1
    )


def wrapped(text: str, head: str) -> str:
    """All statements behind the imports in a block of ``head``."""
    starts = logical_lines(text)
    lines = text.splitlines(keepends=True)
    body = next(
        row for row, _ in starts if not lines[row - 1].startswith(("import", "from", '"""', ")"))
    )
    depth = head.count("\n") + 1
    indented = [line if not line.strip() else "    " * depth + line for line in lines[body - 1 :]]
    return "".join(lines[: body - 1]) + head + "\n" + "".join(indented)
