"""Splices that insert, move and remove whole statements and arguments, in the style of the text around them."""

import sys
from collections.abc import Iterable

import libcst as cst

from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.text import Splice


def indentation(script: Script, node: cst.CSTNode) -> str:
    """The whitespace before the line that ``node`` begins on."""
    start = script.lines.starts[script.line(node) - 1]
    line = script.text[start : script.lines.ends[script.line(node) - 1]]
    return line[: len(line) - len(line.lstrip(" \t\f"))]


def unit(script: Script) -> str:
    """One level of indentation, as the script has it."""
    return script.module.default_indent


def inserted_after(script: Script, statement: cst.CSTNode, lines: Iterable[str]) -> Splice | None:
    """``lines`` below a statement; None where it shares its line with the head of a block and they do not fit there."""
    lines = list(lines)
    if isinstance(statement, cst.SimpleStatementSuite):
        if any(line.startswith((" ", "\t", "if ", "else")) for line in lines):
            return None
        end = script.span(statement.body[-1])[1]
        return Splice(start=end, end=end, new="".join(f"; {line}" for line in lines))
    if not isinstance(statement, cst.SimpleStatementLine):
        return None
    end = script.lines.ends[script.positions[statement].end.line - 1]
    indent, newline = indentation(script, statement), script.module.default_newline
    return Splice(start=end, end=end, new="".join(f"{newline}{indent}{line}" for line in lines))


def inserted_before(script: Script, statement: cst.CSTNode, lines: Iterable[str]) -> Splice | None:
    """``lines`` above a statement; None where there is no line of its own."""
    if isinstance(statement, cst.SimpleStatementSuite):
        return None
    start = script.lines.starts[script.line(statement) - 1]
    indent, newline = indentation(script, statement), script.module.default_newline
    return Splice(start=start, end=start, new="".join(f"{indent}{line}{newline}" for line in lines))


def replaced(script: Script, node: cst.CSTNode, text: str) -> Splice:
    """``text`` in place of ``node``."""
    start, end = script.span(node)
    return Splice(start=start, end=end, new=text)


def removed(script: Script, small: cst.BaseSmallStatement) -> Splice:
    """Nothing in place of a statement; ``pass`` where a block would be empty."""
    line = script.parents[small]
    if not isinstance(line, cst.SimpleStatementLine):
        return replaced(script, small, "pass")
    if len(line.body) > 1:
        return _removed_from_line(script, line, small)
    block = script.parents[line]
    if isinstance(block, cst.IndentedBlock) and len(block.body) == 1:
        return replaced(script, small, "pass")
    return _removal(script, *_extent(script, line, with_comments=False))


def _removed_from_line(
    script: Script, line: cst.SimpleStatementLine, small: cst.BaseSmallStatement
) -> Splice:
    index = next(i for i, other in enumerate(line.body) if other is small)
    if index + 1 < len(line.body):
        end = script.span(line.body[index + 1])[0]
        return Splice(start=script.span(small)[0], end=end, new="")
    start = script.span(line.body[index - 1])[1]
    return Splice(start=start, end=script.span(small)[1], new="")


def moved(
    script: Script, statement: cst.CSTNode, *, before: cst.CSTNode, text: str
) -> tuple[Splice, ...]:
    """A statement, as ``text``, with the comments right above it, in front of another of the same block."""
    start, end = _extent(script, statement, with_comments=True)
    target = _extent(script, before, with_comments=True)[0]
    begin, finish = script.span(statement)
    block = script.text[start:begin] + text + script.text[finish:end]
    block = block.strip("\r\n") + script.module.default_newline
    insertion = Splice(start=target, end=target, new=block)
    return insertion, _removal(script, start, end)


