"""The text of a first configuration, from what a survey found."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from gradcheck.configuring.survey import Candidate, Kind
from gradcheck.gates.config import Checks
from gradcheck.gates.toml_text import quoted

HEAD = """\
# What `gradcheck gate` checks: one training step of each target, in a process of its own, before anybody trains.

fail-on = "error"     # the mildest severity that fails: error, warning or note
# jobs = 1            # targets that run at the same time; by default as many as there are processors
timeout = {timeout:g}         # seconds for one target
memory-gb = {memory:g}         # memory for one target
# ignore = {{ GC404 = "why this rule does not matter here" }}

# Options of a target may also stand up here, for all targets: quant, adapter, lora-rank, lora-targets,
# checkpointing, input-grads, dtype, batch-size, seq-len and so on, as for `gradcheck inspect`.
# weights = "skip"    # the default: only configuration and code decide the chain, so no weights are needed
"""
HEADINGS: dict[Kind, str] = {
    "model": "Models, set up as a QLoRA run would be: say here what yours does differently.",
    "adapter": "Adapters: their base model is found through them.",
    "factory": "Functions that return model and batch: they are called, so they should be quick.",
    "hub": "Models on the hub: only their configuration is fetched.",
    "script": "Scripts that train: a script is not run; give it a function that returns model, batch.",
}
ACTIVE: tuple[Kind, ...] = ("model", "adapter", "factory")
"""What is checked as it stands; the others are written as comments."""
MAX_OF_A_KIND = 12
EXAMPLE = """\
# Nothing was found that could be checked as it stands. A target is a hub id, a folder with a config.json, an
# adapter folder, or a function that returns model, batch:

# [[targets]]
# name = "sft"
# target = "training/sft.py:make_model_and_batch"
# arguments = { rank = 8 }
"""


def sample(found: Iterable[Candidate]) -> tuple[str, int]:
    """The text, and how many targets it would check as it stands."""
    candidates = list(found)
    names = _Names()
    checks = Checks()
    parts = [HEAD.format(timeout=checks.timeout, memory=checks.memory_gb)]
    active = 0
    for kind, heading in HEADINGS.items():
        of_kind = [candidate for candidate in candidates if candidate.kind == kind]
        if of_kind:
            left = len(of_kind) - MAX_OF_A_KIND
            more = f" {left} more were found." if left > 0 else ""
            parts.append(f"\n# {heading}{more}\n")
        for candidate in of_kind[:MAX_OF_A_KIND]:
            live = kind in ACTIVE and not candidate.needs
            active += live
            parts.append("\n".join(_entry(candidate, names, live=live)) + "\n")
    if not active:
        parts.append(f"\n{EXAMPLE}")
    return "\n".join(parts).replace("\n\n\n", "\n\n"), active


def _entry(candidate: Candidate, names: _Names, *, live: bool) -> Iterator[str]:
    mark = "" if live else "# "
    target = candidate.target
    if candidate.kind == "script":
        target = f"{target}:make"
    yield f"{mark}[[targets]]"
    yield f"{mark}name = {quoted(names.unique(candidate.target))}"
    yield f"{mark}target = {quoted(target)}"
    if candidate.needs:
        values = ", ".join(f"{quoted(name)} = ..." for name in candidate.needs)
        yield f"{mark}arguments = {{ {values} }}"


class _Names:
    """Short names, none twice."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, target: str) -> str:
        """The last part of ``target``, with as much before it as tells it from the others."""
        path, _, function = target.partition(":")
        parts = [part.removesuffix(".py") for part in path.split("/") if part != "."]
        parts += [function] if function else []
        for length in range(1, len(parts) + 1):
            name = re.sub(r"[^\w.]+", "-", "-".join(parts[-length:])).strip("-") or "model"
            if name not in self._taken:
                break
        number = 2
        base = name
        while name in self._taken:
            name = f"{base}-{number}"
            number += 1
        self._taken.add(name)
        return name
