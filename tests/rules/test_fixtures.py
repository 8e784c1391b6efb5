"""Each rule fires on its firing fixture and is silent on the one that differs by the defect alone."""

import difflib
import importlib.util
import re
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import gradcheck
from gradcheck.core.target import Target
from gradcheck.findings.rule import RULES
from gradcheck.isolation import Errand, Limits, Unfinished, Worker
from gradcheck.pipeline import run
from gradcheck.reports.report import Report
from gradcheck.settings import Settings
from tests.limits import needs

FIXTURES = Path(__file__).parents[2] / "fixtures" / "rules"
RULE_FILES = Path(gradcheck.__file__).parent / "rules"
CODES = sorted(RULES.all())
MOST_CHANGED_LINES = 6
"""Lines by which a silent fixture may differ from the firing one, docstring and expectation left out."""
PARTS = ("model", "batch", "loss_fn")

pytestmark = pytest.mark.core


def load(code: str, name: str) -> ModuleType:
    path = FIXTURES / code / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"fixture_{code}_{name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if hasattr(module, "NEEDS"):
        needs(*module.NEEDS)
    return module


def reported(code: str, name: str) -> tuple[dict[str, Any], Report]:
    """What the fixture expects, and the report on it: a factory's, or for a rule over steps a script's."""
    if RULES.all()[code].over_steps is None:
        module = load(code, name)
        return getattr(module, "EXPECT", {}), inspected(module)
    path = FIXTURES / code / f"{name}.py"
    found = re.search(r"^EXPECT = (\{.*\})$", path.read_text("utf-8"), re.MULTILINE)
    return literal_eval(found[1]) if found else {}, run(str(path)).report


def inspected(module: ModuleType) -> Report:
    if getattr(module, "EXPECT", {}).get("own_process"):
        return inspected_apart(f"{module.__file__}:build")
    built, audit = module.build(), getattr(module, "EXPECT", {}).get("audit", False)
    if not isinstance(built, dict):
        built = dict(zip(PARTS, built, strict=False))
    return gradcheck.inspect(
        built["model"],
        built["batch"],
        built.get("loss_fn"),
        optimizer=built.get("optimizer"),
        settings=Settings(audit=audit),
    )


def inspected_apart(factory: str) -> Report:
    """The report of a step that takes its process down."""
    errand = Errand(task="inspect", target=Target(name=factory), settings=Settings())
    with Worker(errand, Limits(timeout_s=200)) as worker:
        while (done := worker.poll()) is None:
            worker.wait()
    assert isinstance(done.answer, Unfinished), done.answer
    return done.answer.report


@pytest.fixture(autouse=True)
def no_process_group() -> Iterator[None]:
    yield
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()


@pytest.mark.parametrize("code", CODES)
@pytest.mark.filterwarnings("ignore")
def test_fires(code: str) -> None:
    expected, report = reported(code, "fires")
    found = [finding for finding in report.findings if finding.code == code]
    assert len(found) == 1, [(f.code, f.module, f.message) for f in report.findings]
    finding = found[0]
    assert finding.severity == expected["severity"]
    if "module" in expected:
        assert finding.module == expected["module"]
    if "line" in expected:
        assert finding.location is not None
        assert expected["line"] in finding.location.text
        assert finding.location.file == str(FIXTURES / code / "fires.py")
    assert finding.rule == RULES.all()[code].name
    assert finding.num_elements > 0 or not finding.parameters
    assert finding.evidence
    assert finding.severity != "error" or not report.healthy


@pytest.mark.parametrize("code", CODES)
@pytest.mark.filterwarnings("ignore")
def test_is_silent_without_the_defect(code: str) -> None:
    _, report = reported(code, "silent")
    assert [f.message for f in report.findings if f.code == code] == []
    assert report.healthy, [(f.code, f.message) for f in report.findings]


@pytest.mark.parametrize("code", CODES)
def test_fixtures_differ_by_the_defect_alone(code: str) -> None:
    fires, silent = (
        [
            line
            for line in (FIXTURES / code / f"{name}.py").read_text("utf-8").splitlines()[1:]
            if line and not line.startswith("EXPECT")
        ]
        for name in ("fires", "silent")
    )
    changed = [line for line in difflib.ndiff(fires, silent) if line[0] in "+-"]
    assert 0 < len(changed) <= MOST_CHANGED_LINES, changed


def test_every_fixture_belongs_to_a_rule() -> None:
    folders = sorted(path.name for path in FIXTURES.iterdir() if path.name.startswith("GC"))
    assert folders == CODES
    for code in CODES:
        assert {p.name for p in (FIXTURES / code).glob("*.py")} == {"fires.py", "silent.py"}


def test_every_rule_has_a_file_of_its_own() -> None:
    files = {p.relative_to(RULE_FILES) for p in RULE_FILES.rglob("*.py") if p.stem != "__init__"}
    rules = RULES.all().values()
    assert files == {Path(r.family) / f"{r.name.replace('-', '_')}.py" for r in rules}
    hundreds = {
        r.family: {other.code[:3] for other in rules if other.family == r.family} for r in rules
    }
    assert all(len(found) == 1 for found in hundreds.values()), hundreds


@pytest.mark.parametrize("code", CODES)
def test_every_page_says_something_under_each_heading(code: str) -> None:
    page = RULES.all()[code].page
    for section in page.split("\n## ")[1:]:
        heading, _, text = section.partition("\n")
        assert text.strip(), (code, heading)
    assert "https://" in page.partition("## References")[2]
    example = page.partition("## Example")[2].partition("## Repair")[0]
    assert "\n    " in example, f"{code}: the example is no indented code block"
