"""What libraries say on the way does not reach the screen, and what the user's code says does."""

import logging
import os
import subprocess
import sys
import warnings

import pytest

from gradcheck.loading.chatter import hushed

SAYS = """
import logging, sys, warnings
from contextlib import nullcontext
from gradcheck.loading.chatter import hushed
with hushed() if sys.argv[1] == "hushed" else nullcontext():
    from transformers.utils import logging as of_transformers
    of_transformers.get_logger("transformers.models.x").warning("of transformers")
    logging.getLogger("bitsandbytes.cextension").warning("of bitsandbytes")
    warnings.warn("of torch")
    logging.getLogger("my.training").warning("of mine")
    of_transformers.set_verbosity_warning()
    of_transformers.get_logger("transformers.models.x").warning("asked for")
"""


@pytest.mark.core
@pytest.mark.parametrize("mode", ["hushed", "loud"])
def test_only_the_libraries_are_hushed_also_those_that_are_imported_later(mode: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", SAYS, mode], capture_output=True, text=True, check=True
    )
    said = [
        name for name in ("transformers", "bitsandbytes", "torch") if f"of {name}" in ran.stderr
    ]
    assert said == ([] if mode == "hushed" else ["transformers", "bitsandbytes", "torch"])
    assert "of mine" in ran.stderr
    assert "asked for" in ran.stderr


def test_everything_is_put_back_also_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRANSFORMERS_VERBOSITY", raising=False)
    logger, filters = logging.getLogger("peft"), list(warnings.filters)
    level = logger.level

    def fails() -> None:
        with hushed():
            assert logger.level == logging.ERROR
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert (logger.level, warnings.filters) == (level, filters)
    assert "TRANSFORMERS_VERBOSITY" not in os.environ


def test_a_verbosity_that_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFORMERS_VERBOSITY", "info")
    with hushed():
        assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
    assert os.environ["TRANSFORMERS_VERBOSITY"] == "info"
