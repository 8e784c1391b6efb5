"""What the core of the suite said in one environment, read from pytest's JUnit file."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, kw_only=True)
class Result:
    """One environment."""

    environment: str
    versions: dict[str, str]
    """Python's version and those of ``PACKAGES``."""
    seconds: float
    files: dict[str, dict[str, int]]
    """File of tests -> outcome -> how many."""
    skips: dict[str, list[str]]
    """Reason -> the tests that were skipped for it."""
    failures: list[str]

    def num(self, outcome: Outcome) -> int:
        """How many tests ended so."""
        return sum(counts.get(outcome, 0) for counts in self.files.values())

    def write(self, folder: Path) -> None:
        """Keeps it in ``folder``."""
        text = json.dumps(asdict(self), indent=1, sort_keys=True)
        (folder / f"{self.environment}.json").write_text(text, "utf-8")

    @staticmethod
    def read(folder: Path, environment: str) -> Result | None:
        """What was kept in ``folder``; None where the environment has not been run."""
        path = folder / f"{environment}.json"
        return Result(**json.loads(path.read_text("utf-8"))) if path.exists() else None


def results_of(junit: Path, *, environment: str, versions: dict[str, str]) -> Result:
    """The result of the run that wrote ``junit``."""
    files: dict[str, Counter[str]] = {}
    skips: dict[str, list[str]] = {}
    failures = []
    suite = next(ElementTree.parse(junit).iter("testsuite"))
    for file, test, outcome, reason in _cases(suite):
        files.setdefault(file, Counter())[outcome] += 1
        if outcome == "failed":
            failures.append(f"{file}::{test}")
        elif outcome == "skipped":
            skips.setdefault(reason, []).append(f"{file}::{test}")
    return Result(
        environment=environment,
        versions=versions,
        seconds=float(suite.attrib["time"]),
        files={name: dict(counts) for name, counts in sorted(files.items())},
        skips=skips,
        failures=failures,
    )


def _cases(suite: ElementTree.Element) -> Iterator[tuple[str, str, Outcome, str]]:
    """(file, test, outcome, reason) of each test; an error while a file is collected counts as a failure."""
    for case in suite.iter("testcase"):
        module, test = case.attrib["classname"] or case.attrib["name"], case.attrib["name"]
        file = module.replace(".", "/") + ".py"
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            yield file, test, "failed", ""
        elif skipped is not None:
            yield file, test, "skipped", skipped.attrib.get("message", "")
        else:
            yield file, test, "passed", ""
