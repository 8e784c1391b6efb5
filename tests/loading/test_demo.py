"""The demonstration is broken or healthy as it says, and leaves nothing on the disk."""

import tempfile
from pathlib import Path

import pytest

from gradcheck.loading.demo import demo_subject

from .conftest import gradients, setup


@pytest.mark.core
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad:UserWarning")
@pytest.mark.parametrize(("broken", "found"), [(True, (0, 28)), (False, (28, 28))])
def test_demo(
    broken: bool, found: tuple[int, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    subject = demo_subject(broken)
    assert not list(tmp_path.glob("gradcheck-*"))
    assert setup(subject, "checkpointing") == "reentrant"
    assert gradients(subject) == found
