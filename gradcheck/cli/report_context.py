"""What the formats need to know of the world: the repository, the web page of its files, where each target is named."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from gradcheck.core.location import Location
from gradcheck.gates.gate import GateReport, Judged, TargetResult, of_one
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.outcome import FixReport

DESCRIPTIONS = ("adapter_config.json", "config.json")
"""What says of a folder what is in it, the first that is there."""
MAX_CONFIGURATION_BYTES = 1_000_000
"""A larger file is not searched for the line that names a target."""


def context(judged: Judged) -> RenderOptions:
    """The options that say where things are; how to print them is left as it is."""
    folder = Path.cwd()
    root = repository(folder)
    return RenderOptions(
        root=str(root),
        folder=str(folder),
        source_url=source_url(),
        declared=tuple(_declared(judged)),
    )


def repository(folder: Path) -> Path:
    """The root of the git repository around ``folder``; ``folder`` itself where there is none."""
    around = (folder, *folder.parents)
    return next((place for place in around if (place / ".git").exists()), folder)


def source_url() -> str:
    """Where GitHub and GitLab show the files of the commit that their job runs on; empty elsewhere."""
    variables = os.environ
    if variables.get("GITHUB_REPOSITORY") and variables.get("GITHUB_SHA"):
        server = variables.get("GITHUB_SERVER_URL", "")
        return f"{server}/{variables['GITHUB_REPOSITORY']}/blob/{variables['GITHUB_SHA']}"
    if variables.get("CI_PROJECT_URL") and variables.get("CI_COMMIT_SHA"):
        return f"{variables['CI_PROJECT_URL']}/-/blob/{variables['CI_COMMIT_SHA']}"
    return ""


def _declared(judged: Judged) -> Iterator[tuple[str, Location]]:
    """The line that stands for each target: where the configuration names it, or else its own file."""
    if isinstance(judged, FixReport):
        judged = judged.before
    if not isinstance(judged, GateReport):
        judged = of_one(judged)
    lines = _lines(Path(judged.configuration)) if judged.configuration else []
    for result in judged.results:
        if judged.configuration:
            yield result.name, _named(judged.configuration, lines, result)
        else:
            yield result.name, Location(file=_own_file(result.target), line=1, text="")


def _lines(path: Path) -> list[str]:
    try:
        if path.stat().st_size > MAX_CONFIGURATION_BYTES:
            return []
        return path.read_text("utf-8", errors="replace").splitlines()
    except OSError:  # the line is only for show: without it the first one stands for the target
        return []


def _named(file: str, lines: list[str], result: TargetResult) -> Location:
    """The line that gives the target its name, or else the first that says what it loads."""
    for key, word in (("name", result.name), ("target", result.target)):
        given = re.compile(rf"\b{key}\s*=\s*[\"']{re.escape(word)}[\"']")
        for number, line in enumerate(lines, 1):
            if given.search(line.partition("#")[0]):
                return Location(file=file, line=number, text=line.strip())
    return Location(file=file, line=1, text="")


def _own_file(target: str) -> str:
    """The file that a target is read from: a factory's, or what describes a folder; a hub id stands for itself."""
    places = [target.rpartition(":")[0], *(f"{target.rstrip('/')}/{name}" for name in DESCRIPTIONS)]
    # os.path: a name too long for the file system is no file, where Path raises.
    return next((place for place in places if os.path.isfile(place)), target)  # noqa: PTH113
