"""Keeps the libraries quiet while a model loads: their warnings and progress bars would bury the report."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr

_LOGGERS = ("bitsandbytes", "peft", "accelerate", "huggingface_hub", "torch")


@contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings, the libraries' loggers and transformers' progress bars; restores all of them."""
    import huggingface_hub.utils.logging  # noqa: F401  sets its logger's level when it is first imported

    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        for name in _LOGGERS:
            stack.enter_context(_only_errors(logging.getLogger(name)))
        stack.enter_context(_quiet_transformers())
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
