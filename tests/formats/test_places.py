"""Where a line is: in the repository, in an installed package, elsewhere; in the spelling of either system."""

import pytest

from gradcheck.core.location import Location
from gradcheck.formats.views.places import Place, place_of, shown_path, source_link
from gradcheck.reports.formatter import RenderOptions

REPOSITORY = RenderOptions(root="/home/ada/project", folder="/home/ada/project/train")
VENV = "/home/ada/project/.venv/lib/python3.11/site-packages"
WINDOWS = RenderOptions(root="C:\\work\\project", folder="C:\\work\\project")


@pytest.mark.parametrize(
    ("file", "options", "path", "base", "uri"),
    [
        ("model.py", REPOSITORY, "train/model.py", "repository", "train/model.py"),
        ("../a b.py", REPOSITORY, "a b.py", "repository", "a%20b.py"),
        ("/home/ada/project/x/./y.py", REPOSITORY, "x/y.py", "repository", "x/y.py"),
        ("/home/ada/project2/y", REPOSITORY, "/home/ada/project2/y", "elsewhere", "file:///home/ada/project2/y"),
        ("../../other.py", REPOSITORY, "/home/ada/other.py", "elsewhere", "file:///home/ada/other.py"),
        (f"{VENV}/peft/x.py", REPOSITORY, "peft/x.py", "packages", "peft/x.py"),
        ("/usr/lib/python3.11/io.py", REPOSITORY, "python3.11/io.py", "packages", "python3.11/io.py"),
        ("<string>", REPOSITORY, "<string>", "elsewhere", ""),
        ("C:\\work\\project\\train\\m.py", WINDOWS, "train/m.py", "repository", "train/m.py"),
        ("D:\\else\\m.py", WINDOWS, "D:/else/m.py", "elsewhere", "file:///D:/else/m.py"),
        ("model.py", RenderOptions(), "model.py", "repository", "model.py"),
        ("/srv/model.py", RenderOptions(), "/srv/model.py", "elsewhere", "file:///srv/model.py"),
        ("模型.py", REPOSITORY, "train/模型.py", "repository", "train/%E6%A8%A1%E5%9E%8B.py"),
    ],
)  # fmt: skip
def test_a_file_is_named_from_where_a_tool_finds_it(
    file: str, options: RenderOptions, path: str, base: str, uri: str
) -> None:
    place = place_of(Location(file=file, line=7, text=" x "), options)
    assert (place.path, place.base, place.uri) == (path, base, uri)
    assert str(place) == f"{path}:7"
    assert place.text == "x"


def test_no_line_is_before_the_first() -> None:
    assert place_of(Location(file="a.py", line=0, text=""), REPOSITORY).line == 1


def test_only_a_web_page_is_linked() -> None:
    place = Place(path="a b.py", line=3, text="", base="repository")
    options = RenderOptions(source_url="https://x/blob/1")
    assert source_link(place, options) == "https://x/blob/1/a%20b.py#L3"
    assert source_link(place, RenderOptions(source_url="javascript:alert(1)")) == ""
    assert source_link(place, RenderOptions()) == ""
    packaged = Place(path="peft/x.py", line=3, text="", base="packages")
    assert source_link(packaged, RenderOptions(source_url="https://x")) == ""


@pytest.mark.parametrize(
    ("file", "options", "shown"),
    [
        ("/home/ada/project/train/m.py", REPOSITORY, "m.py"),
        ("/home/ada/project/m.py", REPOSITORY, "/home/ada/project/m.py"),
        ("/home/ada/project/training/m.py", REPOSITORY, "/home/ada/project/training/m.py"),
        (f"{VENV}/peft/x.py", REPOSITORY, "peft/x.py"),
        ("C:\\work\\project\\train\\m.py", WINDOWS, "train/m.py"),
        ("/srv/m.py", RenderOptions(), "/srv/m.py"),
        ("/srv/m.py", RenderOptions(folder="/"), "/srv/m.py"),
    ],
)  # fmt: skip
def test_for_people_a_file_is_named_from_the_folder_they_are_in(
    file: str, options: RenderOptions, shown: str
) -> None:
    assert shown_path(file, options) == shown
