"""Measures inspection and repair without weights: time and peak memory of the whole process.

    python benchmarks/scale.py [--shape NAME ...] [--quant 4bit,8bit] [--depths 8,16,32,64,126]

The shapes are the folders under ``fixtures/shapes``. Each command runs in a process of its own, from the start of
Python to its end: ``inspect`` of the broken set-up (reentrant checkpointing, no input gradients), ``inspect`` of the
sound one, and ``fix --apply`` of the broken one. Time is that of the processor (user and system), which other programs
on the machine disturb less than the clock on the wall; one thread works. ``--depths`` measures Llama-3.1-405B with
other numbers of layers, to show how cost grows.

The verdict on the broken set-up is compared with that on a twin: the same architecture at small size, with real random
weights, really quantized.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

SHAPES = Path(__file__).parents[1] / "fixtures" / "shapes"
REENTRANT = ("--checkpointing", "reentrant", "--quiet")
BROKEN = (*REENTRANT, "--no-input-grads")
LARGEST = "llama-3.1-405b"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one command took."""

    seconds: float
    """Of the processor."""
    peak_mib: float
    status: int
    output: str


def measured(command: str, folder: Path, quant: str, *options: str) -> Cost:
    """Runs one command on the folder."""
    given = [command, str(folder), *options, "--quant", quant]
    arguments = [sys.executable, "-m", "gradcheck", *given]
    with tempfile.TemporaryFile() as out, Path(os.devnull).open("w") as sink:
        actions = [(os.POSIX_SPAWN_DUP2, it.fileno(), at) for at, it in ((1, out), (2, sink))]
        process = os.posix_spawn(sys.executable, arguments, os.environ, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
        out.seek(0)
        output = out.read().decode()
    return Cost(
        seconds=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        status=os.waitstatus_to_exitcode(status),
        output=output,
    )


def row(name: str, folder: Path, quant: str) -> bool:
    """Prints one line of the table; whether all was as it should be."""
    broken = measured("inspect", folder, quant, *BROKEN, "--format", "json")
    sound = measured("inspect", folder, quant, *REENTRANT)
    fixed = measured("fix", folder, quant, *BROKEN, "--apply")
    same = essence(broken.output) == essence(of_twin(folder, quant))
    right = same and (broken.status, sound.status, fixed.status) == (1, 0, 0)
    cells = [f"{it.seconds:.1f} s, {it.peak_mib:.0f} MiB" for it in (broken, sound, fixed)]
    cells.append("same" if same else "ANOTHER")
    if not right:
        cells.append(f"statuses {broken.status}, {sound.status}, {fixed.status}")
    print(f"| {name} | {quant} | {' | '.join(cells)} |", flush=True)
    return right


def of_twin(folder: Path, quant: str) -> str:
    """The report on the broken set-up of the small twin, loaded with its weights."""
    from transformers import AutoConfig

    from gradcheck.core.target import Target
    from gradcheck.loading.chatter import quiet
    from gradcheck.loading.fake.weightless import save_twin

    with tempfile.TemporaryDirectory() as small:
        with quiet():
            save_twin(Target(name=str(folder)), AutoConfig.from_pretrained(folder), Path(small))
        options = (*BROKEN, "--weights", "load", "--format", "json")
        return measured("inspect", Path(small), quant, *options).output


def essence(output: str) -> object:
    """What does not depend on the size: each finding with its place, and which kinds of parameters lose what."""
    report = json.loads(output)
    findings = [
        (it["code"], it["severity"], it["module"], it["location"]) for it in report["findings"]
    ]
    parameters = {
        (re.sub(r"\d+", "N", it["fqn"]), it["gradient"])
        for it in report["parameters"]
        if it["requires_grad"]
    }
    return findings, parameters


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
    print("| model | quantization | inspect, broken | inspect, sound | fix | verdict of the twin |")
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
