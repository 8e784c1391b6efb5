"""Repairs models that a training is about to use: the guard that people write into their loss function by hand."""

from __future__ import annotations

import warnings

from gradcheck.core.lapse import lapse_of, own_failure
from gradcheck.errors import DiagnosticError
from gradcheck.reports.outcome import FixReport
from gradcheck.reports.report import Report
from gradcheck.search import repair
from gradcheck.settings import Settings
from gradcheck.subject import Subject


class Mender:
    """Repairs each model that it is given, on the live model, and keeps what it found and did."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.made: list[FixReport] = []
        """One for each model that needed it."""
        self.problems: list[str] = []
        """Why a model could not be looked at."""

    def mend(self, subject: Subject) -> None:
        """Repairs ``subject``; what goes wrong with that is no affair of the training."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of steps that are only tried
                result = repair(subject, self._settings)
        except DiagnosticError as problem:
            self.problems.append(str(problem))
        except Exception as error:
            self.problems.append(str(own_failure(lapse_of(error))))
        else:
            if not result.before.healthy:
                self.made.append(result)

    @property
    def notes(self) -> tuple[str, ...]:
        """For the report of the training: which models could not be looked at."""
        return tuple(f"no repair before the first step: {problem}" for problem in self.problems)

    def outcome(self, after: Report) -> FixReport | None:
        """What was found first, what was tried, and ``after``, the training with it; None without a finding."""
        if not self.made:
            return None
        outcomes = tuple(outcome for result in self.made for outcome in result.outcomes)
        return FixReport(before=self.made[0].before, after=after, outcomes=outcomes)
