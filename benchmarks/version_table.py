"""The page docs/versions.md, made of what was run in each environment."""

from __future__ import annotations

import ast
import datetime
from collections.abc import Iterable, Iterator
from pathlib import Path

from version_results import PACKAGES, Result

ROOT = Path(__file__).resolve().parents[1]

INTRODUCTION = """# Every version

What `make versions` found: the tests that must hold with every supported version (`pytest -m core`), in environments
from the oldest of everything that `pyproject.toml` allows to the newest that the package index has. Among them are each
rule's firing and silent fixture, each repair, random module graphs and programs against plain torch, custom functions,
reentrant checkpoints, bitsandbytes' 8-bit and 4-bit layers, and the methods of PEFT.

Date: {date}; 2 cores, no GPU.

"""


def page(results: list[Result]) -> str:
    """The page, in Markdown."""
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    parts = [
        INTRODUCTION.format(date=today.isoformat()),
        *_lines(_environments(results)),
        "\n## What was run\n\nPassed, of those that were not skipped.\n\n",
        *_lines(_files(results)),
        "\n## What was skipped, and why\n\n",
        *_lines(_skips(results)),
        *_failures(results),
    ]
    return "".join(parts)


def _lines(rows: Iterable[list[str]]) -> Iterator[str]:
    for index, row in enumerate(rows):
        yield f"| {' | '.join(row)} |\n"
        if index == 0:
            yield f"|{'---|' * len(row)}\n"


def _environments(results: list[Result]) -> Iterator[list[str]]:
    yield ["environment", "Python", *PACKAGES, "passed", "failed", "skipped", "minutes"]
    for result in results:
        versions = [result.versions[name].partition("+")[0] for name in ("Python", *PACKAGES)]
        failed = result.num("failed")
        counts = [str(result.num("passed")), f"**{failed}**" if failed else "0"]
        minutes = f"{result.seconds / 60:.1f}"
        yield [result.environment, *versions, *counts, str(result.num("skipped")), minutes]


def _files(results: list[Result]) -> Iterator[list[str]]:
    yield ["tests", *(result.environment for result in results)]
    for file in sorted({file for result in results for file in result.files}):
        counted = [result.files.get(file, {}) for result in results]
        yield [_title(file), *map(_cell, counted)]


def _cell(counts: dict[str, int]) -> str:
    """``12`` where all of them passed, ``11 of 12`` where one failed, ``–`` where none was run."""
    passed, failed = counts.get("passed", 0), counts.get("failed", 0)
    if not passed + failed:
        return "–"
    return f"**{passed} of {passed + failed}**" if failed else str(passed)


def _title(file: str) -> str:
    """The first line of the file's docstring, and the file."""
    path = ROOT / file
    docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) if path.exists() else None
    return f"{docstring.splitlines()[0]} `{file}`" if docstring else f"`{file}`"


def _skips(results: list[Result]) -> Iterator[list[str]]:
    yield ["why", *(result.environment for result in results)]
    for reason in sorted({reason for result in results for reason in result.skips}):
        counts = [len(result.skips.get(reason, ())) for result in results]
        yield [_plain(reason), *(str(count) if count else "" for count in counts)]


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _failures(results: list[Result]) -> Iterator[str]:
    failed = [(r.environment, test) for r in results for test in r.failures]
    if failed:
        yield "\n## What failed\n\n"
        yield from _lines(
            [["environment", "test"], *([name, f"`{test}`"] for name, test in failed)]
        )
