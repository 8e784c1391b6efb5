"""A configuration is read whole, or refused with the line and with what is accepted."""

import dataclasses
import json
import re
from pathlib import Path

import jsonschema
import pytest
import tomlkit

from gradcheck.configuring.configuration import find, read
from gradcheck.core.target import Target
from gradcheck.errors import SettingsError
from gradcheck.gates.config import (
    Checks,
    GateConfig,
    GateOptions,
    GateTarget,
    checks_fields,
    target_fields,
)
from gradcheck.gates.config_schema import config_schema
from gradcheck.gates.gate import IgnoredRule

FULL = """\
jobs = 3
lock = "ci/what-trains.lock"
fail-on = "warning"
timeout = 90
ignore = { GC404 = "bf16 here" }
quant = "8bit"

[[targets]]
name = "first"
target = "models/first"

[[targets]]
target = "train.py:make"
arguments = { rank = 8, path = "x y", fast = true, rate = 1e-4 }
quant = "none"
lora-targets = ["q_proj", "v_proj"]
lora-exclude = ["o_proj"]
quant-skip = ["lm_head"]
input-grads = false
weights = "load"
select = ["GC3", "GC201"]
ignore = { GC303 = "evaluated on purpose" }
fail-on = "note"
memory-gb = 0.5
"""
FIRST = GateTarget(
    name="first",
    target=Target(name="models/first", weights="skip", quant="8bit"),
    checks=Checks(
        fail_on="warning", timeout=90, ignore=(IgnoredRule(code="GC404", reason="bf16 here"),)
    ),
)
SECOND = GateTarget(
    name="train.py:make",
    target=Target(
        name="train.py:make",
        weights="load",
        quant="none",
        arguments=(("rank", "8"), ("path", "x y"), ("fast", "True"), ("rate", "0.0001")),
        lora_targets=("q_proj", "v_proj"),
        lora_exclude=("o_proj",),
        quant_skip=("lm_head",),
        input_grads=False,
    ),
    checks=Checks(
        select=("GC3", "GC201"),
        ignore=(
            IgnoredRule(code="GC404", reason="bf16 here"),
            IgnoredRule(code="GC303", reason="evaluated on purpose"),
        ),
        fail_on="note",
        timeout=90,
        memory_gb=0.5,
    ),
)


def written(folder: Path, text: str, name: str = "gradcheck.toml") -> Path:
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_every_key_lands_where_it_belongs(tmp_path: Path) -> None:
    path = written(tmp_path, FULL)
    assert read(path) == GateConfig(
        file=str(path),
        options=GateOptions(jobs=3, lock="ci/what-trains.lock"),
        targets=(FIRST, SECOND),
    )


def test_pyproject_holds_the_same_in_a_section_of_its_own(tmp_path: Path) -> None:
    head, _, rest = FULL.partition("[[targets]]")
    text = f"[project]\nname = 'x'\n\n[tool.gradcheck]\n{head}[[targets]]{rest}"
    path = written(
        tmp_path, text.replace("[[targets]]", "[[tool.gradcheck.targets]]"), "pyproject.toml"
    )
    assert read(path).targets == (FIRST, SECOND)


ONE = '[[targets]]\nname = "a"\ntarget = "m"\n'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("quantt = '8bit'\n" + ONE, 1, ["no option 'quantt'", "did you mean quant?", "lora-rank"]),
        (ONE + "lora_rank = 4\n", 4, ["no option 'lora_rank'", "did you mean lora-rank?"]),
        (ONE + "\n# aside\nquant = '5bit'\n", 6, ["'5bit'", "auto, none, 8bit, 4bit", "8bit?"]),
        (ONE + "lora-rank = '4'\n", 4, ["the target a", "lora-rank", "a whole number"]),
        (ONE + "lora-rank = true\n", 4, ["a whole number"]),
        (ONE + "lora-rank = 0\n", 4, ["1 or more"]),
        (ONE + "seq-len = 1\n", 4, ["2 or more"]),
        (ONE + "input-grads = 0\n", 4, ["true or false"]),
        (ONE + "lora-targets = 'q_proj'\n", 4, ["a list of strings"]),
        (ONE + "arguments = ['a']\n", 4, ["argument = value"]),
        (ONE + "arguments = { a = [1] }\n", 4, ["argument = value"]),
        (ONE + "ignore = ['GC303']\n", 4, ['code = "reason"']),
        (ONE + "ignore = { GC303 = '' }\n", 4, ['code = "reason"']),
        (ONE + "ignore = { GC999 = 'why' }\n", 4, ["'GC999'", "`gradcheck rule`"]),
        (ONE + "select = ['E501']\n", 4, ["'E501'"]),
        (ONE + "timeout = 0\n", 4, ["timeout is 0", "more than 0"]),
        (ONE + "timeout = inf\n", 4, ["timeout is inf"]),
        (ONE + "timeout = nan\n", 4, ["timeout is nan"]),
        ("jobs = 0\n" + ONE, 1, ["jobs is 0"]),
        ("jobs = 2\n", 1, ["no targets", "[[targets]]"]),
        ("targets = []\n", 1, ["no targets"]),
        (ONE + "\n[[targets]]\nname = 'b'\n", 5, ["the target b has no target"]),
        (ONE + "\n[[targets]]\nname = 'a'\ntarget = 'n'\n", 6, ["two targets", "'a'"]),
        (ONE + "\n[[targets]]\ntarget = ''\n", 6, ["a string that is not empty"]),
