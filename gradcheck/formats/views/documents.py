"""JSON text for programs: bounded strings, no lone surrogates, nothing that a continuous integration obeys."""

import json
import re

from gradcheck.formats.views.text import COMMAND_ANYWHERE

MAX_STRING = 100_000
"""Characters of one string; a longer one ends by saying how many are left out."""
SURROGATE = re.compile(r"[\ud800-\udfff]")


def dumps(document: object) -> str:
    """``document`` as JSON that every parser reads: no NaN, no half of a character.

    A mark that starts a command in the log of a job is written with an escape, which is the same string to a parser.
    """
    text = json.dumps(_bounded(document), indent=2, allow_nan=False)
    return COMMAND_ANYWHERE.sub(r"#\\u0023", text)


def _bounded(value: object) -> object:
    match value:
        case str():
            text = SURROGATE.sub("\ufffd", value) if not value.isascii() else value
            more = len(text) - MAX_STRING
            return text if more <= 0 else f"{text[:MAX_STRING]}… ({more:,} more characters)"
        case dict():
            return {key: _bounded(item) for key, item in value.items()}
        case list() | tuple():
            return [_bounded(item) for item in value]
        case _:
            return value
