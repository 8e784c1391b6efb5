"""What a child answers is what its parent reads."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gradcheck.core.codec import dumps
from gradcheck.findings.edit import Edit
from gradcheck.findings.repair import Repair
from gradcheck.isolation.answer import Inspected, Refused, Repaired, read_answer, write_answer
from gradcheck.isolation.errand import ANSWER
from gradcheck.reports.outcome import NotTried, Rejected, Verified
from tests.formats import reports

REPAIR = Repair(name="n", summary="s")
edits = st.one_of(*(st.builds(kind) for kind in get_args(Edit)))
outcomes: st.SearchStrategy[Any] = st.one_of(
    st.builds(Verified, repair=st.just(REPAIR), edits=st.lists(edits).map(tuple)),
    st.builds(Rejected, repair=st.just(REPAIR)),
    st.builds(NotTried, repair=st.just(REPAIR)),
)


@given(st.lists(outcomes).map(tuple))
@settings(derandomize=True, database=None, deadline=None)
def test_every_outcome_comes_back_with_its_edits(
    tmp_path_factory: pytest.TempPathFactory, found: Any
) -> None:
    folder = tmp_path_factory.mktemp("answer")
    answer = Repaired(before=reports.failure(), after=reports.failure(), outcomes=found)
    write_answer(folder, answer, 7)
    assert read_answer(folder) == (answer, 7)


def test_every_kind_of_edit_is_told_from_the_others(tmp_path: Path) -> None:
    made = tuple(kind for kind in get_args(Edit) if set(kind.__annotations__) == {"modules"})
    assert len(made) > 1
    verified = Verified(
        code="GC301", repair=REPAIR, reason="r", edits=tuple(kind(modules=("m",)) for kind in made)
    )
    answer = Repaired(before=reports.failure(), after=reports.failure(), outcomes=(verified,))
    write_answer(tmp_path, answer, None)
    read = read_answer(tmp_path)
    assert read is not None
    assert isinstance(read[0], Repaired)
    assert read[0].result.verified == (verified,)


def test_the_recorded_step_lies_in_a_file_of_its_own(tmp_path: Path) -> None:
    answer = Inspected(report=reports.failure(), trace='{"a":1}')
    write_answer(tmp_path, answer, None)
    assert "trace" not in (tmp_path / ANSWER).read_text("utf-8").replace('"trace":null', "")
    assert read_answer(tmp_path) == (answer, None)


def test_text_that_is_no_unicode_does_not_lose_the_answer(tmp_path: Path) -> None:
    write_answer(tmp_path, Refused(reason="\ud800 failed"), 7)
    assert read_answer(tmp_path) == (Refused(reason="\ufffd failed"), 7)
    report = replace(reports.failure(), notes=("\ud800",))
    write_answer(tmp_path, Repaired(before=report, after=report, outcomes=()), 7)
    read = read_answer(tmp_path)
    assert read is not None
    assert isinstance(read[0], Repaired)
    assert read[0].before.notes == ("\ufffd",)


@pytest.mark.parametrize("text", ["", "[]", "{}", dumps(REPAIR), '{"answer":["Unfinished",{}]}'])
def test_what_is_no_answer_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / ANSWER).write_text(text, "utf-8")
    with pytest.raises(ValueError, match="Letter"):
        read_answer(tmp_path)


def test_no_answer_is_none(tmp_path: Path) -> None:
    assert read_answer(tmp_path) is None
