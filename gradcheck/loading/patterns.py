"""Patterns that an adapter's configuration brings along: tried before PEFT matches every module's name against them."""

import re
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from gradcheck.errors import InputError

LIMIT_S = 5.0
"""For the names of all modules; a pattern that PEFT's users write takes microseconds a name."""
FIELDS = ("target_modules", "exclude_modules")
"""Fields that PEFT takes for a pattern where they are text (peft/tuners/tuners_utils.py)."""
KEYED = ("rank_pattern", "alpha_pattern")
"""Fields whose keys are patterns."""


def check_patterns(config: dict[str, Any], names: Iterable[str], source: str) -> None:
    """Refuses a pattern that cannot be compiled, or backtracks without end.

    Raises:
        InputError: where one of ``config`` does; ``source`` is the file that it stands in.
    """
    modules = list(names)
    for field, pattern in _patterns(config):
        try:
            compiled = re.compile(pattern)
        except (re.error, RecursionError, OverflowError) as error:
            raise InputError(f"{field} in {source} is no pattern: {error}") from error
        try:
            with _limited(LIMIT_S):
                for name in modules:
                    compiled.fullmatch(name)
        except TimeoutError as error:
            raise InputError(
                f"{field} in {source} is a pattern that was not done with {len(modules)} module names after "
                f"{LIMIT_S:g} s; write it without repetitions inside repetitions, or list the names"
            ) from error


def _patterns(config: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for field in FIELDS:
        if isinstance(config.get(field), str):
            yield field, config[field]
    for field in KEYED:
        if isinstance(config.get(field), dict):
            yield from ((field, rf".*\.{key}$") for key in config[field] if isinstance(key, str))


@contextmanager
def _limited(seconds: float) -> Iterator[None]:
    """Ends the body with a TimeoutError; ``re`` looks for signals while it matches, as C code seldom does."""
    on_main = threading.current_thread() is threading.main_thread()
    if not on_main or not hasattr(signal, "setitimer"):
        yield
        return

    def too_long(_: int, __: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, too_long)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
