"""Where a source line is for a tool that knows nothing but the repository."""

import posixpath
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from gradcheck.core.location import Location
from gradcheck.formats.views.text import clean, short_path
from gradcheck.reports.formatter import RenderOptions

Base = Literal["repository", "packages", "elsewhere"]
ABSOLUTE = re.compile(r"/|[A-Za-z]:/")
MAX_PATH = 400
MAX_SOURCE = 300


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A line of a file."""

    path: str
    """With forward slashes: from the root of the repository, from where packages are installed, or absolute."""
    line: int
    text: str
    """The line, stripped; empty where it is not known."""
    base: Base

    @property
    def uri(self) -> str:
        """The path as a URI: relative to the base, or ``file:`` where there is none; empty for what is no file."""
        if self.base != "elsewhere":
            return quote(self.path)
        if not ABSOLUTE.match(self.path):
            return ""
        return f"file://{'' if self.path.startswith('/') else '/'}{quote(self.path, safe='/:')}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"


def place_of(location: Location, options: RenderOptions) -> Place:
    """``location`` relative to the repository where it is in it, else to where its package is installed."""
    path, base = _path(clean(location.file, MAX_PATH).replace("\\", "/"), options)
    line = max(location.line, 1)  # line 0 stands for "unknown" in a code object; no format has one
    return Place(path=path, line=line, text=clean(location.text, MAX_SOURCE), base=base)


def _path(file: str, options: RenderOptions) -> tuple[str, Base]:
    installed = short_path(file)
    if installed != file:
        return installed, "packages"
    if file.startswith("<"):  # <string>, <stdin>, <ipython-input-3>
        return file, "elsewhere"
    root = options.root.replace("\\", "/").rstrip("/")
    if not ABSOLUTE.match(file):
        folder = options.folder.replace("\\", "/").rstrip("/") or root
        file = posixpath.join(folder, file) if folder else file
    path = posixpath.normpath(file)
    if root and path.startswith(f"{root}/"):
        return path[len(root) + 1 :], "repository"
    inside = not ABSOLUTE.match(path) and not path.startswith("../")
    return path, "repository" if inside else "elsewhere"


def shown_path(file: str, options: RenderOptions) -> str:
    """``file`` as somebody in ``options.folder`` names it: from there where it is below, from its package, or whole."""
    path = short_path(file)
    folder = options.folder.replace("\\", "/").rstrip("/")
    below = path.replace("\\", "/").removeprefix(f"{folder}/") if folder else path
    return below if len(below) < len(path) else path


def source_link(place: Place, options: RenderOptions) -> str:
    """The web page that shows the line; empty where there is none."""
    if place.base != "repository" or not options.source_url.startswith(("http://", "https://")):
        return ""
    return f"{quote(options.source_url, safe='/:@')}/{quote(place.path)}#L{place.line}"
