"""What a library cannot do in an old version that is supported otherwise: its tests are skipped, and say why."""

from importlib.metadata import version

import pytest
from packaging.specifiers import SpecifierSet


def needs(library: str, versions: str, why: str) -> None:
    """Skips the test where the installed ``library`` is none of ``versions``.

    Args:
        library: as it is installed.
        versions: as a requirement is written: ``>=0.47``.
        why: what the others cannot do.
    """
    if not SpecifierSet(versions).contains(version(library), prereleases=True):
        pytest.skip(f"{library} is none of {versions}: {why}")
