"""How often Python looks for garbage, in a process of gradcheck's own."""

import atexit
import gc

_THRESHOLDS = (100_000, 50, 100)


def collect_seldom() -> None:
    """Has Python's cyclic garbage collector run a hundredth as often, and not when the process ends.

    What torch, transformers and peft define when they are imported lives as long as the process, and every full
    collection walks all of it: a quarter of the processor time of a model without weights.
    """
    gc.set_threshold(*_THRESHOLDS)
    atexit.register(gc.freeze)
