"""Writes the generated pages, or says that they are out of date.

    python docs/build.py [--check]

One page a rule under ``docs/rules/``, made from the rule's docstring, their index, the table of the repairs, and the
JSON Schemas of the reports, the Trace and the gate's configuration, the page of the command line, and the drawings.
``--check`` writes nothing and exits with 1 where a
file differs from what would be written.
"""

import argparse
import inspect
import itertools
import json
from pathlib import Path

from command_line import command_line
from drawings import drawings

from gradcheck.findings.candidates import REPAIRS, Remedy
from gradcheck.findings.rule import RULES, Rule
from gradcheck.gates.config_schema import config_schema
from gradcheck.gates.schemas import schema_files

DOCS = Path(__file__).resolve().parent
FOLDER = DOCS / "rules"
MADE = (
    "<!-- Made by docs/build.py from the rule's docstring: edit that, then run `make docs`. -->\n"
)
MADE_OF_REPAIRS = "<!-- Made by docs/build.py from the repairs' docstrings: edit those, then run `make docs`. -->\n"
HOW = """\
`gradcheck fix` tries these on the loaded model, safe ones first and of them what changes least first, in the order of
the table. After each the same step is recorded again, with the same seed and batch. A repair stays where the step is
better with it: more trainable parameters get a gradient, or a finding is gone, and nothing is worse. A safe one must
leave the loss as it was, bit for bit on the CPU. A repair of checkpointing must give the gradients that the model has
without checkpointing. What does not help is put back from a snapshot of the module tables, hooks, attributes, settings,
flags and dtypes. A repair that cures its finding and uncovers another one is carried on with, and taken back where
nothing cures the other."""


def main() -> int:
    """Writes or checks every page; 1 where a check found a difference."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    check: bool = parser.parse_args().check
    wanted = pages()
    stale = [path for path in FOLDER.glob("*.md") if path not in wanted]
    changed = [path for path, text in wanted.items() if read(path) != text]
    if check:
        for path in sorted([*changed, *stale]):
            print(f"{path.relative_to(DOCS.parent)} is out of date; run `make docs`")
        return 1 if changed or stale else 0
    FOLDER.mkdir(exist_ok=True)
    for path in stale:
        path.unlink()
    for path in changed:
        path.write_text(wanted[path], "utf-8")
    return 0


def pages() -> dict[Path, str]:
    """The text of every page by its path."""
    rules = list(RULES.all().values())
    made = {FOLDER / f"{rule.code}.md": page(rule) for rule in rules}
    schemas = {DOCS / name: text for name, text in schema_files().items()}
    schemas[DOCS / "config.schema.json"] = f"{json.dumps(config_schema(), indent=2)}\n"
    return {
        FOLDER / "README.md": index(rules),
        DOCS / "repairs.md": repairs(list(REPAIRS.all().values())),
        DOCS / "command-line.md": command_line(),
        **drawings(),
        **made,
        **schemas,
    }


def page(rule: Rule) -> str:
    """The page of one rule."""
    summary, _, body = rule.page.partition("\n")
    needs = f"\nNeeds: {', '.join(rule.needs)}.\n" if rule.needs else ""
    return f"{MADE}\n# {rule.code} {rule.name}\n\n{summary}\n{needs}{body.rstrip()}\n"


def index(rules: list[Rule]) -> str:
    """The table of all rules, by family."""
    lines = [MADE, "# Rules", "", "`gradcheck rule CODE` shows the same pages in the terminal.", ""]
    for family, members in itertools.groupby(rules, key=lambda rule: rule.family):
        lines += [
            f"## {family.capitalize()}",
            "",
            "| code | name | what it finds |",
            "|---|---|---|",
        ]
        for rule in members:
            summary = rule.summary.replace("|", "\\|")
            lines.append(f"| [{rule.code}]({rule.code}.md) | {rule.name} | {summary} |")
        lines.append("")
    return "\n".join(lines)


def repairs(entries: list[Remedy]) -> str:
    """The page of the repairs that are tried on a loaded model."""
    lines = [MADE_OF_REPAIRS, "# Repairs of a loaded model", "", HOW, ""]
    lines += ["| repair | cures | what it does |", "|---|---|---|"]
    for entry in sorted(entries, key=lambda entry: (entry.change, entry.name)):
        codes = ", ".join(f"[{code}](rules/{code}.md)" for code in entry.codes)
        summary = inspect.cleandoc(entry.function.__doc__ or "").splitlines()[0].replace("``", "`")
        lines.append(f"| {entry.name} | {codes} | {summary} |")
    return "\n".join(
        [
            *lines,
            "",
            "What is done to a training script: [script-repairs.md](script-repairs.md).",
            "",
        ]
    )


def read(path: Path) -> str | None:
    """The text of a page, or None where there is none."""
    return path.read_text("utf-8") if path.is_file() else None


if __name__ == "__main__":
    raise SystemExit(main())
