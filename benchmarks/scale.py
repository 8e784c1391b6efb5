"""Measures inspection and repair without weights: wall-clock and peak memory of the whole process.

    python benchmarks/scale.py [--shape NAME ...] [--quant 4bit,8bit] [--depths 8,16,32,64,126]

The shapes are the folders under ``fixtures/shapes``. Each command runs in a process of its own, from the start of
Python to its end: ``inspect`` of the broken set-up (reentrant checkpointing, no input gradients), and ``fix --apply``
of it. ``--depths`` measures Llama-3.1-405B with other numbers of layers, to show how cost grows.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

SHAPES = Path(__file__).parents[1] / "fixtures" / "shapes"
BROKEN = ("--checkpointing", "reentrant", "--no-input-grads", "--quiet")
LARGEST = "llama-3.1-405b"
EXPECTED = {"inspect": 1, "fix": 0}


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one command took."""

    seconds: float
    peak_mib: float
    status: int


def measured(command: str, folder: Path, quant: str) -> Cost:
    """Runs one command on the folder, its output thrown away."""
    options = [*BROKEN, "--quant", quant, *(["--apply"] if command == "fix" else [])]
    arguments = [sys.executable, "-m", "gradcheck", command, str(folder), *options]
    sink = os.open(os.devnull, os.O_WRONLY)
    start = time.perf_counter()
    actions = [(os.POSIX_SPAWN_DUP2, sink, 1), (os.POSIX_SPAWN_DUP2, sink, 2)]
    process = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
    _, status, usage = os.wait4(process, 0)
    seconds = time.perf_counter() - start
    os.close(sink)
    return Cost(
        seconds=seconds,
        peak_mib=usage.ru_maxrss / 1024,
        status=os.waitstatus_to_exitcode(status),
    )


def row(name: str, folder: Path, quant: str) -> bool:
    """Prints one line of the table; whether both commands ended as they should."""
    cells, right = [name, quant], True
    for command, expected in EXPECTED.items():
        cost = measured(command, folder, quant)
        right &= cost.status == expected
        wrong = "" if cost.status == expected else f" (status {cost.status})"
        cells += [f"{cost.seconds:.1f} s{wrong}", f"{cost.peak_mib:.0f} MiB"]
    print(f"| {' | '.join(cells)} |", flush=True)
    return right


def with_depth(depth: int, folder: Path) -> Path:
    """The largest shape with another number of layers."""
    config = json.loads((SHAPES / LARGEST / "config.json").read_text("utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": depth}), "utf-8")
    return folder


def main() -> int:
    """Prints the tables; 1 where a command did not end as it should."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--shape", nargs="*", default=sorted(p.name for p in SHAPES.iterdir() if p.is_dir())
    )
    parser.add_argument("--quant", default="4bit,8bit")
    parser.add_argument("--depths", default="")
    options = parser.parse_args()
    print("| model | quantization | inspect | peak | fix | peak |")
    print("|---|---|---|---|---|---|")
    quants = options.quant.split(",")
    results = [row(name, SHAPES / name, quant) for name in options.shape for quant in quants]
    right = all(results)
    for depth in filter(None, options.depths.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            right &= row(
                f"{LARGEST}, {depth} layers", with_depth(int(depth), Path(folder)), quants[0]
            )
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
