"""Files are written whole or not at all, with what belongs to them, and with a way back."""

import errno
import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from gradcheck.editing import files
from gradcheck.editing.files import read_exactly, unified_diff, write_atomically
from gradcheck.errors import TargetError


def test_a_file_is_replaced_and_backed_up(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_bytes(b"a = 1\r\n")
    backup = write_atomically(path, "a = 2\r\n")
    assert path.read_bytes() == b"a = 2\r\n"
    assert backup == tmp_path / "train.py.bak"
    assert backup.read_bytes() == b"a = 1\r\n"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["train.py", "train.py.bak"]


def test_an_earlier_backup_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("1")
    write_atomically(path, "2")
    assert write_atomically(path, "3") == tmp_path / "train.py.bak2"
    assert (tmp_path / "train.py.bak").read_text() == "1"
    assert (tmp_path / "train.py.bak2").read_text() == "2"


def test_the_same_text_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "train.py"
    path.write_text("same")
    os.utime(path, ns=(1, 1))
    inode = path.stat().st_ino
    assert write_atomically(path, "same") is None
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (1, inode)
    assert list(tmp_path.iterdir()) == [path]


def test_permissions_and_links_stay(tmp_path: Path) -> None:
    real = tmp_path / "real.py"
    real.write_text("1")
    real.chmod(0o750)
    link = tmp_path / "link.py"
    link.symlink_to(real)
    write_atomically(link, "2")
    assert link.is_symlink()
    assert real.read_text() == "2"
    assert stat.S_IMODE(real.stat().st_mode) == 0o750


def test_a_write_that_fails_leaves_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "train.py"
    path.write_text("1")

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", fail)
    with pytest.raises(TargetError, match="No space left"):
        write_atomically(path, "2")
    assert path.read_text() == "1"
    assert [p.name for p in tmp_path.iterdir() if p.suffix not in {".bak", ".py"}] == []


def test_a_mark_of_byte_order_and_an_encoding_stay(tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(b"\xef\xbb\xbfx = 1\n")
    text, encoding = read_exactly(path)
    write_atomically(path, text + "y = 2\n", encoding=encoding)
    assert path.read_bytes() == b"\xef\xbb\xbfx = 1\ny = 2\n"
    old = tmp_path / "b.py"
    old.write_bytes("# -*- coding: latin-1 -*-\nx = 'ü'\n".encode("latin-1"))
    text, encoding = read_exactly(old)
    assert "ü" in text
    write_atomically(old, text + "#\n", encoding=encoding)
    assert old.read_bytes().endswith("'ü'\n#\n".encode("latin-1"))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"# coding: nonsense\n"])
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.py"
    path.write_bytes(content)
    with pytest.raises(TargetError, match="encoding"):
        read_exactly(path)
    with pytest.raises(TargetError, match="cannot be read"):
        read_exactly(tmp_path / "none.py")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_nothing_that_the_folder_names_is_run(tmp_path: Path) -> None:
    """A folder out of an archive brings its .git along, with filters that git would run to compare a file."""

    def git(*arguments: str) -> None:
        settings = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(
            ["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    path = tmp_path / "train.py"
    path.write_text("1")
    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    git("config", "filter.x.clean", f"touch {tmp_path}/ran; cat")
    (tmp_path / ".git" / "info").mkdir(exist_ok=True)
    (tmp_path / ".git" / "info" / "attributes").write_text("* filter=x")
    os.utime(path, (1, 1))
    assert write_atomically(path, "2") == tmp_path / "train.py.bak"
    assert not (tmp_path / "ran").exists()
    os.utime(path, (2, 2))
    git("status")
    assert (tmp_path / "ran").exists(), "the filter would not have run"


def test_a_full_disk_leaves_no_half_backup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "train.py"
    path.write_text("1")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(TargetError, match="No space left on device; it is as it was"):
        write_atomically(path, "2")
    assert [it.name for it in tmp_path.iterdir()] == ["train.py"]
    assert path.read_text() == "1"


def test_a_diff_says_where_the_last_newline_is_missing() -> None:
    assert unified_diff("a\nb\n", "a\nb\n", "x") == ""
    assert unified_diff("a", "b", "x").splitlines() == [
        "--- a/x",
        "+++ b/x",
        "@@ -1 +1 @@",
        "-a",
        "\\ No newline at end of file",
        "+b",
        "\\ No newline at end of file",
    ]


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch")
def test_a_diff_can_be_applied(tmp_path: Path) -> None:
    before, after = "a\nb\nc\n", "a\nB\nc\nd\n"
    path = tmp_path / "x"
    path.write_text(before)
    diff = unified_diff(before, after, "x")
    subprocess.run(["patch", "-p1"], cwd=tmp_path, input=diff, text=True, check=True)
    assert path.read_text() == after
