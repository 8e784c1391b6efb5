"""Compares gradcheck with plain torch over every architecture that transformers can train.

    python benchmarks/sweep.py [--only TYPE,TYPE] [--task TASK] [--quant none,8bit,4bit] [--checkpointing off,reentrant]
                               [--limit N] [--jobs N] [--timeout SECONDS] [--out FOLDER]

Each architecture is a twin: the real classes of transformers at small size, with random weights. It is quantized by the
real bitsandbytes, gets a LoRA on all linear layers, and takes one step without checkpointing, with reentrant
checkpointing whose input carries no gradient, and with non-reentrant checkpointing. For each of these, plain torch
says which trainable parameters got a gradient; ``gradcheck.inspect`` must say the same, and where checkpointing lost
gradients or changed them, ``gradcheck.fix`` must bring back what the step without it has, with the same numbers.

Every architecture runs in a process of its own, made by fork from one that has the libraries loaded; one that runs
out of time, recurses without end or dies costs a row and nothing else.

Written to the folder: ``sweep.jsonl``, a line for each set-up, and ``sweep.md``, a table. ``sweep_table.py`` makes one
table of several folders.
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from pathlib import Path

from sweep_table import page, summary

MEMORY_BYTES = 10 * 2**30
"""Address space of one process: a model that asks for more is not to take the machine along."""
TIMEOUT_S = 300.0


def main() -> None:
    """Runs the sweep and writes what came of it."""
    options = _options()
    _load_libraries()
    from gradcheck.loading.architectures import architectures

    only = set(options.only.split(",")) if options.only else None
    chosen = [
        it
        for it in architectures()
        if (only is None or it.model_type in only) and options.task in (None, it.task)
    ][options.skip :][: options.limit]
    options.out.mkdir(parents=True, exist_ok=True)
    found = []
    with (options.out / "sweep.jsonl").open("w", encoding="utf-8") as lines:
        for row in _all_rows(chosen, options):
            found.append(row)
            lines.write(json.dumps(row) + "\n")
            lines.flush()
    (options.out / "sweep.md").write_text(page(found), encoding="utf-8")
    print(summary(found))
    sys.exit(any(row["outcome"] in ("disagrees", "crashed") for row in found))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", help="model types, with commas between them")
    parser.add_argument("--task")
    parser.add_argument("--quant", default="none,8bit,4bit")
    parser.add_argument("--checkpointing", default="off,reentrant,non-reentrant")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S)
    parser.add_argument("--out", type=Path, default=Path("build/sweep"))
    return parser.parse_args()


def _load_libraries() -> None:
    """Everything that takes long to import, once, before the first fork."""
    warnings.filterwarnings("ignore")
    import bitsandbytes  # noqa: F401
    import peft  # noqa: F401
    import sweep_model  # noqa: F401
    import torch
    import transformers

    import gradcheck

    assert gradcheck.inspect
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()


def _all_rows(chosen: list, options: argparse.Namespace) -> Iterator[dict]:
    """The rows of all architectures, ``jobs`` of them at a time."""
    context = multiprocessing.get_context("fork")
    waiting, running = list(chosen), {}
    while waiting or running:
        while waiting and len(running) < options.jobs:
            known = waiting.pop(0)
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=_child, args=(known, options, sender), daemon=True)
            process.start()
            sender.close()
            running[receiver] = (known, process, time.monotonic() + options.timeout, [])
        yield from _received(running)


def _received(running: dict) -> Iterator[dict]:
    for receiver in wait(list(running), timeout=1.0):
        known, process, _, rows = running[receiver]
        try:
            row = receiver.recv()
        except EOFError:
            process.join()
            del running[receiver]
            if process.exitcode:
                yield _lost(known, rows, f"the process died (exit {process.exitcode})")
            continue
        rows.append(row)
        yield row
    for receiver, (known, process, deadline, rows) in list(running.items()):
        if time.monotonic() > deadline:
            process.kill()
            process.join()
            del running[receiver]
            yield _lost(known, rows, "took too long")


def _lost(known: object, rows: list[dict], why: str) -> dict:
    """The row of a set-up that never gave one: the one after the last that did."""
    after = f" after {rows[-1]['quantization']}, {rows[-1]['checkpointing']}" if rows else ""
    from sweep_model import Row

    row = Row(
        model_type=known.model_type,
        task=known.task,
        model_class=known.model_class,
        quantization="",
        checkpointing="",
        outcome="crashed",
        reason=why + after,
    )
    return asdict(row)


def _child(known: object, options: argparse.Namespace, sender: Connection) -> None:
    from sweep_model import rows

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    quantizations = tuple(options.quant.split(","))
    for row in rows(known, quantizations, tuple(options.checkpointing.split(","))):
        sender.send(asdict(row))
    sender.close()


if __name__ == "__main__":
    main()
