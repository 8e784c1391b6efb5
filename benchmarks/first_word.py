"""Measures how long it takes until gradcheck has said something: processor time and wall-clock of whole commands.

    python benchmarks/first_word.py [--only NAME ...] [--rounds 5] [--against TREE]

Refusals, the help page, a rule, recorded steps judged again, checks of 8B and 405B shapes without weights, and a gate
of ten targets. ``--against`` measures another checkout in turn with this one. The table is markdown.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from gate import LLAMA, SHAPES, dense, write_repository

HERE = Path(__file__).resolve().parents[1]
SHAPE_405B = dense(LLAMA, 16384, 53248, 126, 128, 8, 128256)
"""From the published config.json of Llama-3.1-405B."""
WITHOUT = ("--weights", "skip", "--quant", "4bit", "--checkpointing", "reentrant")
COMMANDS = {
    "help page": ("--help",),
    "rule GC301": ("rule", "GC301"),
    "inspect train.py": ("inspect", "train.py"),
    "inspect train.py:none": ("inspect", "train.py:none"),
    "inspect nowhere/": ("inspect", "nowhere/"),
    "inspect --lora-target q_prj": ("inspect", "8b", "--weights", "skip", "--lora-target", "q_prj"),
    "inspect --data no.jsonl": ("inspect", "8b", "--weights", "skip", "--data", "no.jsonl"),
    "recheck, 8B": ("recheck", "8b.json"),
    "recheck, 405B": ("recheck", "405b.json"),
    "inspect, 8B": ("inspect", "8b", *WITHOUT),
    "inspect, 405B": ("inspect", "405b", *WITHOUT),
    "gate of ten": ("gate", "--jobs", "2"),
}
ONCE = {"gate of ten"}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--against", type=Path)
    arguments = parser.parse_args()
    trees = [HERE] + ([arguments.against.resolve()] if arguments.against else [])
    chosen = [name for name in COMMANDS if not arguments.only or name in arguments.only]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        write_files(folder, recorded=any("recheck" in name for name in chosen))
        print("| command |" + " s of processor | s |" * len(trees))
        print("|---|" + "---:|---:|" * len(trees))
        for name in chosen:
            rounds = 1 if name in ONCE else arguments.rounds
            taken = [
                [measured(tree, COMMANDS[name], folder) for tree in trees] for _ in range(rounds)
            ]
            cells = []
            for column in zip(*taken, strict=True):
                processor, wall = (median(numbers) for numbers in zip(*column, strict=True))
                cells.append(f" {processor:.2f} | {wall:.2f} |")
            print(f"| {name} |{''.join(cells)}", flush=True)


def write_files(folder: Path, *, recorded: bool) -> None:
    """What the commands are given: shapes, a script, a gate, and recorded steps."""
    write_repository(folder)
    for name, shape in (("8b", SHAPES["llama-3.1-8b"]), ("405b", SHAPE_405B)):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text(json.dumps(shape))
        if recorded:
            measured(HERE, ("inspect", name, *WITHOUT, "--trace", f"{name}.json"), folder)
    (folder / "train.py").write_text("def build():\n    return None\n")


def measured(tree: Path, command: tuple[str, ...], folder: Path) -> tuple[float, float]:
    """(processor time of the command and all that it starts, wall-clock) in seconds."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "gradcheck", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        check=False,
    )
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


if __name__ == "__main__":
    main()
