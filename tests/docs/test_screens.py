"""The pictures of real output are what the commands print now."""

import importlib.util
import os
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.docs.pages import DOCS, ROOT


@pytest.fixture(scope="module")
def screens() -> ModuleType:
    spec = importlib.util.spec_from_file_location("screens", DOCS / "screens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["screens"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["inspect", "script"])
def test_a_picture_is_fresh(screens: ModuleType, name: str) -> None:
    """``make pictures`` makes the others too: they take longer, and are made in the same way."""
    made = screens.drawn(name)
    assert made == (DOCS / "pictures" / f"{name}.svg").read_text("utf-8"), "run `make pictures`"


def test_a_picture_names_no_machine() -> None:
    for picture in DOCS.glob("pictures/*.svg"):
        text = picture.read_text("utf-8").replace("&#160;", " ")
        assert str(ROOT) not in text
        assert str(Path.home()) + os.sep not in text
        assert not re.search(r"\d\.\d s\b|\d MB\b", text)
