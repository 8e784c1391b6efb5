"""Reports are read where they are printed; their ``repr`` fits on a line."""

from typing import Any

import pytest

from gradcheck.gates.gate import of_one
from gradcheck.reports.formatter import RenderOptions, render
from tests.formats import fixes, reports


@pytest.mark.parametrize(
    "judged", [reports.classic(), fixes.two_repairs(), of_one(reports.classic())], ids=repr
)
def test_printed_it_is_the_report(judged: Any) -> None:
    assert str(judged) == render(judged, "terminal", RenderOptions())
    assert len(repr(judged)) < 100


def test_the_short_form_says_what_matters() -> None:
    assert repr(reports.classic()) == "<Report: broken, GC301>"
    assert repr(reports.healthy()) == "<Report: healthy>"
    assert repr(fixes.two_repairs()).startswith("<FixReport: broken, then healthy by ")
    assert repr(of_one(reports.classic())) == "<GateReport: findings, 1 target>"
