"""What --init finds in a repository, and what it writes."""

import json
from pathlib import Path

import pytest
import tomlkit

from gradcheck.configuring.configuration import read
from gradcheck.configuring.sample import sample
from gradcheck.configuring.survey import Candidate, survey

FACTORY = """\
raise SystemExit("this file was run")
def make_model_and_batch(rank=8):
    model = load(rank)
    return model, {"ids": 1}
def build(*, size, seed=0):
    if size:
        return get_peft_model(base, config), make_batch()
    return None
def parts():
    return {"model": m, "batch": b, "optimizer": o}
def split(text):
    return text, batch
def _hidden():
    return model, batch
"""
SCRIPT = """\
model = AutoModelForCausalLM.from_pretrained("org/model-7b")
tokenizer = AutoTokenizer.from_pretrained("org/tokenizer")
Trainer(model).train()
trainer.train()
"""


def repository(root: Path) -> Path:
    files = {
        "configs/llama/config.json": json.dumps({"model_type": "llama"}),
        "configs/other/config.json": json.dumps({"port": 80}),
        "configs/broken/config.json": "{",
        "out/adapter/adapter_config.json": json.dumps({"peft_type": "LORA"}),
        "out/adapter/config.json": json.dumps({"model_type": "llama"}),
        "training/make.py": FACTORY,
        "training/finetune.py": SCRIPT,
        "training/wrong.py": "def f(:",
        "tests/factory.py": FACTORY,
        ".venv/lib/config.json": json.dumps({"model_type": "llama"}),
        "own-env/pyvenv.cfg": "",
        "own-env/lib/x/config.json": json.dumps({"model_type": "llama"}),
        "loop.py": "def go():\n    loss.backward()\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    return root


def test_what_could_be_checked_is_found_and_nothing_is_run(tmp_path: Path) -> None:
    assert [(c.kind, c.target, c.needs) for c in survey(repository(tmp_path))] == [
        ("adapter", "out/adapter", ()),
        ("factory", "training/make.py:build", ("size",)),
        ("factory", "training/make.py:make_model_and_batch", ()),
        ("factory", "training/make.py:parts", ()),
        ("hub", "org/model-7b", ()),
        ("model", "configs/llama", ()),
        ("script", "loop.py", ()),
        ("script", "training/finetune.py", ()),
    ]


def test_the_sample_is_a_configuration_of_what_can_be_checked(tmp_path: Path) -> None:
    text, num_targets = sample(survey(repository(tmp_path)))
    (tmp_path / "gradcheck.toml").write_text(text, "utf-8")
    targets = [target.target.name for target in read(tmp_path / "gradcheck.toml").targets]
    assert num_targets == len(targets)
    assert targets == [
        "configs/llama",
        "out/adapter",
        "training/make.py:make_model_and_batch",
        "training/make.py:parts",
    ]
    for comment in ('# target = "org/model-7b"', '# target = "loop.py:make"', '# arguments = { "size"'):  # fmt: skip
        assert comment in text


def test_a_sample_of_nothing_says_how_a_target_looks() -> None:
    text, num_targets = sample(())
    assert num_targets == 0
    assert "targets" not in tomlkit.parse(text)
    uncommented = "\n".join(line.removeprefix("# ") for line in text.splitlines()[-4:])
    assert len(tomlkit.parse(uncommented)["targets"]) == 1


@pytest.mark.parametrize("count", [3, 20])
def test_names_are_unique_and_the_list_is_bounded(tmp_path: Path, count: int) -> None:
    found = [Candidate(kind="model", target=f"runs{i}/model") for i in range(count)]
    hostile = Candidate(kind="model", target='x"\n[tool]\ny = "')
    text, _ = sample([hostile, *found])
    (tmp_path / "gradcheck.toml").write_text(text, "utf-8")
    targets = read(tmp_path / "gradcheck.toml").targets
    assert len({target.name for target in targets}) == len(targets) == min(count + 1, 12)
    assert targets[0].target.name == hostile.target
