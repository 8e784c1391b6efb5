"""A rule: a pure function from a Trace to findings, and the decorator that registers it."""

import difflib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from gradcheck.core.registry import Registry
from gradcheck.errors import SettingsError
from gradcheck.findings.finding import Finding
from gradcheck.settings import Settings
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Training

Need = Literal["optimizer", "loss", "backward", "gradients", "adapters", "labels", "numbers"]
HEADINGS = ("What it does", "Why this breaks training", "Example", "Repair", "References")
"""The headings that every rule's docstring has, in this order."""

RuleFunction = Callable[[Trace], Iterator[Finding]]
TrainingRuleFunction = Callable[[Training], Iterator[Finding]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A registered rule."""

    code: str
    name: str
    """Noun phrase for the problem: ``reentrant-checkpoint-without-grad-input``."""
    family: str
    function: RuleFunction | None
    """What it says of a step that was recorded in full; None for a rule about several steps."""
    over_steps: TrainingRuleFunction | None
    """What it says of a training; None for a rule about one step."""
    needs: tuple[Need, ...]
    """What the trace must hold for the rule to run."""
    explains: tuple[str, ...]
    """Rules whose findings are symptoms of this one's: where it is an error, they are not reported."""
    page: str
    """The docstring, dedented: first line a summary, then the headings as ``## ...``."""

    @property
    def summary(self) -> str:
        """First line of the page."""
        return self.page.splitlines()[0]


RULES: Registry[Rule] = Registry("gradcheck.rules")


def step_rules() -> dict[str, Rule]:
    """The rules about one step, by code."""
    return {code: entry for code, entry in RULES.all().items() if entry.function is not None}


def check_selection(settings: Settings) -> None:
    """Refuses a code that no rule has: with it nothing would be judged, or something that was to be left out.

    Raises:
        SettingsError: where a code or prefix in ``select`` or ``ignore`` matches no rule.
    """
    codes = list(RULES.all())
    for given in (*settings.select, *settings.ignore):
        if not any(code.startswith(given) for code in codes):
            near = difflib.get_close_matches(given, codes, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise SettingsError(
                f"no rule is called {given}; {hint}`gradcheck rule` lists all of them"
            )
    if not any(settings.selects(code) for code in codes):
        raise SettingsError(
            f"select {', '.join(settings.select) or 'all'} without ignore {', '.join(settings.ignore)} leaves no rule"
        )


def rule(
    code: str, *, needs: tuple[Need, ...] = (), explains: tuple[str, ...] = ()
) -> Callable[[RuleFunction], RuleFunction]:
    """Registers the decorated function under ``code``; its name, with dashes, is the rule's name.

    Args:
        code: ``GC301``; its first digit is the family.
        needs: what a trace must hold for the rule to run.
        explains: codes of the symptoms of what it finds. GC210 is one where a rule claims the exception by what raised
            it and not by its message.
    """

    def register(function: RuleFunction) -> RuleFunction:
        _add(code, function, step=function, needs=needs, explains=explains)
        return function

    return register


def training_rule(
    code: str, *, explains: tuple[str, ...] = ()
) -> Callable[[TrainingRuleFunction], TrainingRuleFunction]:
    """As ``rule``, for a function of a whole Training."""

    def register(function: TrainingRuleFunction) -> TrainingRuleFunction:
        _add(code, function, training=function, explains=explains)
        return function

    return register


def _add(
    code: str,
    function: Callable[..., Iterator[Finding]],
    *,
    step: RuleFunction | None = None,
    training: TrainingRuleFunction | None = None,
    needs: tuple[Need, ...] = (),
    explains: tuple[str, ...] = (),
) -> None:
    page = inspect.cleandoc(function.__doc__ or "")
    headings = tuple(re.findall(r"^## (.+)$", page, re.MULTILINE))
    if headings != HEADINGS:
        raise ValueError(f"{code}: the docstring needs the headings {HEADINGS}, it has {headings}")
    entry = Rule(
        code=code,
        name=function.__name__.replace("_", "-"),
        family=function.__module__.split(".")[-2],
        function=step,
        over_steps=training,
        needs=needs,
        explains=explains,
        page=page,
    )
    RULES.add(code, entry)
