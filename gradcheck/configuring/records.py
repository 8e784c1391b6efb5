"""Reads the lock and the baseline that lie beside a configuration."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from gradcheck.errors import SettingsError
from gradcheck.gates.baseline import KnownFinding, baseline_of
from gradcheck.gates.lock import LockedGroup, locks_of

T = TypeVar("T")


def read_lock(path: Path) -> dict[str, tuple[LockedGroup, ...]] | None:
    """What each target is to train; None where there is no lock.

    Raises:
        SettingsError: where the file cannot be read.
    """
    return _read(path, locks_of, "--update-lock")


def read_baseline(path: Path) -> dict[str, tuple[KnownFinding, ...]] | None:
    """The findings that are known of each target; None where there is no baseline.

    Raises:
        SettingsError: where the file cannot be read.
    """
    return _read(path, baseline_of, "--update-baseline")


def _read(path: Path, decode: Callable[[Mapping[str, object]], T], option: str) -> T | None:
    import tomlkit  # a third of the help page's time
    from tomlkit.exceptions import TOMLKitError

    try:
        return decode(tomlkit.parse(path.read_text("utf-8")).unwrap())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TOMLKitError) as error:
        raise SettingsError(
            f"{path} cannot be read ({error}); restore it from version control, or delete it and make it again with "
            f"{option}"
        ) from error
