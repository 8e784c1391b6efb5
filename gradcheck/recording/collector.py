"""Python's cyclic garbage collector, which the rows of a Trace would set off."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Python's cyclic garbage collector is off in the body.

    The rows of a Trace are tens of thousands of small objects: making them would set off full collections, each of
    which walks everything that torch and transformers have loaded (0.3 s, more than all of the recording).
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
