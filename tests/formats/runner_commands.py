"""Reads workflow commands out of a log as GitHub's runner does (actions/runner, src/Runner.Common/ActionCommand.cs)."""

import re
from dataclasses import dataclass

NAMES = (
    "add-mask", "add-matcher", "add-path", "debug", "echo", "endgroup", "error", "group", "notice", "remove-matcher",
    "save-state", "set-env", "set-output", "stop-commands", "warning",
)  # fmt: skip
SECOND = re.compile(r"^::(?P<name>[\w-]+)(?: (?P<properties>.*?))?::(?P<data>.*)$")
"""At the start of a line, spaces left out."""
FIRST = re.compile(r"##\[(?P<name>[\w-]+)(?: (?P<properties>.*?))?\](?P<data>.*)$")
"""The old form, anywhere in a line."""


@dataclass(frozen=True, kw_only=True)
class Command:
    name: str
    properties: dict[str, str]
    data: str


def commands(log: str) -> list[Command]:
    """Every command in what a job printed."""
    found = []
    for line in re.split(r"\r\n|\r|\n", log):
        match = SECOND.match(line.strip()) or FIRST.search(line)
        if match and match["name"].lower() in NAMES:
            listed = [
                pair.partition("=") for pair in (match["properties"] or "").split(",") if pair
            ]
            found.append(
                Command(
                    name=match["name"],
                    properties={key.strip(): _read(value) for key, _, value in listed},
                    data=_read(match["data"]),
                )
            )
    return found


def _read(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text
