"""What repairing a text file comes to; it is read as it is, and written back whole or not at all."""

import contextlib
import difflib
import io
import os
import re
import shutil
import tempfile
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from gradcheck.errors import TargetError
from gradcheck.findings.repair import Applicability

LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+\Z")


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """One repair in the text of a file."""

    name: str
    """``enable-input-require-grads``."""
    line: int
    """In the file as it was, from 1."""
    before_text: str
    """That line, stripped."""
    summary: str
    """Why, in one sentence."""
    applicability: Applicability
    """display-only: not made; ``suggestion`` says what to type."""
    suggestion: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class FilePlan:
    """What a file would be after its repairs."""

    text: str
    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    """What the file alone does not show."""


def read_exactly(path: Path) -> tuple[str, str]:
    """The text of a file with its own line endings and mark of byte order, and its encoding.

    A Python file says its encoding itself (PEP 263); any other is UTF-8.

    Raises:
        TargetError: where it cannot be read, or is no text.
    """
    try:
        content = path.read_bytes()
        encoding = _encoding(content) if path.suffix == ".py" else "utf-8"
        return content.decode(encoding), encoding
    except OSError as error:
        raise TargetError(f"{path} cannot be read: {error.strerror}; give another file") from error
    except (UnicodeDecodeError, SyntaxError, LookupError) as error:
        raise TargetError(
            f"{path} is no text in the encoding it claims ({error}); save it as UTF-8"
        ) from error


def _encoding(content: bytes) -> str:
    found, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return "utf-8" if found == "utf-8-sig" else found  # the mark stays part of the text


def write_atomically(path: Path, text: str, *, encoding: str = "utf-8") -> Path | None:
    """Puts ``text`` in place of what the file holds, and gives the backup's path; None where nothing changes.

    A file of the same text is not touched. The permissions stay, a symbolic link stays one, and a reader sees the old
    file or the new one, never half. git is not asked whether it has the file: it would run the filters that the folder
    names.

    Raises:
        TargetError: where it cannot be written; the file is as it was.
    """
    target = path.resolve()
    content = text.encode(encoding)
    try:
        if target.read_bytes() == content:
            return None
        backup = _backed_up(target)
        try:
            _replace(target, content)
        except OSError:
            backup.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror}; it is as it was") from error
    return backup


def _replace(target: Path, content: bytes) -> None:
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        shutil.copymode(target, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(target.parent)


def _sync_folder(folder: Path) -> None:
    """So that the new name survives a power cut; not every system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _backed_up(target: Path) -> Path:
    """A copy under a name that is free: an earlier backup is nearer to what the user wrote."""
    number = 1
    while True:
        backup = target.with_name(f"{target.name}.bak{number if number > 1 else ''}")
        try:
            with backup.open("xb") as file:
                _fill(file, target, backup)
        except FileExistsError:
            number += 1
            continue
        return backup


def _fill(file: BinaryIO, target: Path, backup: Path) -> None:
    """Copies ``target`` into ``file``; on a full disk nothing is left that looks like a backup."""
    try:
        file.write(target.read_bytes())
        file.flush()
        os.fsync(file.fileno())
        shutil.copymode(target, backup)
    except OSError:
        backup.unlink(missing_ok=True)
        raise


def unified_diff(before: str, after: str, name: str) -> str:
    """The change as a unified diff; empty where there is none."""
    old, new = LINE.findall(before), LINE.findall(after)
    return "".join(
        line if line.endswith(("\n", "\r")) else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    )
