"""Keeps the libraries quiet: their warnings, log lines and progress bars would bury the report."""

import io
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr

_LOGGERS = ("bitsandbytes", "peft", "accelerate", "huggingface_hub", "torch")


_VERBOSITY = "TRANSFORMERS_VERBOSITY"
"""The variable that transformers reads when it is first imported."""


@contextmanager
def hushed() -> Iterator[None]:
    """Silences warnings and what the libraries log under an error, also of those not imported yet.

    What the user's own code prints, logs or asks a library to say is left alone.
    """
    said = os.environ.get(_VERBOSITY)
    os.environ.setdefault(_VERBOSITY, "error")
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        import huggingface_hub.utils.logging  # noqa: F401  sets its logger's level when it is first imported

        for name in _LOGGERS:
            stack.enter_context(_only_errors(logging.getLogger(name)))
        try:
            yield
        finally:
            if said is None:
                os.environ.pop(_VERBOSITY, None)


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings, the libraries' loggers and transformers' progress bars; restores all of them."""
    with hushed(), _quiet_transformers():
        yield


@contextmanager
def _only_errors(logger: logging.Logger) -> Iterator[None]:
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    had_progress_bar = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if had_progress_bar:
            transformers_logging.enable_progress_bar()


@contextmanager
def no_bars() -> Iterator[None]:
    """Drops what is written to stderr: the bars of the GGUF reader cannot be switched off (transformers 5.23)."""
    with redirect_stderr(io.StringIO()):
        yield
