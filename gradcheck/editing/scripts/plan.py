"""Plans the repairs of a training script: text in, text out."""

import re
from dataclasses import dataclass

from gradcheck.editing.files import Change, FilePlan
from gradcheck.editing.scripts.edit import Proposal, ScriptEdit, Stage, ordered_edits
from gradcheck.editing.scripts.notes import notes_on
from gradcheck.editing.scripts.script import Script, read_script
from gradcheck.editing.scripts.text import NEWLINE, Splice, origins_after, overlap, spliced

BLOCK = re.compile(r"^# /// script\s*$(.*?)^# ///\s*$", re.MULTILINE | re.DOTALL)
PIN = re.compile(r"""["']transformers\s*(?:\[[^\]]*\])?\s*(?:==|>=|~=)\s*(\d+(?:\.\d+)*)""")
UPPER = re.compile(r"""["']transformers[^"']*<\s*(\d+(?:\.\d+)*)""")
BOM = "\ufeff"
MAX_ROUNDS = 5
"""One change may make room for another; a set of edits that has not settled by then is a mistake of ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Draft:
    """A script on its way from what it was."""

    script: Script
    origins: tuple[int, ...]
    """The original line of each line."""
    changes: tuple[Change, ...] = ()


def plan_script(text: str, *, transformers: str | None = None) -> FilePlan:
    """The repairs of the training script ``text``; planned again from the result, nothing is left to do.

    ``transformers`` is the version that the script runs with, unless it pins one itself (PEP 723): what the library
    does by default depends on it. Where it is not known, a default that some supported version has counts as broken.

    Raises:
        TargetError: where the text is no Python.
    """
    bom, source = (BOM, text[1:]) if text.startswith(BOM) else ("", text)
    original = read_script(source, _pinned_transformers(source) or transformers, frozenset())
    draft = _Draft(script=original, origins=tuple(range(1, len(original.lines.starts) + 1)))
    for _ in range(MAX_ROUNDS):
        after = _round(draft, original)
        if after is draft:
            break
        draft = after
    else:
        raise AssertionError("the edits of a script did not settle")
    changes = sorted((*draft.changes, *_advice(draft, original)), key=lambda change: change.line)
    return FilePlan(
        text=bom + draft.script.text, changes=tuple(changes), notes=notes_on(draft.script)
    )


def _round(draft: _Draft, original: Script) -> _Draft:
    for edit in ordered_edits():
        if edit.stage != Stage.ADVICE:
            draft = _edited(draft, edit, original)
    return draft


def _edited(draft: _Draft, edit: ScriptEdit, original: Script) -> _Draft:
    taken: list[Splice] = []
    changes = list(draft.changes)
    for proposal in edit.propose(draft.script):
        if proposal.splices and not overlap(proposal.splices, taken):
            taken += proposal.splices
            changes.append(_change(proposal, edit, draft, original))
    if not taken:
        return draft
    text = draft.script.text
    made = frozenset(change.name for change in changes)
    return _Draft(
        script=read_script(spliced(text, taken), original.transformers, made),
        origins=origins_after(text, draft.origins, taken),
        changes=tuple(changes),
    )


def _advice(draft: _Draft, original: Script) -> list[Change]:
    """What is for display only, by every edit: seen in the final text, told of the original line."""
    return [
        _change(proposal, edit, draft, original)
        for edit in ordered_edits()
        for proposal in edit.propose(draft.script)
        if not proposal.splices
    ]


def _change(proposal: Proposal, edit: ScriptEdit, draft: _Draft, original: Script) -> Change:
    line = draft.origins[min(proposal.line, len(draft.origins)) - 1]
    applicability = proposal.applicability or edit.applicability
    return Change(
        name=proposal.name or edit.name,
        line=line,
        before_text=original.line_text(line),
        summary=proposal.summary,
        applicability=applicability if proposal.splices else "display-only",
        suggestion=proposal.suggestion,
    )


def _pinned_transformers(text: str) -> str | None:
    """The version of transformers that a script's own metadata (PEP 723) asks for; None where it leaves it open.

    # /// script
    # dependencies = ["transformers==4.57.1"]
    # ///
    """
    block = BLOCK.search(NEWLINE.sub("\n", text))
    if block is None:
        return None
    lowest, upper = PIN.search(block[1]), UPPER.search(block[1])
    if upper is not None and _numbers(upper[1]) <= (5, 0):
        return lowest[1] if lowest else "4"
    if lowest is None:
        return None
    exact = "==" in lowest[0] or "~=" in lowest[0]
    return lowest[1] if exact or _numbers(lowest[1]) >= (5,) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
