"""A Trace as a JSON file and back."""

import json
import re
from typing import TypeVar

from gradcheck.core import codec
from gradcheck.errors import TraceError
from gradcheck.trace.trace import SCHEMA_VERSION, Trace
from gradcheck.trace.training import Training

Recorded = TypeVar("Recorded", Trace, Training)
_TRAINING = re.compile(r'\s*\{\s*"kind"\s*:\s*"training"')
_BEGINNING = re.compile(r'\s*\{\s*"environment"\s*:\s*\{\s*"versions"')
"""Of a document that ``dumps`` wrote: the first fields of a Trace, in their order."""


def looks_like_trace(beginning: str) -> bool:
    """Whether a text that begins so was meant to be a trace: a large one need not be read for it."""
    return bool(_BEGINNING.match(beginning) or _TRAINING.match(beginning))


def dumps(trace: Trace | Training) -> str:
    """The trace or the training as one JSON document."""
    return codec.dumps(trace)


def loads(text: str, source: str = "trace") -> Trace:
    """The trace that ``dumps`` wrote; ``source`` names it in an error.

    Raises:
        TraceError: where the text is no trace, or one of another schema version.
    """
    return _loaded(Trace, text, source)


def loads_recorded(text: str, source: str = "trace") -> Trace | Training:
    """``loads``, for a text that may be a training as well."""
    return _loaded(Training, text, source) if _TRAINING.match(text) else loads(text, source)


def _loaded(kind: type[Recorded], text: str, source: str) -> Recorded:
    try:
        return codec.loads(kind, text)
    except ValueError as error:
        raise TraceError(f"{source} {_what_is_wrong(text, error)}") from error


def _what_is_wrong(text: str, error: ValueError) -> str:
    try:
        data = json.loads(text)
    # an integer of 5,000 digits, a hundred thousand brackets
    except (ValueError, RecursionError) as broken:
        return f"is no JSON ({broken}); give a file written by `gradcheck inspect --trace`"
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        said = f"has schema version {version!r}, this gradcheck reads {SCHEMA_VERSION}"
    else:
        said = f"is damaged: {error}"
    return f"{said}; record it again with `gradcheck inspect --trace`"
