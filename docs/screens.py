"""Makes the pictures of real output: runs each command and draws what it printed.

    python docs/screens.py [NAME ...]

No weights and no network are needed. What changes from run to run and from version to version (the set-up and the
versions, times, memory) is left out, which a line of three dots shows. Each picture has a ground of its own, so that it
can be read on a light and on a dark page.
"""

import argparse
import contextlib
import io
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "pictures"
WIDTH = 100
SHAPE = "fixtures/shapes/llama-3.1-8b --checkpointing reentrant --no-input-grads"
THEME = TerminalTheme(
    (13, 17, 23),
    (230, 237, 243),
    [
        *[(72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65)],
        *[(121, 192, 255), (210, 168, 255), (118, 227, 234), (201, 209, 217)],
    ],
)
TITLE_BAR = 26
"""Height of the room that Rich leaves above the text for a window's title."""
FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="Output of a command">
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
<rect width="{width}" height="{height}" rx="8" fill="#0d1117" stroke="#6e7681"/>
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""Rich's own, without the font that it would load from the network and without a window around it."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """A picture: what is typed, where, and which lines of the answer are left out."""

    typed: str
    folder: Path = ROOT
    left_out: str = r"set-up|step |skipped|more |evidence|· not tried|why not|not run|ignored"
    """What the sections begin with that are not shown; a section goes on while lines are indented."""


SCREENS = {
    "inspect": Screen(typed=f"gradcheck inspect {SHAPE}"),
    "fix": Screen(typed=f"gradcheck fix {SHAPE} --apply --write repairs.py"),
    "script": Screen(typed="gradcheck fix fixtures/scripts/08_peft_plain_loop_4bit/before.py"),
    "gate": Screen(
        typed="gradcheck gate healthy broken-by-source drifted", folder=ROOT / "fixtures" / "gate"
    ),
}
CHANGING = (
    (re.compile(r"modeling_llama\.py:\d+"), "modeling_llama.py:392"),
    (re.compile(r"\d+\.\d(?= s\b)|\d+(?= MB\b)"), lambda found: "…".rjust(len(found[0]))),
)


def drawn(name: str) -> str:
    """The SVG of the screen ``name``."""
    screen = SCREENS[name]
    shown = [f"\x1b[1m$ {screen.typed}\x1b[0m", *_shortened(_answer(screen), screen.left_out), ""]
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi("\n".join(shown)))
    text = console.export_svg(theme=THEME, code_format=FORMAT, unique_id=f"gradcheck-{name}")
    return re.sub(r"[ \t]+$", "", _without_title_bar(text), flags=re.MULTILINE)


def _without_title_bar(text: str) -> str:
    """``text`` without the room that Rich leaves for the title bar of a window."""
    width, height = map(float, re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text).groups())  # type: ignore[union-attr]
    size = f'width="{width:g}" height="{height - TITLE_BAR:g}"'
    text = re.sub(
        r'viewBox="[^"]*"',
        f'viewBox="0 {TITLE_BAR} {width:g} {height - TITLE_BAR:g}" {size}',
        text,
        count=1,
    )
    return text.replace("<rect width", f'<rect y="{TITLE_BAR}" width', 1).replace(
        f'height="{height}" rx', f'height="{height - TITLE_BAR:g}" rx', 1
    )


def _answer(screen: Screen) -> list[str]:
    """The lines that the command printed, in this process: torch is imported once for all screens."""
    from gradcheck.cli.app import app

    words = screen.typed.split()
    more = ["--timeout", "0"] if words[1] == "fix" else []
    variables = {"COLUMNS": str(WIDTH), "FORCE_COLOR": "1"}
    with (
        _folder_with(screen.folder),
        patch.dict(os.environ, variables),
        patch.object(sys, "argv", words),
    ):
        result = CliRunner().invoke(app, [*words[1:], *more], prog_name="gradcheck", color=True)
    if result.exit_code not in (0, 1):
        raise SystemExit(f"{screen.typed} ended with {result.exit_code}:\n{result.output}")
    text = result.stdout.replace(f"{screen.folder}/", "")
    for pattern, words_instead in CHANGING:
        text = pattern.sub(words_instead, text)
    return text.rstrip().splitlines()


@contextlib.contextmanager
def _folder_with(folder: Path) -> Iterator[None]:
    """Runs the body in ``folder``, and takes away the repairs that a command wrote there."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
        (folder / "repairs.py").unlink(missing_ok=True)


def _shortened(lines: list[str], left_out: str) -> Iterator[str]:
    """``lines`` without the sections that are left out; three dots stand for each run of them."""
    begins, skipping, dots = re.compile(left_out), False, False
    for line in lines:
        plain = Text.from_ansi(line).plain
        goes_on = skipping and (not plain or plain.startswith("          "))
        skipping = goes_on or bool(begins.match(plain.strip()))
        if not skipping:
            yield line
        elif not dots:
            yield "\x1b[2m⋮\x1b[0m"
        dots = skipping


def main() -> None:
    """Writes the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*SCREENS, []], help="all where none is named")
    FOLDER.mkdir(exist_ok=True)
    for name in parser.parse_args().names or SCREENS:
        FOLDER.joinpath(f"{name}.svg").write_text(drawn(name), "utf-8")


if __name__ == "__main__":
    main()
