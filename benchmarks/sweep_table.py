"""Makes a page of the sweep's rows: what was found for every architecture, and why where something is out of reach.

    python benchmarks/sweep_table.py build/sweep/sweep.jsonl [MORE.jsonl ...] > docs/architectures.md

Of a set-up that is in several files the last row counts.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

Row = dict
Setup = tuple[str, str]
"""(quantization, checkpointing)"""

INTRODUCTION = """# Every architecture

What `make sweep` found: each class that the installed transformers trains for a language, vision or speech task, at
small size with random weights, with a LoRA on all linear layers, quantized by the real bitsandbytes. For each set-up
plain torch says which adapters get a gradient from one step; `gradcheck inspect` has to say the same, with the weights
and without them, and `gradcheck fix` has to bring back what the step without checkpointing has, with the same
gradients.

{versions}

{summary}

A cell holds what plain torch says of the step without checkpointing, with reentrant checkpointing whose input carries
no gradient, and with non-reentrant checkpointing. `fixed`: `gradcheck fix` brings back every gradient. **✗** marks a
set-up of which gradcheck says something else, and an empty place one that was not run.

| word | the step without gradcheck |
|---|---|
| ok | every adapter gets its gradient |
| n of m | so many of the adapter tensors get one, as many as can without checkpointing |
| lost | checkpointing loses gradients, silently |
| raises | the step raises; without checkpointing too where that is in the first place |
| wrong | every gradient is there, with other values |
| none | the model has no checkpointing |
| – | could not be set up; the reasons are below the table |
"""
MARKS = {
    "GC102(n)": "not called in such a step",
    "GC102(w)": "result dropped on the way to the loss",
    "GC202": "detached in the model's code",
    "GC203": "autograd switched off in the model's code",
    "GC205": "behind a choice or a rounding",
    "GC208": "written in place",
    "GC210": "the step raises",
    "GC301": "the model checkpoints by itself",
    "GC403": "gradient exactly zero",
    "GC505": "weight read past the adapter",
    "GC509": "activations cast to the quantized dtype",
    "GC509(w)": "activations cast to the quantized dtype",
    "GC510": "packed weight used as a matrix",
    "GC511": "quantized layer without a backward",
    "GC512": "adapter that does not fit its layer",
}
"""What a finding of the step without checkpointing says about adapters that get no gradient."""
CHECKPOINTING = ("off", "reentrant", "non-reentrant")
QUANTIZATIONS = {"none": "fp32", "8bit": "8-bit", "4bit": "4-bit"}


def page(rows: Iterable[Row]) -> str:
    """The whole page, in Markdown."""
    kept = _latest(rows)
    text = INTRODUCTION.format(versions=_versions(), summary="\n".join(_summary_table(kept)))
    return "\n".join([text, *_table(kept), "", "## Reasons", "", *_reasons(kept)]) + "\n"


def _latest(rows: Iterable[Row]) -> list[Row]:
    """One row for each set-up, the last one, in the order of the first."""
    kept: dict[tuple[str, ...], Row] = {}
    for row in rows:
        kept[(*_key(row), row["quantization"], row["checkpointing"])] = row
    return [row for row in kept.values() if row["quantization"]]


def _key(row: Row) -> tuple[str, str, str]:
    return row["task"], row["model_type"], row["model_class"]


def _versions() -> str:
    from importlib.metadata import version

    packages = ("torch", "transformers", "peft", "bitsandbytes")
    return "Versions: " + ", ".join(f"{it} {version(it)}" for it in packages) + "; CPU."


def summary(rows: list[Row]) -> str:
    """How many set-ups agree, and what torch says of them, a line for each kind."""
    return "\n".join(_summary_table(_latest(rows)))


def _summary_table(rows: list[Row]) -> Iterator[str]:
    yield "| set-up | run | agree | disagree | crashed | same without weights | by a twin | torch says | repaired |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for setup, part in _by_setup(rows).items():
        ran = [row for row in part if row["outcome"] != "could not run"]
        counts = Counter(row["outcome"] for row in ran)
        plain = Counter(row["plain"] for row in ran if row["plain"])
        says = ", ".join(f"{number} {word}" for word, number in plain.most_common())
        same = [row for row in ran if row.get("weightless", "").startswith("same")]
        twins = sum(row["weightless"].endswith("twin") for row in same)
        tried = [row for row in ran if row["fix"]]
        fixed = sum(map(_is_fixed, tried))
        name = f"{QUANTIZATIONS[setup[0]]}, {setup[1]}"
        cells = [name, len(ran), counts["agrees"], counts["disagrees"], counts["crashed"]]
        cells += [len(same), twins, says, f"{fixed} of {len(tried)}" if tried else ""]
        yield f"| {' | '.join(map(str, cells))} |"


def _by_setup(rows: list[Row]) -> dict[Setup, list[Row]]:
    found: dict[Setup, list[Row]] = {}
    for row in rows:
        found.setdefault((row["quantization"], row["checkpointing"]), []).append(row)
    return found


def _table(rows: list[Row]) -> Iterator[str]:
    found: dict[tuple[str, str, str], dict[Setup, Row]] = {}
    for row in rows:
        found.setdefault(_key(row), {})[row["quantization"], row["checkpointing"]] = row
    quantizations = [it for it in QUANTIZATIONS if any(row["quantization"] == it for row in rows)]
    task = ""
    for key, setups in found.items():
        if key[0] != task:
            task = key[0]
            heads = " | ".join(QUANTIZATIONS[it] for it in quantizations)
            yield from ("", f"## {task}", "", f"| model type | class | {heads} | out of reach |")
            yield "|" + "---|" * (3 + len(quantizations))
        cells = [_cell(setups, quantization) for quantization in quantizations]
        yield f"| {key[1]} | {key[2]} | {' | '.join(cells)} | {_out_of_reach(setups)} |"


def _cell(setups: dict[Setup, Row], quantization: str) -> str:
    words = [_word(setups.get((quantization, it))) for it in CHECKPOINTING]
    return " · ".join(words) if any(words) else ""


def _word(row: Row | None) -> str:
    if row is None:
        return ""
    if row["outcome"] == "could not run":
        return "none" if "checkpointing" in row["reason"] else "–"
    reached = row["num_trainable"] - row["num_starved"]
    word = {"raised": "raises", "wrong values": "wrong", "healthy": "ok"}.get(row["plain"], "")
    if not word:
        as_without = row["num_starved"] <= row["num_unreachable"]
        word = f"{reached} of {row['num_trainable']}" if as_without else "lost"
    word += ", fixed" if _is_fixed(row) else ""
    return word if row["outcome"] == "agrees" else f"**✗** {word}"


def _is_fixed(row: Row) -> bool:
    """Whether ``fix`` reached something, and all that the step without checkpointing does (which may be nothing)."""
    return row["fix"] == "reaches all" and row["num_reached_by_fix"] > 0


def _out_of_reach(setups: dict[Setup, Row]) -> str:
    """What of the step without checkpointing gets no gradient, and why."""
    texts: dict[str, None] = {}
    for (quantization, checkpointing), row in setups.items():
        if checkpointing == "off" and row["num_unreachable"] and not _is_fixed(row):
            why = dict.fromkeys(MARKS[code] for code in row["codes"] if code in MARKS)
            texts[f"{row['num_unreachable']}: {'; '.join(why)}"] = None
            texts.setdefault(quantization, None)
    words = [text for text in texts if text not in QUANTIZATIONS]
    return "<br>".join(words)


def _reasons(rows: list[Row]) -> Iterator[str]:
    """Why what did not agree did not, once for each architecture and reason."""
    said: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        if row["reason"] and "does not support checkpointing" not in row["reason"]:
            said.setdefault((*_key(row), row["reason"]), []).append(
                f"{QUANTIZATIONS[row['quantization']]} {row['checkpointing']}"
            )
    for (task, model_type, _, reason), where in said.items():
        text = reason.replace("<", "&lt;").replace("|", "\\|")
        yield f"- {model_type} ({task}; {', '.join(where)}): {text}"


def main() -> None:
    """Prints the page of the files given."""
    rows = [
        json.loads(line)
        for name in sys.argv[1:]
        for line in Path(name).read_text("utf-8").splitlines()
    ]
    sys.stdout.write(page(rows))


if __name__ == "__main__":
    main()
