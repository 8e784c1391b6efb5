"""The one mechanism behind every point of extension."""

from pathlib import Path

import pytest

from gradcheck.core.registry import Registry


def package(folder: Path, name: str, monkeypatch: pytest.MonkeyPatch, **files: str) -> str:
    root = folder / name
    (root / "family").mkdir(parents=True)
    (root / "__init__.py").touch()
    (root / "family" / "__init__.py").touch()
    for stem, text in files.items():
        (root / "family" / f"{stem}.py").write_text(text)
    monkeypatch.syspath_prepend(str(folder))
    return name


def test_a_key_taken_twice_raises() -> None:
    registry: Registry[int] = Registry("nowhere")
    registry.add("GC101", 1)
    with pytest.raises(ValueError, match="GC101 is registered twice"):
        registry.add("GC101", 2)


def test_the_entries_are_sorted_by_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry: Registry[int] = Registry(package(tmp_path, "gradcheck_empty", monkeypatch))
    registry.add("b", 1)
    registry.add("a", 2)
    assert list(registry.all()) == ["a", "b"]


def test_the_files_of_the_package_are_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = package(tmp_path, "gradcheck_scanned", monkeypatch, one="SEEN = True")
    assert Registry[int](name).all() == {}
    import sys

    assert sys.modules[f"{name}.family.one"].SEEN


def test_a_file_that_fails_to_import_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry: Registry[int] = Registry(
        package(tmp_path, "gradcheck_broken", monkeypatch, one="raise RuntimeError('broken file')")
    )
    with pytest.raises(RuntimeError, match="broken file"):
        registry.all()
    with pytest.raises(RuntimeError, match="broken file"):
        registry.all()
