"""Files that a command writes: refused before the work where they cannot be, written whole or not at all."""

import contextlib
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from gradcheck.errors import SettingsError


def check_paths(*paths: Path | None, read: Iterable[Path] = ()) -> None:
    """Refuses what cannot be written before a model is loaded for it.

    Raises:
        SettingsError: where a path is a folder, lies in no folder or in one that cannot be written, comes twice, or is
            one of the files in ``read``.
    """
    given = [path for path in paths if path is not None]
    for path in read:
        if any(path.resolve() == written.resolve() for written in given):
            raise SettingsError(f"{path} is read by this command; give the report another file")
    if len({path.resolve() for path in given}) < len(given):
        raise SettingsError(f"two options name the same file, {given[0]}; give each its own")
    for path in given:
        folder = path.resolve().parent
        if path.is_dir():
            raise SettingsError(f"{path} is a folder; give a file to write")
        if not folder.is_dir():
            raise SettingsError(
                f"{path} cannot be written: there is no folder {folder}; create it first"
            )
        if not os.access(path if path.exists() else folder, os.W_OK):
            raise SettingsError(f"{path} cannot be written: permission denied; give another place")


def write_files(files: list[tuple[Path, str]]) -> None:
    """Writes all files or none: each beside its place first, then moved there.

    Raises:
        SettingsError: where one cannot be written.
    """
    with contextlib.ExitStack() as stack:
        staged = []
        for path, text in files:
            with _explained(path):
                staged.append((stack.enter_context(_staged(path.resolve(), text)), path))
        for temporary, path in staged:
            with _explained(path):
                if temporary is not None:
                    temporary.replace(path.resolve())


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise SettingsError(
            f"{path} cannot be written: {error.strerror}; give another place"
        ) from error


@contextlib.contextmanager
def _staged(target: Path, text: str) -> Iterator[Path | None]:
    """A file beside ``target`` with ``text``, gone afterwards unless it was moved; None for a device or a pipe."""
    if target.exists() and not target.is_file():
        target.write_text(text, "utf-8")
        yield None
        return
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(target.stat().st_mode if target.exists() else 0o666 & ~_umask())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)  # there is no call that only reads it
    os.umask(mask)
    return mask


def append(path: Path, text: str) -> None:
    """Adds ``text`` to the file at ``path``, which others write to as well.

    Raises:
        SettingsError: where it cannot be written.
    """
    with _explained(path), path.open("a", encoding="utf-8") as file:
        file.write(text if text.endswith("\n") else f"{text}\n")
