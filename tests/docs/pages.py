"""The blocks of the documentation's pages, and a way to run them as a reader would, one after the other."""

from __future__ import annotations

import contextlib
import doctest
import io
import linecache
import os
import re
import runpy
import shlex
import sys
import traceback
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", *DOCS.glob("*.md"), *DOCS.glob("errors/*.md")])
FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TITLE = re.compile(r'title="([^"]+)"')
WIDTH = "80"


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(text: str) -> list[Block]:
    """The blocks that name a language.

    ``python`` is run, ``py`` is only compiled: it stands for a place in the reader's own program. A ``title`` names the
    file that the block is put into. ``console`` holds commands after ``$`` and what they answer; a line of three dots
    stands for any number of lines.
    """
    return [
        Block(
            language=found[1],
            title=title[1] if (title := TITLE.search(found[2])) else None,
            text=found[3],
            line=text[: found.start()].count("\n") + 1,
        )
        for found in FENCE.finditer(text)
    ]


def conversations(text: str) -> list[tuple[str, str]]:
    """(command, answer) for each command of a ``console`` block."""
    parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    assert parts[0] == "", f"a console block begins with a command, not with {parts[0]!r}"
    return list(zip(parts[1::2], parts[2::2], strict=True))


def matches(wanted: str, got: str) -> bool:
    """Whether ``got`` is ``wanted``, where three dots in it stand for anything."""
    return doctest.OutputChecker().check_output(wanted, got, doctest.ELLIPSIS)


class Reader:
    """Does what a page says, in a folder of its own beside the fixtures."""

    def __init__(self, folder: Path, names: dict[str, Any]) -> None:
        self.folder = folder
        self.names = names
        (folder / "fixtures").symlink_to(ROOT / "fixtures")

    def follow(self, block: Block) -> None:
        """Runs a block and holds what it answers against the page."""
        if block.language in ("python", "py"):
            code = compile(block.text, f"block at line {block.line}", "exec")
            if block.title:
                (self.folder / block.title).write_text(block.text)
                linecache.checkcache()
            elif block.language == "python":
                with self._here():
                    exec(code, self.names)
        elif block.language == "console":
            for command, wanted in conversations(block.text):
                got = self.answer(command)
                assert matches(wanted, got), f"$ {command}\n{got}"

    def answer(self, command: str) -> str:
        """What a command prints, run in this process: torch is imported once."""
        words = shlex.split(command)
        with self._here():
            if words[0] == "python":
                return _printed_by(words[1])
            assert words[0] == "gradcheck", f"only gradcheck and python are run, not {words[0]}"
            return _program(words)

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
            patch.chdir(self.folder)
            patch.syspath_prepend(str(self.folder))
            patch.setenv("COLUMNS", WIDTH)
            patch.setenv("NO_COLOR", "1")
            known = set(sys.modules)
            yield
            for name in set(sys.modules) - known:
                if str(getattr(sys.modules[name], "__file__", "")).startswith(str(self.folder)):
                    del sys.modules[name]


def _program(words: list[str]) -> str:
    from tests.cli.runner import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        result = run(*words[1:])
    assert result.exit_code in (0, 1), result.output
    return result.stdout


def _printed_by(script: str) -> str:
    """What a script prints, its warnings and the traceback of its error included, as Python shows them.

    Without what the libraries say of their own future: it comes and goes with their versions.
    """
    said = io.StringIO()
    with (
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", FutureWarning)
        warnings.showwarning = lambda *what: said.write(warnings.formatwarning(*what[:4]))  # type: ignore[assignment, misc]
        try:
            runpy.run_path(os.path.abspath(script), run_name="__main__")
        except Exception:
            said.write(traceback.format_exc())
    return said.getvalue()
