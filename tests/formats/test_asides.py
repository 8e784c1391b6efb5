"""What is no problem: told once for all targets of which it is true, never left out in silence."""

import dataclasses

from gradcheck.formats.views.asides import Aside, asides, listed, told_of
from gradcheck.gates.gate import IgnoredRule, of_one
from tests.formats import gates, reports


def test_what_is_true_of_several_targets_is_told_once() -> None:
    gate = gates.mixed()
    (skipped,) = [aside for aside in asides(gate) if aside.kind == "not run"]
    assert skipped.text == "GC601, GC602: no optimizer"
    assert told_of(skipped, gate) == "healthy, broken-config, drifted"
    everywhere = dataclasses.replace(skipped, targets=gates.NAMES)
    assert told_of(everywhere, gate) == ""


def test_a_rule_that_is_ignored_is_not_told_as_skipped_too() -> None:
    (result,) = of_one(reports.healthy()).results
    ignored = IgnoredRule(code="GC601", reason="ours is made elsewhere")
    gate = dataclasses.replace(
        of_one(reports.healthy()), results=(dataclasses.replace(result, ignored=(ignored,)),)
    )
    assert [str(aside) for aside in asides(gate)] == [
        "not run: GC602: no optimizer",
        "ignored: GC601: ours is made elsewhere",
    ]


def test_there_is_an_end_and_it_is_said() -> None:
    report = dataclasses.replace(reports.healthy(), notes=tuple(f"note {i}" for i in range(90)))
    told = asides(of_one(report), limit=10)
    assert told[-1] == Aside(kind="noted", text="81 more such lines")
    assert len(told) == 11
    assert listed(tuple("abcdefghijk")) == "a, b, c, d, e, f, g, h and 3 more"
