"""Measures what recording a training step costs, in time and in memory.

    python benchmarks/overhead.py [FOLDER] [--rounds N] [--seq-len N] [--threads N]

The model is SmolLM2-135M in 4-bit with LoRA on all linear layers, one step on one synthetic sequence.

Time: in one process, after a warm-up of both, plain and recorded steps alternate, the first of each pair changing
from round to round; the figure is the median of the rounds' ratios. A plain step is what a training loop does: forward,
backward, gradients set to None. A traced step is the same forward and backward with every instrument on: what
recording costs as it happens, and what the limit is about. A recorded step is all of ``recording.session.record``, with
what is done once: describing the model, keeping and putting back its state, making the Trace. An inspected step is all
of ``gradcheck.inspect``.

Memory: each side runs in a process of its own, loads the model, runs one warm-up step, and then resets the kernel's
high-water mark of its resident set; the figure is the ratio of the marks after the measured steps (median of the
processes). glibc is told to give freed memory back at once (MALLOC_ENVIRONMENT): left to itself it keeps what loading
freed, by chance between 800 and 1,070 MiB here, and the marks would show that and not the step.
Where the mark cannot be reset (it needs Linux), memory is not measured.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

import gradcheck
from gradcheck.core.target import Target
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.session import Session, record
from gradcheck.settings import Settings
from gradcheck.subject import Subject

TIME_LIMIT = 1.15
MEMORY_LIMIT = 1.05
NUM_PROCESSES = 3
"""Processes a side for the memory."""
STEPS_PER_PROCESS = 3
MALLOC_ENVIRONMENT = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""mallopt(3): blocks over 64 KiB are mapped one by one, and freed heap is trimmed."""
MEBIBYTE = 2**20
Step = Callable[[Subject], float | None]
"""Runs one step; gives the seconds that count, where those are not all that it took."""


def loaded(folder: str, seq_len: int) -> Subject:
    """SmolLM2 in 4-bit with LoRA on all linear layers, and a batch."""
    from gradcheck.loading import load

    return load(Target(name=folder, quant="4bit", checkpointing="off", seq_len=seq_len))


def plain_step(subject: Subject) -> None:
    """One forward and one backward, as a training loop runs them."""
    subject.model(**subject.batch).loss.backward()
    for parameter in subject.model.parameters():
        parameter.grad = None


def traced_step(subject: Subject) -> float:
    """The same step with every instrument on; the seconds of forward and backward alone."""
    inventory = Inventory(subject.model)
    session = Session(subject, Settings(), inventory)
    with collector_paused(), session.recording():
        start = time.perf_counter()
        session.run_step()
        taken = time.perf_counter() - start
    for parameter in subject.model.parameters():
        parameter.grad = None
    return taken


def recorded_step(subject: Subject) -> None:
    """The same step, recorded."""
    record(subject, Settings())


def inspected_step(subject: Subject) -> None:
    """The same step, recorded and judged."""
    gradcheck.inspect(subject.model, subject.batch)


STEPS: dict[str, Step] = {
    "plain": plain_step,
    "traced": traced_step,
    "recorded": recorded_step,
    "inspected": inspected_step,
}


def seconds(step: Step, subject: Subject) -> float:
    """Wall-clock time of one step, garbage collected beforehand."""
    gc.collect()
    start = time.perf_counter()
    taken = step(subject)
    return time.perf_counter() - start if taken is None else taken


def alternated(subject: Subject, rounds: int) -> list[dict[str, float]]:
    """The seconds of each kind of step, by round; the order turns with the rounds."""
    for step in STEPS.values():
        step(subject)
    names, found = list(STEPS), []
    for index in range(rounds):
        order = names[index % len(names) :] + names[: index % len(names)]
        found.append({name: seconds(STEPS[name], subject) for name in order})
    return found


def peak_bytes(name: str, subject: Subject) -> int:
    """High-water mark of this process's resident set over the steps ``name``, after one that warms up."""
    STEPS[name](subject)
    gc.collect()
    # proc_pid_clear_refs(5): writing 5 resets the peak resident set size
    Path("/proc/self/clear_refs").write_text("5")
    for _ in range(STEPS_PER_PROCESS):
        STEPS[name](subject)
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def peaks(name: str, arguments: list[str]) -> list[int]:
    """``peak_bytes`` in processes of their own."""
    command = [sys.executable, __file__, *arguments, "--peak", name]
    environment = {**os.environ, **MALLOC_ENVIRONMENT}
    outputs = (
        subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(NUM_PROCESSES)
    )
    return [int(done.stdout.splitlines()[-1]) for done in outputs]


def report_time(rows: list[dict[str, float]]) -> bool:
    """Prints the times; whether recording stays in its limit."""
    ratios = {name: [row[name] / row["plain"] for row in rows] for name in STEPS if name != "plain"}
    for name in STEPS:
        print(f"{name:10} {statistics.median(row[name] for row in rows):7.3f} s")
    for name, values in ratios.items():
        low, high = min(values), max(values)
        print(f"time ratio {name:10} {statistics.median(values):.3f}  ({low:.3f} to {high:.3f})")
    return statistics.median(ratios["traced"]) <= TIME_LIMIT


def report_memory(arguments: list[str]) -> bool:
    """Prints the peaks; whether recording stays in its limit."""
    found = {name: peaks(name, arguments) for name in STEPS if name != "traced"}
    medians = {name: statistics.median(values) for name, values in found.items()}
    for name, values in found.items():
        each = ", ".join(f"{value / MEBIBYTE:.0f}" for value in values)
        print(f"{name:10} {medians[name] / MEBIBYTE:7.0f} MiB at the peak  ({each})")
    for name in ("recorded", "inspected"):
        print(f"memory ratio {name:10} {medians[name] / medians['plain']:.3f}")
    return medians["recorded"] / medians["plain"] <= MEMORY_LIMIT


def main() -> int:
    """Measures and prints; 1 where a limit is passed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="build/smollm2")
    parser.add_argument("--rounds", type=int, default=9, help="pairs of steps (at least 7)")
    parser.add_argument("--seq-len", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, help="torch threads; 0: torch's choice")
    parser.add_argument("--peak", choices=list(STEPS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    subject = loaded(options.folder, options.seq_len)
    if options.peak:
        print(peak_bytes(options.peak, subject))
        return 0
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # minutes pass between the two
    in_time = report_time(alternated(subject, max(7, options.rounds)))
    del subject
    if not Path("/proc/self/clear_refs").exists():
        print("memory not measured: the peak resident set size can be reset on Linux alone")
        return 0 if in_time else 1
    arguments = [
        options.folder,
        "--seq-len",
        str(options.seq_len),
        "--threads",
        str(options.threads),
    ]
    in_memory = report_memory(arguments)
    return 0 if in_time and in_memory else 1


if __name__ == "__main__":
    raise SystemExit(main())
