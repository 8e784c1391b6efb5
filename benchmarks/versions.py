"""Runs the core of the suite (``pytest -m core``) in environments from the oldest versions to the newest.

    versions.py [NAME ...] [--jobs N] [--page]

Each is made under build/venvs with the Python that it asks for, where the machine has that. Where the folder in
GRADCHECK_ENVIRONMENTS holds NAME/bin/python, that one is used as it is. What came out is kept in build/versions;
docs/versions.md is written from it where all of them have run, or --page asks for it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from version_results import PACKAGES, Result, results_of
from version_table import page

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "build" / "versions"
PAGE = ROOT / "docs" / "versions.md"
PIP = ("-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input")
SUITE = "-e.[test]"
CORE = "mark.core"
"""What a file of tests has where it has tests that run in each environment; others need more than the extra brings."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One set of versions."""

    name: str
    python: str | None = None
    """The Python that it asks for; None: whichever runs this."""
    pins: tuple[str, ...] = ()
    constrained: bool = False
    """Held to constraints.txt."""
    newest: bool = False
    """Whatever the package index has today, so looked for again at each run."""


def pinned_by_hand(name: str, python: str, **versions: str) -> Environment:
    """The environment with these versions of packages, and otherwise what goes with them."""
    pins = tuple(f"{package}=={version}" for package, version in versions.items())
    return Environment(name=name, python=python, pins=pins)


ENVIRONMENTS = (
    pinned_by_hand(
        "oldest",
        "3.10",
        torch="2.4.0",
        transformers="4.53.0",
        peft="0.17.0",
        bitsandbytes="0.46.0",
        accelerate="1.4.0",
    ),
    pinned_by_hand(
        "torch-2.6",
        "3.11",
        torch="2.6.0",
        transformers="4.53.3",
        peft="0.17.1",
        bitsandbytes="0.46.1",
    ),
    pinned_by_hand(
        "torch-2.8",
        "3.12",
        torch="2.8.0",
        transformers="4.57.1",
        peft="0.18.1",
        bitsandbytes="0.48.2",
    ),
    pinned_by_hand("torch-2.11", "3.13", torch="2.11.0", transformers="5.17.0"),
    Environment(name="pinned", constrained=True),
    Environment(name="newest", newest=True),
)


def python_for(environment: Environment) -> str:
    """The Python that the environment asks for where there is one that runs, else the one that runs this."""
    wanted = environment.python and shutil.which(f"python{environment.python}")
    if wanted:  # a version manager's stand-in may be there for a Python that is not
        tried = subprocess.run([wanted, "--version"], check=False, capture_output=True)
        if tried.returncode == 0:
            return wanted
    return sys.executable


def interpreter(environment: Environment) -> Path:
    """The environment's Python; the environment is made, or brought up to date, where that has to be."""
    given = os.environ.get("GRADCHECK_ENVIRONMENTS")
    if given and (python := Path(given) / environment.name / "bin" / "python").exists():
        return python
    folder = ROOT / "build" / "venvs" / environment.name
    python, stamp = folder / "bin" / "python", folder / ".installed"
    inputs = (ROOT / "pyproject.toml", ROOT / "constraints.txt", Path(__file__))
    fresh = stamp.exists() and all(stamp.stat().st_mtime > it.stat().st_mtime for it in inputs)
    if fresh and not environment.newest:
        return python
    say(f"Installing into build/venvs/{environment.name} (some minutes the first time) ...")
    if not python.exists():
        subprocess.run([python_for(environment), "-m", "venv", folder], check=True)
    options = ["--upgrade", "--upgrade-strategy=eager"] if environment.newest else []
    options += ["-c", "constraints.txt"] if environment.constrained else []
    subprocess.run([python, *PIP, *options, SUITE, *environment.pins], check=True, cwd=ROOT)
    stamp.touch()
    return python


def run(environment: Environment, jobs: int) -> Result:
    """What the core of the suite says there."""
    python = interpreter(environment)
    versions = versions_in(python)
    say(f"{environment.name}: " + ", ".join(f"{name} {it}" for name, it in versions.items()))
    files = sorted(
        path for path in (ROOT / "tests").rglob("test_*.py") if CORE in path.read_text("utf-8")
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    junit = RESULTS / f"{environment.name}.xml"
    junit.unlink(missing_ok=True)
    options = ["-p", "no:cacheprovider", f"--junitxml={junit}"]
    options += ["-n", str(jobs), "--dist", "worksteal"] if jobs > 1 else ["-p", "no:xdist"]
    surroundings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [python, "-m", "pytest", "-m", "core", *options, *files],
        check=False,
        cwd=ROOT,
        env=surroundings,
    )
    if not junit.exists():
        raise SystemExit(f"pytest did not run in {environment.name}: {python}")
    return results_of(junit, environment=environment.name, versions=versions)


def versions_in(python: Path) -> dict[str, str]:
    """Python's version and those of the packages that matter, as installed there."""
    code = (
        "import json, platform; from importlib.metadata import version; print(json.dumps("
        f"{{'Python': platform.python_version(), **{{it: version(it) for it in {PACKAGES!r}}}}}))"
    )
    done = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    versions: dict[str, str] = json.loads(done.stdout)
    return versions


def say(text: str) -> None:
    """Prints at once, so that it stands before what pytest prints."""
    print(text, flush=True)


def main() -> int:
    """Runs what was asked for; 1 where a test failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [environment.name for environment in ENVIRONMENTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--page", action="store_true", help="write docs/versions.md of all results")
    parser.add_argument("--jobs", type=int, default=1, help="tests that run side by side")
    options = parser.parse_args()
    unknown = set(options.names) - set(names)
    if unknown:
        parser.error(f"no such environment: {', '.join(sorted(unknown))}")
    failed = []
    for environment in ENVIRONMENTS:
        if environment.name in (options.names or names):
            result = run(environment, options.jobs)
            result.write(RESULTS)
            if result.num("failed"):
                failed.append(environment.name)
    if options.page or not options.names:
        done = [Result.read(RESULTS, name) for name in names]
        PAGE.write_text(page([result for result in done if result is not None]), "utf-8")
    if failed:
        print(f"failed with: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
