"""Mutation testing of the judgement: small changes of its code, each of which a test must notice.

    mutants.py [--jobs N]

What is changed, and the tests that must notice, stand in ``pyproject.toml`` under ``[tool.mutmut]``. Works on a copy
under build/mutants, in an environment of its own under build/venvs that has neither torch nor the package. Ends with 1
where fewer are noticed than ``AIM``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / "build" / "venvs" / "mutants"
COPY = ROOT / "build" / "mutants"
PACKAGES = ("mutmut==3.8.1", "pytest>=8.2", "pytest-timeout>=2.3")
AIM = 0.9


def main() -> int:
    """Runs it; 0 where enough mutants are noticed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", default="2", help="mutants that are tested side by side")
    jobs = parser.parse_args().jobs
    mutmut = _installed()
    shutil.rmtree(COPY, ignore_errors=True)
    for folder in ("gradcheck", "tests"):
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / folder, COPY / folder, ignore=skipped)
    shutil.copy(ROOT / "pyproject.toml", COPY)
    log = COPY / "log.txt"
    with log.open("w") as said:
        run = [mutmut, "run", "--max-children", jobs]
        status = subprocess.run(run, cwd=COPY, stdout=said, stderr=said, check=False).returncode
    if status:
        print(f"mutmut ended with {status}; see {log}", file=sys.stderr)
        return 2
    subprocess.run([mutmut, "export-cicd-stats"], cwd=COPY, check=True, capture_output=True)
    stats = json.loads((COPY / "mutants" / "mutmut-cicd-stats.json").read_text())
    noticed, total = stats["killed"] + stats["timeout"], stats["total"]
    for name in _survivors(mutmut):
        print(name)
    print(f"{noticed:,} of {total:,} mutants noticed ({noticed / total:.1%})")
    return 0 if noticed >= AIM * total else 1


def _installed() -> str:
    """The program, in an environment which is made where it is not there."""
    program = ENVIRONMENT / "bin" / "mutmut"
    if not program.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        pip = (ENVIRONMENT / "bin" / "python", "-m", "pip", "install", "-qq", "--no-input")
        subprocess.run([*pip, "--disable-pip-version-check", *PACKAGES], check=True)
    return str(program)


def _survivors(mutmut: str) -> list[str]:
    results = subprocess.run(
        [mutmut, "results"], cwd=COPY, check=True, capture_output=True, text=True
    )
    rows = (line.strip().rpartition(": ") for line in results.stdout.splitlines())
    return [f"{name}: {state}" for name, _, state in rows if state in ("survived", "no tests")]


if __name__ == "__main__":
    sys.exit(main())
