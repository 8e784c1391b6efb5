"""Measures what `gradcheck run` costs a whole training: recorded steps, watched steps, and memory.

    python benchmarks/run_overhead.py build/smollm2 [--steps 40] [--seq-len 64] [--rounds 5]

The script below trains SmolLM2-135M with LoRA in float32, once by `python` and once by `gradcheck run --steps all`, in
turn, each in a process of its own. It writes down how long each step took, from forward to the optimizer's. Printed are
ratios of medians: of each recorded step to the same step without, of all watched steps to the same steps without, and
of peak resident memory.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

RECORDED = 2
SCRIPT = """
import json, resource, sys, time
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

folder, steps, tokens, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
torch.manual_seed(0)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear"))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
ids = torch.randint(0, 1000, (1, tokens))
model.train()
taken = []
for _ in range(steps):
    begun = time.perf_counter()
    model(input_ids=ids, labels=ids).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    taken.append(time.perf_counter() - begun)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(out, "w") as file:
    json.dump({"steps": taken, "peak": peak}, file)
"""


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seq-len", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        script = Path(place) / "train.py"
        script.write_text(SCRIPT)
        given = [str(options.model.resolve()), str(options.steps), str(options.seq_len)]
        plain, watched = [], []
        for _ in range(options.rounds):
            plain.append(measured([str(script)], given, Path(place)))
            run = ["-m", "gradcheck", "run", "--quiet", "--steps", "all", str(script)]
            watched.append(measured(run, given, Path(place)))
    print("| | with / without |\n|---|---:|")
    for number in range(RECORDED):
        print(f"| step {number + 1}, recorded | {ratio(plain, watched, number, number + 1):.3f} |")
    print(
        f"| steps {RECORDED + 1} to {options.steps}, watched | {ratio(plain, watched, RECORDED, None):.3f} |"
    )
    memory = median(it["peak"] for it in watched) / median(it["peak"] for it in plain)
    print(f"| peak memory | {memory:.3f} |")


def measured(command: list[str], given: list[str], folder: Path) -> dict:
    """What the script wrote down."""
    out = folder / "out.json"
    subprocess.run([sys.executable, *command, *given, str(out)], check=True, capture_output=True)
    return json.loads(out.read_text())


def ratio(plain: list[dict], watched: list[dict], first: int, last: int | None) -> float:
    """The median step with to the median step without."""
    medians = [
        median(seconds for it in runs for seconds in it["steps"][first:last])
        for runs in (watched, plain)
    ]
    return medians[0] / medians[1]


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
