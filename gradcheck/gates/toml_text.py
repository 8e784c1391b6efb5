"""The little TOML that the program writes itself: sorted, one fact a line, to be read in a diff."""

import json
from collections.abc import Iterable, Mapping


def quoted(text: str) -> str:
    """A TOML string. JSON's escapes are TOML's, but for the delete character; what is no Unicode becomes a mark."""
    sound = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(sound, ensure_ascii=False).replace("\x7f", "\\u007f")


def document(head: str, version: int, sections: Mapping[str, Iterable[str]]) -> str:
    """A comment, the version of the form, and a table for each target, sorted by its name."""
    parts = [f"# {line}" for line in head.splitlines()] + [f"version = {version}"]
    for name, lines in sorted(sections.items()):
        parts += ["", f"[targets.{quoted(name)}]", *lines]
    return "\n".join(parts) + "\n"


def targets_of(parsed: Mapping[str, object], version: int) -> dict[str, Mapping[str, object]]:
    """The tables that ``document`` wrote, by the target's name.

    Raises:
        ValueError: where it has another form or version.
    """
    if parsed.get("version") != version:
        raise ValueError(
            f"its version is {parsed.get('version')!r}, this gradcheck reads {version}"
        )
    targets = tables(parsed.get("targets", {}), "targets")
    return {name: tables(values, name) for name, values in targets.items()}


def tables(value: object, name: str) -> Mapping[str, object]:
    """``value``, which has to be a table.

    Raises:
        ValueError: where it is none.
    """
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no table")
    return value
