"""Finds the repairs that make a step healthy: each is made on the live model, and the step is recorded again.

A repair stands where the step is better with it. One that is worse, or changes nothing, is taken back. One that cures
its finding and uncovers another is carried on with until that one is cured too, and taken back where it is not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from gradcheck.editing.live import apply, resolved
from gradcheck.editing.snapshot import Snapshot
from gradcheck.errors import BatchError, EditError, RecordingError
from gradcheck.findings.candidates import Candidate, candidates, order
from gradcheck.findings.edit import (
    Edit,
    EnableInputRequireGrads,
    LetInputsRequireGrad,
    LetOutputsRequireGrad,
    SetCheckpointing,
)
from gradcheck.reports.outcome import FixReport, Outcome, Rejected, Verified
from gradcheck.reports.standing import Standing, changed_gradients, difference, loss_changed
from gradcheck.reports.untried import failing, untried
from gradcheck.settings import Settings
from gradcheck.step import examine, examine_or_twin
from gradcheck.subject import Subject

MAX_TRIALS = 40
"""Recorded steps after which the search gives up."""
MAX_DEPTH = 3
"""Repairs in a row that only uncover the next finding."""

Key = tuple[str, tuple[Edit, ...]]


def repair(
    subject: Subject, settings: Settings, progress: Callable[[str], None] = lambda _: None
) -> FixReport:
    """Repairs the live model of ``subject`` as far as it can be repaired.

    Raises:
        RecordingError: where the unrepaired step cannot be recorded; later ones only reject a repair.
        BatchError: where the step gives nothing that could be a loss.
    """
    progress("recording the step as it is")
    subject, before = examine_or_twin(subject, settings)
    search = _Search(subject, settings, progress)
    try:
        after = search.minimal(search.best(before))
    except BaseException:  # an interrupt too leaves nothing half done
        search.undo()
        raise
    return FixReport(
        before=before.report,
        after=after.report,
        outcomes=(*search.outcomes, *untried(before, after, search.outcomes, settings)),
        undo=search.undo,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _End:
    """Where a search came to."""

    state: Standing
    made: tuple[Candidate, ...]
    """The repairs that stand there."""
    outcomes: tuple[Outcome, ...]


@dataclass
class _Search:
    """The state of one search: what stands, what has been tried, and how to go back."""

    subject: Subject
    settings: Settings
    progress: Callable[[str], None]
    outcomes: list[Outcome] = field(default_factory=list)
    _standing: list[tuple[Candidate, Snapshot]] = field(default_factory=list)
    _demoted: set[Key] = field(default_factory=set)
    _aside: set[Key] = field(default_factory=set)
    """First repairs that helped and led no further: others are tried in their place."""
    _trials: int = 0

    def best(self, before: Standing) -> Standing:
        """The best state that is reached; where what the first repair brought up cannot be cured, from another one."""
        found = end = self._end(self.cured(before, MAX_DEPTH))
        while self._leads_no_further(before, end):
            self._set_aside(end)
            end = self._end(self.cured(before, MAX_DEPTH))
            if end.state.measure() > found.state.measure():
                found = end
        return found.state if end is found else self._return_to(found)

    def _end(self, state: Standing) -> _End:
        made = tuple(candidate for candidate, _ in self._standing)
        return _End(state=state, made=made, outcomes=tuple(self.outcomes))

    def _leads_no_further(self, before: Standing, end: _End) -> bool:
        """Whether repairs stand, and an error is there that they brought with them."""
        new = set(end.state.errors) - set(before.errors)
        return bool(end.made) and bool(new) and self._trials < MAX_TRIALS

    def _set_aside(self, end: _End) -> None:
        """All repairs taken back, the first of them not to be tried again."""
        first, left = end.made[0], ", ".join(dict.fromkeys(end.state.errors))
        verified = next(o for o in end.outcomes if o.repair == first.repair)
        self._take_back(0)
        self._aside.add(_key(first))
        self.outcomes = [o for o in self.outcomes if not isinstance(o, Verified)]
        reason = f"not enough: {verified.reason}; then there is {left}, which nothing cures"
        self._record(Rejected(code=first.code, repair=first.repair, reason=reason))

    def _return_to(self, end: _End) -> Standing:
        """The state of an earlier end; what was tried since is kept among the outcomes."""
        made = {outcome.repair.snippet for outcome in end.outcomes}
        since = [o for o in self.outcomes if o.repair.snippet not in made]
        state = self._only(list(end.made))
        assert state is not None  # it could be made a while ago
        self.outcomes = [*end.outcomes, *(o for o in since if isinstance(o, Rejected))]
        return state

    def cured(self, state: Standing, depth: int) -> Standing:
        """The best state that is reached from ``state``; what does not lead there is taken back."""
        tried: set[Key] = {_key(candidate) for candidate, _ in self._standing}
        while self._trials < MAX_TRIALS:
            candidate = next((c for c in self._plan(state) if self._mark(c) not in tried), None)
            if candidate is None:
                break
            tried.add(self._mark(candidate))
            reached = self._try(candidate, state, depth)
            if reached is not None:
                state = reached
                tried = {_key(candidate) for candidate, _ in self._standing}
        return state

    def _plan(self, state: Standing) -> list[Candidate]:
        """The candidates for all findings that fail, in the order in which they are tried."""
        found: dict[Key, Candidate] = {}
        for finding in failing(state, self.settings):
            for unresolved in candidates(state.trace, finding):
                candidate = replace(unresolved, edits=resolved(self.subject, unresolved.edits))
                demoted = replace(candidate.repair, applicability="unsafe")
                known = _key(candidate) in self._demoted
                kept = replace(candidate, repair=demoted) if known else candidate
                found.setdefault(_key(candidate), kept)
        return sorted((c for k, c in found.items() if k not in self._aside), key=order)

    def _mark(self, candidate: Candidate) -> Key:
        """A candidate that turned out to change the loss counts as another one, to be tried once more."""
        name, edits = _key(candidate)
        return (f"{name} (demoted)" if (name, edits) in self._demoted else name), edits

    def _try(self, candidate: Candidate, state: Standing, depth: int) -> Standing | None:
        """The state with the repair, or None where it was taken back."""
        self.progress(f"trying {candidate.repair.name}")
        self._trials += 1
        snapshot = Snapshot(self.subject)
        try:
            apply(self.subject, candidate.edits)
            after = examine(self.subject, self.settings)
        except (EditError, RecordingError, BatchError) as error:
            return self._reject(snapshot, candidate, str(error))
        except BaseException:
            snapshot.restore()
            raise
        fault = self._fault(candidate, state, after)
        if fault:
            return self._reject(snapshot, candidate, fault)
        if after.better_than(state, candidate.code):
            self._keep(candidate, snapshot, difference(state, after))
            return after
        still = after.error_places(candidate.code) & state.error_places(candidate.code)
        if depth and not still and after.error_places() != state.error_places():
            return self._carry_on(candidate, snapshot, state, after, depth)
        return self._reject(snapshot, candidate, f"{candidate.code} is still there")

    def _fault(self, candidate: Candidate, state: Standing, after: Standing) -> str:
        """Why the repair cannot stand; empty where it can."""
        worse = after.worse_than(state)
        if worse:
            return worse
        if candidate.repair.applicability == "safe" and loss_changed(state, after):
            self._demoted.add(_key(candidate))
            return f"it changes the loss from {state.loss:.9g} to {after.loss:.9g}"
        if candidate.keeps_gradients and after.healthy:
            return self._bent(after)
        return ""

    def _bent(self, after: Standing) -> str:
        """How the gradients differ from those without checkpointing; empty where they do not, or none can be had."""
        if not any(region.kind == "checkpoint" for region in after.trace.regions):
            return ""
        snapshot = Snapshot(self.subject)
        try:
            apply(self.subject, (SetCheckpointing(mode="off"),))
            plain = examine(self.subject, self.settings)
        except (EditError, RecordingError, BatchError):
            return ""
        finally:
            snapshot.restore()
        return changed_gradients(plain, after)

    def _carry_on(
        self,
        candidate: Candidate,
        snapshot: Snapshot,
        state: Standing,
        after: Standing,
        depth: int,
    ) -> Standing | None:
        """Cures what the repair uncovered; all of it is taken back where the end is no better than ``state``."""
        num_outcomes, num_standing = len(self.outcomes), len(self._standing)
        code = candidate.code
        uncovered = ", ".join(f"another {it}" if it == code else it for it in after.errors)
        self._keep(candidate, snapshot, f"cures {code}; {uncovered} came to light")
        reached = self.cured(after, depth - 1)
        if reached.measure() > state.measure():
            return reached
        self._take_back(num_standing)
        self.outcomes[num_outcomes:] = []
        return self._reject(
            snapshot,
            candidate,
            f"without {code} there is {uncovered}, which nothing cures",
        )

    def _keep(self, candidate: Candidate, snapshot: Snapshot, reason: str) -> None:
        self._standing.append((candidate, snapshot))
        self._record(
            Verified(
                code=candidate.code, repair=candidate.repair, reason=reason, edits=candidate.edits
            )
        )

    def _reject(self, snapshot: Snapshot, candidate: Candidate, reason: str) -> Standing | None:
        snapshot.restore()
        self._record(Rejected(code=candidate.code, repair=candidate.repair, reason=reason))
        return None

    def _record(self, outcome: Outcome) -> None:
        """A later outcome of the same repair replaces an earlier rejection."""
        self.outcomes = [
            held
            for held in self.outcomes
            if isinstance(held, Verified) or held.repair.snippet != outcome.repair.snippet
        ] + [outcome]

    def _take_back(self, num: int) -> None:
        """All repairs but the first ``num``, the last one first."""
        while len(self._standing) > num:
            self._standing.pop()[1].restore()

    def undo(self) -> None:
        """Everything as it was before."""
        self._take_back(0)

    def minimal(self, after: Standing) -> Standing:
        """Drops the input hooks that another way of checkpointing made needless, if the step is healthy without."""
        wanted = [
            candidate
            for index, (candidate, _) in enumerate(self._standing)
            if not (_is_hook(candidate) and any(map(_sets_checkpointing, self._later(index))))
        ]
        everything = [candidate for candidate, _ in self._standing]
        if not after.healthy or len(wanted) == len(everything):
            return after
        self.progress("trying without what came before")
        fewer = self._only(wanted)
        if fewer is None or not fewer.healthy:
            again = self._only(everything)
            assert again is not None  # it could be made a moment ago
            return again
        for candidate in everything:
            if candidate not in wanted:
                self._needless(candidate)
        return fewer

    def _later(self, index: int) -> list[Candidate]:
        return [candidate for candidate, _ in self._standing[index + 1 :]]

    def _only(self, wanted: list[Candidate]) -> Standing | None:
        """The state with these repairs and no other, or None where they cannot be made."""
        self._take_back(0)
        try:
            for candidate in wanted:
                snapshot = Snapshot(self.subject)
                self._standing.append((candidate, snapshot))
                apply(self.subject, candidate.edits)
            return examine(self.subject, self.settings)
        except (EditError, RecordingError, BatchError):
            return None

    def _needless(self, candidate: Candidate) -> None:
        for index, outcome in enumerate(self.outcomes):
            if isinstance(outcome, Verified) and outcome.edits == candidate.edits:
                reason = f"helps, but not enough, and is not needed with what came later ({outcome.reason})"
                self.outcomes[index] = Rejected(
                    code=outcome.code, repair=outcome.repair, reason=reason
                )


def _is_hook(candidate: Candidate) -> bool:
    kinds = (EnableInputRequireGrads, LetOutputsRequireGrad, LetInputsRequireGrad)
    return all(isinstance(edit, kinds) for edit in candidate.edits)


def _sets_checkpointing(candidate: Candidate) -> bool:
    return any(isinstance(edit, SetCheckpointing) for edit in candidate.edits)


def _key(candidate: Candidate) -> Key:
    return candidate.repair.name, candidate.edits