(ONE + '\n[[targets]]\nname = "x\\u001b"\ntarget = "n"\n', 6, ["one line"]),
        (ONE + '\nadapter = """\nname = 1\n"""\nquant = 1\n', 8, ["quant is '1'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_line(
    tmp_path: Path, text: str, line: int, words: list[str]
) -> None:
    with pytest.raises(SettingsError) as caught:
        read(written(tmp_path, text))
    assert str(caught.value).startswith(f"gradcheck.toml, line {line}: ")
    for word in words:
        assert word in str(caught.value)


def test_a_wrong_line_of_pyproject_is_found_in_its_section(tmp_path: Path) -> None:
    text = "[tool.other]\nquant = 1\n\n[tool.gradcheck]\nquant = 1\n"
    with pytest.raises(SettingsError, match=r"line 5: \[tool.gradcheck\]: quant is '1'"):
        read(written(tmp_path, text, "pyproject.toml"))


@pytest.mark.parametrize("header", ["targets", "tool.gradcheck.targets"])
def test_a_file_of_another_name_holds_it_at_its_top_or_as_a_project_does(
    tmp_path: Path, header: str
) -> None:
    text = f"[[{header}]]\ntarget = 'a/b'\n"
    assert [it.name for it in read(written(tmp_path, text, "nightly.toml")).targets] == ["a/b"]


def test_what_is_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="line 2"):
        read(written(tmp_path, "jobs = 1\nname = [\n"))
    with pytest.raises(SettingsError, match="cannot be read"):
        read(tmp_path / "none.toml")
    with pytest.raises(SettingsError, match="no section"):
        read(written(tmp_path, "[project]\n", "pyproject.toml"))


def test_the_nearest_configuration_upwards_is_found(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (tmp_path / ".git").mkdir()
    assert find(inner) is None
    written(tmp_path / "a", "[project]\nname = 'x'\n", "pyproject.toml")
    assert find(inner) is None
    project = written(tmp_path, "[tool.gradcheck]\n", "pyproject.toml")
    assert find(inner) == project
    own = written(tmp_path, ONE)
    assert find(inner) == own
    nearest = written(inner, ONE)
    assert find(inner) == nearest
    (inner / ".git").mkdir()
    nearest.unlink()
    assert find(inner) is None


def test_the_schema_accepts_what_is_read_and_refuses_what_is_not(tmp_path: Path) -> None:
    validator = jsonschema.Draft202012Validator(config_schema())
    validator.validate(tomlkit.parse(FULL).unwrap())
    wrong = (
        "quantt = '8bit'\n" + ONE,
        ONE + "quant = '5bit'\n",
        ONE + "lora-rank = 0\n",
        "jobs = 1\n",
    )
    for text in wrong:
        with pytest.raises(SettingsError):
            read(written(tmp_path, text))
        assert list(validator.iter_errors(tomlkit.parse(text).unwrap()))


def test_the_schema_knows_every_field_of_a_target() -> None:
    text = json.dumps(config_schema())
    for field in dataclasses.fields(Target):
        if field.name != "name":
            assert f'"{field.name.replace("_", "-")}"' in text


def test_the_example_of_the_guide_is_a_configuration(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "gate.md").read_text("utf-8")
    (block,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    assert [target.name for target in read(written(tmp_path, block)).targets] == [
        "llama-8b-sft",
        "reward",
    ]
    keys = set(re.findall(r"`([a-z-]+)`", guide))
    assert {name.replace("_", "-") for name in (*target_fields(), *checks_fields())} <= keys
