"""A Trace as a JSON file and back."""

import json

from gradcheck.core.codec import from_json, to_json
from gradcheck.errors import TraceError
from gradcheck.trace.trace import SCHEMA_VERSION, Trace


def dumps(trace: Trace) -> str:
    """The trace as one JSON document."""
    return json.dumps(to_json(trace), separators=(",", ":"), allow_nan=False)


def loads(text: str, source: str = "trace") -> Trace:
    """The trace that ``dumps`` wrote; ``source`` names it in an error.

    Raises:
        TraceError: where the text is no trace, or one of another schema version.
    """
    try:
        data = json.loads(text)
    except (
        ValueError,
        RecursionError,
    ) as error:  # an integer of 5,000 digits, a hundred thousand brackets
        raise TraceError(
            f"{source} is no JSON ({error}); give a file written by `gradcheck inspect --trace`"
        ) from error
    version = data.get("schema_version") if isinstance(data, dict) else None
    if version != SCHEMA_VERSION:
        raise TraceError(
            f"{source} has schema version {version!r}, this gradcheck reads {SCHEMA_VERSION}; record it again with "
            "`gradcheck inspect --trace`"
        )
    try:
        return from_json(Trace, data)
    except (ValueError, TypeError, RecursionError) as error:
        raise TraceError(
            f"{source} is damaged: {error}; record it again with `gradcheck inspect --trace`"
        ) from error
