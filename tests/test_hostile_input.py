"""Files and models that are odd or hostile: recorded, or refused in a sentence; never an error of gradcheck's own."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.errors import DiagnosticError, InputError, OwnFailure
from gradcheck.loading import patterns
from gradcheck.pipeline import inspect_subject
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.file import dumps
from tests.cli.runner import run

pytestmark = pytest.mark.filterwarnings("ignore")
OWN = ("did not expect", "gradcheck itself failed", "Traceback")
BATCH = {"x": torch.ones(2, 4)}


class Net(nn.Module):
    """Three layers, in which ``odd`` stands between the first and the last."""

    def __init__(self, odd: nn.Module, name: str = "odd") -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 1)
        self.add_module(name, odd)
        self.name = name

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": self.last(self._modules[self.name](self.first(x))).mean()}


class Does(nn.Module):
    """Calls ``body`` with itself and its input."""

    def __init__(self, body: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.body = body
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self, x * self.scale)


@pytest.fixture(scope="module")
def recorded() -> dict[str, Any]:
    """A trace with calls, a region, switches and a break."""

    def body(_: Any, x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            cut = x * 2
        return torch.utils.checkpoint.checkpoint(torch.tanh, x + cut, use_reentrant=True)

    subject = Subject(model=Net(Does(body)), batch=BATCH)
    return json.loads(dumps(inspect_subject(subject, Settings())[0]))


def recheck(text: str, folder: Path) -> tuple[int, str]:
    path = folder / "trace.json"
    path.write_text(text, "utf-8")
    result = run("recheck", str(path))
    assert not any(words in result.stderr for words in OWN), result.stderr
    return result.exit_code, result.stderr


def integers(held: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = held.items() if isinstance(held, dict) else enumerate(held)
    for key, value in items:
        if isinstance(value, int) and not isinstance(value, bool):
            yield (*path, key)
        elif isinstance(value, (dict, list)):
            yield from integers(value, (*path, key))


def kinds_of_rows(trace: dict[str, Any]) -> list[tuple[Any, ...]]:
    """The first integer of each table and column."""
    found: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for path in integers(trace):
        if path != ("schema_version",):
            found.setdefault((path[0], *path[2:3], len(path)), path)
    return list(found.values())


def test_an_untouched_trace_is_judged(recorded: dict[str, Any], tmp_path: Path) -> None:
    assert recheck(json.dumps(recorded), tmp_path)[0] in (0, 1)
    assert len(kinds_of_rows(recorded)) > 20


@pytest.mark.parametrize("number", [10**9, -7, 10**30, -(10**30)])
def test_a_wrong_number_anywhere_in_a_trace_is_no_crash(
    recorded: dict[str, Any], tmp_path: Path, number: int
) -> None:
    refused = 0
    for path in kinds_of_rows(recorded):
        damaged = copy.deepcopy(recorded)
        row: Any = damaged
        for key in path[:-1]:
            row = row[key]
        row[path[-1]] = number
        refused += recheck(json.dumps(damaged), tmp_path)[0] == 2
    assert refused > 10


@pytest.mark.parametrize("text", ["[" * 100_000, "9" * 5_000, '{"a":' * 50_000, "\x00", "NaN"])
def test_what_is_deep_or_huge_is_refused(text: str, tmp_path: Path) -> None:
    assert recheck(text, tmp_path)[0] == 2


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path)):
        start = time.monotonic()
        result = run("recheck", path)
        assert result.exit_code == 2
        assert "is no file" in result.stderr
        assert time.monotonic() - start < 5


def test_a_report_over_what_is_read_is_refused(recorded: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(recorded), "utf-8")
    before = path.read_bytes()
    assert run("recheck", str(path), "--output", str(path)).exit_code == 2
    assert run("recheck", str(path), "--report", f"json={path}").exit_code == 2
    assert path.read_bytes() == before
    other = tmp_path / "report.json"
    assert run("recheck", str(path), "--output", str(other)).exit_code in (0, 1)
    assert other.stat().st_size


def test_a_report_over_the_configuration_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    own = tmp_path / "gradcheck.toml"
    own.write_text('[[targets]]\nname = "one"\ntarget = "models/none"\n', "utf-8")
    before = own.read_bytes()
    result = run("gate", "--output", str(own))
    assert result.exit_code == 2, result.stdout
    assert "is read by this command" in result.stderr
    assert own.read_bytes() == before


@pytest.mark.parametrize("command", ["inspect", "fix"])
def test_a_report_over_what_the_target_is_made_of_is_refused(command: str, tmp_path: Path) -> None:
    script, data, config = (tmp_path / name for name in ("train.py", "data.jsonl", "config.json"))
    for path in (script, data, config):
        path.write_text("{}", "utf-8")
    for target, written in ((f"{script}:make", script), ("a/b", data), (str(tmp_path), config)):
        result = run(command, target, "--data", str(data), "--output", str(written))
        assert result.exit_code == 2, result.stdout
        assert "is read by this command" in result.stderr
        assert written.read_text("utf-8") == "{}"


def test_an_unknown_code_is_an_error_with_a_hint(recorded: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text(json.dumps(recorded), "utf-8")
    result = run("recheck", str(path), "--select", "GC999")
    assert result.exit_code == 2
    assert "GC999" in result.stderr
    assert "gradcheck rule" in result.stderr
    assert run("recheck", str(path), "--select", "GC1").exit_code in (0, 1, 2)


@pytest.mark.parametrize("field", ["target_modules", "exclude_modules"])
def test_a_pattern_without_end_is_refused(field: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patterns, "LIMIT_S", 0.3)
    names = ["a" * 40 + "!"]
    with pytest.raises(InputError, match="not done with 1 module"):
        patterns.check_patterns({field: "(a+)+$"}, names, "adapter_config.json")
    with pytest.raises(InputError, match="is no pattern"):
        patterns.check_patterns({field: "(a"}, names, "adapter_config.json")
    patterns.check_patterns({field: r".*\.(q|v)_proj"}, names, "adapter_config.json")


def _recurse(module: Any, x: torch.Tensor) -> torch.Tensor:
    return _recurse(module, x)


def _nested(_: Any, x: torch.Tensor) -> torch.Tensor:
    rows = torch.nested.as_nested_tensor([x[0], x[1]], layout=torch.jagged)
    return torch.stack(list((rows * 1).unbind()))


def _traced(_: Any, x: torch.Tensor) -> torch.Tensor:
    return torch.jit.trace(lambda y: y * 2, x.detach())(x)


class Angry:
    """Raises whatever it is asked."""

    def __getattr__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __repr__(self) -> str:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    def __bool__(self) -> bool:
        raise ZeroDivisionError

    __hash__ = None  # type: ignore[assignment]


def _angry() -> nn.Module:
    module = nn.Linear(4, 4)
    module.angry = Angry()
    module.many = {"inner": [Angry()]}
    return module


def _complex(module: Any, x: torch.Tensor) -> torch.Tensor:
    return (x * module.wave).real


def _complex_module() -> nn.Module:
    module = Does(_complex)
    module.wave = nn.Parameter(torch.ones(4, dtype=torch.complex64))
    return module


def _empty() -> nn.Module:
    module = Does(lambda m, x: x + m.none.sum())
    module.none = nn.Parameter(torch.ones(0, 3))
    return module


ODD: dict[str, Callable[[], nn.Module]] = {
    "lazy": lambda: nn.LazyLinear(4),
    "recursion": lambda: Does(_recurse),
    "nested": lambda: Does(_nested),
    "traced": lambda: Does(_traced),
    "complex": _complex_module,
    "empty": _empty,
    "angry": _angry,
    "vmap": lambda: Does(lambda _, x: torch.func.vmap(torch.sin)(x)),
    "func.grad": lambda: Does(lambda _, x: torch.func.grad(lambda y: y.sin().sum())(x)),
}


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_model_is_recorded_or_told_in_a_sentence(kind: str) -> None:
    try:
        report = gradcheck.inspect(Net(ODD[kind]()), BATCH)
    except DiagnosticError as error:
        told = error
    else:
        told = None
    assert not isinstance(told, OwnFailure), told
    if told is None:
        assert not any(words in str(report) for words in OWN)
        assert (report.verdict == "healthy") is (kind != "recursion")


@pytest.mark.parametrize("name", ["a#b", "a b", "größe", "模块", "0", "a-b", "#", "\u202e"])
def test_any_name_of_a_module_is_told_as_it_is(name: str) -> None:
    class Cut(nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x).detach()

    assert gradcheck.inspect(Net(nn.Linear(4, 4), name), BATCH).verdict == "healthy"
    broken = gradcheck.inspect(Net(Cut(4, 4), name), BATCH)
    assert broken.verdict == "broken"
    assert any(
        name in repr(finding) or ascii(name)[1:-1] in repr(finding) for finding in broken.findings
    )