def moved_after(
    script: Script, statements: list[cst.CSTNode], *, after: cst.CSTNode
) -> tuple[Splice, ...]:
    """Statements with the comments right above them behind another of the same block."""
    extents: list[tuple[int, int]] = []
    for start, end in (_extent(script, node, with_comments=True) for node in statements):
        if extents and extents[-1][1] == start:
            extents[-1] = extents[-1][0], end
        else:
            extents.append((start, end))
    newline = script.module.default_newline
    target = script.lines.ends[script.positions[after].end.line - 1]
    blocks = [script.text[start:end].rstrip("\r\n") for start, end in extents]
    gap = newline if _blank_before(script, extents[0][0]) else ""
    insertion = Splice(start=target, end=target, new=gap + "".join(newline + b for b in blocks))
    return (*(_removal(script, start, end) for start, end in extents), insertion)


def _removal(script: Script, start: int, end: int) -> Splice:
    """Nothing in place of whole lines; of two blank lines that would meet, one goes too."""
    line = script.lines.line_at(start)
    if _blank_before(script, start) and not script.line_text(script.lines.line_at(end)):
        start = script.lines.starts[line - 2]
    return Splice(start=start, end=end, new="")


def _blank_before(script: Script, start: int) -> bool:
    line = script.lines.line_at(start)
    return line > 1 and not script.line_text(line - 1)


def _extent(script: Script, statement: cst.CSTNode, *, with_comments: bool) -> tuple[int, int]:
    """The offsets of the whole lines of a statement; of a last line without newline, the newline before it."""
    first, last = script.line(statement), script.positions[statement].end.line
    indent = indentation(script, statement)
    while with_comments and first > 1 and _comment(script, first - 1, indent):
        first -= 1
    start, starts = script.lines.starts[first - 1], script.lines.starts
    if last < len(starts):
        return start, starts[last]
    return (script.lines.ends[first - 2] if first > 1 else start), script.lines.ends[last - 1]


def _comment(script: Script, line: int, indent: str) -> bool:
    text = script.text[script.lines.starts[line - 1] : script.lines.ends[line - 1]]
    return text.startswith(f"{indent}#") and not text.strip().startswith(("# %%", "#!", "# -*-"))


def with_argument(script: Script, call: cst.Call, text: str) -> tuple[Splice, ...]:
    """``text`` as the last argument of a call, on a line of its own where the others have theirs."""
    close = script.span(call)[1] - 1
    if not call.args:
        return (Splice(start=close, end=close, new=text),)
    last = call.args[-1]
    end = script.span(last)[1]
    line = script.positions[last].end.line
    comma = isinstance(last.comma, cst.Comma)
    own_line = script.line(last) != script.positions[call.func].end.line
    if not own_line or close <= script.lines.ends[line - 1]:
        return (Splice(start=end, end=end, new=f", {text}"),)
    stop = script.lines.ends[line - 1]
    new = f"{script.module.default_newline}{indentation(script, last)}{text}{',' * comma}"
    separator = () if comma else (Splice(start=end, end=end, new=","),)
    return (*separator, Splice(start=stop, end=stop, new=new))


def torch_import(script: Script) -> tuple[Splice, ...]:
    """``import torch`` where the script has none under that name, in its alphabetical place."""
    if script.imports.get("torch") == "torch":
        return ()
    imports = [s for s in script.module.body if _package(s)]
    if not imports:
        return ()
    foreign = [s for s in imports if _package(s) not in sys.stdlib_module_names]
    whole = [s for s in foreign if isinstance(_small(s), cst.Import)]
    later = [s for s in whole if _package(s) > "torch"] or (foreign if not whole else [])
    splice = (
        inserted_before(script, later[0], ["import torch"])
        if later
        else inserted_after(script, (whole or imports)[-1], ["import torch"])
    )
    return () if splice is None else (splice,)


def _small(statement: cst.CSTNode) -> cst.CSTNode | None:
    return statement.body[0] if isinstance(statement, cst.SimpleStatementLine) else None


def _package(statement: cst.CSTNode) -> str:
    """The package that an import names; of a relative one, what sorts behind all."""
    small = _small(statement)
    if isinstance(small, cst.ImportFrom):
        return "~" if small.module is None or small.relative else dotted(small.module).split(".")[0]
    if isinstance(small, cst.Import):
        return dotted(small.names[0].name).split(".")[0]
    return ""
