"""A factory's own model, batch, loss function and optimizer become a Subject."""

import sys
from pathlib import Path

import pytest

from gradcheck.core.target import Target
from gradcheck.errors import DiagnosticError, InputError, LoadError, TargetError
from gradcheck.loading import load

PARTS = """
import torch
model = torch.nn.Linear(2, 1)
batch = {"input": torch.ones(3, 2)}
def loss_fn(model, batch): return model(**batch).sum()
optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
"""


def made_by(tmp_path: Path, body: str, *arguments: tuple[str, str], **options: object) -> Target:
    path = tmp_path / "training.py"
    path.write_text(PARTS + body)
    return Target(name=f"{path}:make", arguments=arguments, **options)  # type: ignore[arg-type]


def refusal(target: Target, kind: type[DiagnosticError]) -> str:
    with pytest.raises(kind) as caught:
        load(target)
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("returned", "parts"),
    [
        ("model, batch", ()),
        ("[model, batch]", ()),
        ("model, batch, loss_fn", ("loss_fn",)),
        ("dict(model=model, batch=batch)", ()),
        ("dict(model=model, batch=batch, loss_fn=loss_fn, optimizer=optimizer)", ("loss_fn", "optimizer")),
        ("__import__('gradcheck.subject').subject.Subject(model=model, batch=batch, optimizer=optimizer)",
         ("optimizer",)),
    ],
)  # fmt: skip
def test_every_accepted_return_value(tmp_path: Path, returned: str, parts: tuple[str, ...]) -> None:
    subject = load(made_by(tmp_path, f"def make(): return {returned}"))
    assert type(subject.model).__name__ == "Linear"
    assert subject.batch["input"].shape == (3, 2)
    assert (subject.loss_fn is not None) == ("loss_fn" in parts)
    assert (subject.optimizer is not None) == ("optimizer" in parts)


def test_set_up_names_the_factory_its_arguments_and_what_it_does_not_use(tmp_path: Path) -> None:
    target = made_by(
        tmp_path, "def make(depth=1): return model, batch", ("depth", "3"), quant="8bit", data="x"
    )
    assert dict(load(target).setup) == {
        "factory": target.name,
        "arguments": "depth=3",
        "class": "Linear",
        "loss": "output.loss",
        "optimizer": "none",
        "batch": "input 3x2, from the factory",
        "seed": "0",
        "not used": "--quant, --data: a factory sets its model up itself",
    }


def test_module_factory_is_found_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "package_of_mine").mkdir()
    (tmp_path / "package_of_mine" / "setups.py").write_text(
        PARTS + "def make(): return model, batch"
    )
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    assert load(Target(name="package_of_mine.setups:make")).loss_fn is None
    assert sys.path == path


def test_neighbours_of_the_file_are_importable_during_the_call(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_mine.py").write_text("ROWS = 3")
    path = list(sys.path)
    load(made_by(tmp_path, "def make():\n    import neighbour_of_mine\n    return model, batch"))
    assert sys.path == path


def test_import_path_is_put_back_after_a_failure(tmp_path: Path) -> None:
    path = list(sys.path)
    refusal(made_by(tmp_path, "1 / 0\ndef make(): ..."), LoadError)
    assert sys.path == path
    assert "gradcheck_target_training" not in sys.modules


def test_file_named_like_a_module_does_not_hide_it(tmp_path: Path) -> None:
    (tmp_path / "json.py").write_text(
        PARTS + "def make():\n    import json\n    return model, batch"
    )
    load(Target(name=f"{tmp_path / 'json.py'}:make"))
    assert sys.modules["json"].__file__ != str(tmp_path / "json.py")


def test_what_it_prints_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(
        made_by(
            tmp_path,
            "print('importing')\ndef make():\n    print('making')\n    return model, batch",
        )
    )
    assert capsys.readouterr() == ("", "importing\nmaking\n")


def test_torch_is_seeded_for_the_call(tmp_path: Path) -> None:
    import torch

    body = "def make(): return torch.nn.Linear(2, 1), batch"
    first, second, other = (load(made_by(tmp_path, body, seed=seed)).model for seed in (1, 1, 2))
    assert torch.equal(first.weight, second.weight)
    assert not torch.equal(first.weight, other.weight)


@pytest.mark.parametrize(
    ("signature", "text", "value"),
    [
        ("x", "3", "3"),
        ("x", "0.5", "0.5"),
        ("x", "[1, 2]", "[1, 2]"),
        ("x", "True", "True"),
        ("x", "some words", "'some words'"),
        ("x: str", "3", "'3'"),
        ("x: int", "3", "3"),
        ("x: float", "3", "3.0"),
        ("x: bool", "false", "False"),
        ("x: bool", "1", "True"),
        ("x: int | None", "none", "None"),
        ("x: int | None", "4", "4"),
        ("x: 'str | int'", "4", "4"),
        ("x: __import__('typing').Literal['a', 2]", "2", "2"),
        ("x: __import__('pathlib').Path", "a/b", "__import__('pathlib').Path('a/b')"),
        ("x: list[int]", "[1]", "[1]"),
        ("**others", "3", "3"),
    ],
)
def test_arguments_are_converted(tmp_path: Path, signature: str, text: str, value: str) -> None:
    given = "others['x']" if "others" in signature else "x"
    body = f"def make({signature}):\n    assert repr({given}) == repr({value}), {given}\n    return model, batch"
    load(made_by(tmp_path, body, ("x", text)))


@pytest.mark.parametrize(
    ("signature", "given", "sentence"),
    [
        ("depth", (("width", "1"),), "takes no such argument; it takes depth"),
        ("", (("width", "1"),), "it takes none"),
        ("depth, width=1", (), "needs depth; give it with --set depth=VALUE"),
        ("depth: int", (("depth", "many"),), "--set depth=many is no int"),
        ("on: bool", (("on", "maybe"),), "--set on=maybe is no bool"),
    ],
)
def test_arguments_that_do_not_fit(
    tmp_path: Path, signature: str, given: tuple[tuple[str, str], ...], sentence: str
) -> None:
    assert sentence in refusal(made_by(tmp_path, f"def make({signature}): ...", *given), InputError)


@pytest.mark.parametrize(
    ("returned", "sentence"),
    [
        ("None", "returned None; accepted are model, batch"),
        ("model", "returned a Linear"),
        ("()", "returned a tuple of 0"),
        ("{'model': model}", "returned a dict with the keys model"),
        ("batch, model", "returned a dict with the keys input as model, where a torch.nn.Module"),
        ("model, 3", "returned a int as batch, where a mapping"),
        ("model, batch, 3", "returned a int as loss_fn, where a function"),
        ("dict(model=model, batch=batch, optimizer=3)", "returned a int as optimizer"),
    ],
)
def test_other_return_values_are_refused(tmp_path: Path, returned: str, sentence: str) -> None:
    assert sentence in refusal(made_by(tmp_path, f"def make(): return {returned}"), TargetError)


def test_batch_of_any_kind_goes_with_a_loss_function(tmp_path: Path) -> None:
    assert (
        load(made_by(tmp_path, "def make(): return model, batch['input'], loss_fn")).loss_fn
        is not None
    )


def test_file_that_does_not_exist() -> None:
    assert "/no/such.py does not exist" in refusal(Target(name="/no/such.py:make"), TargetError)


def test_module_that_does_not_exist() -> None:
    message = refusal(Target(name="no_such_package.module:make"), TargetError)
    assert "there is no module no_such_package here or installed" in message


def test_package_that_the_module_needs_and_is_absent(tmp_path: Path) -> None:
    message = refusal(made_by(tmp_path, "import no_such_package\ndef make(): ..."), LoadError)
    assert "ModuleNotFoundError: No module named 'no_such_package' (training.py, line 7)" in message


def test_function_that_does_not_exist(tmp_path: Path) -> None:
    message = refusal(made_by(tmp_path, "def build(): ..."), TargetError)
    assert "there is none of that name; the functions of training are build, loss_fn" in message


def test_name_that_is_no_function(tmp_path: Path) -> None:
    assert "it is a int" in refusal(made_by(tmp_path, "make = 3"), TargetError)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            "1 / 0\ndef make(): ...",
            "does not import: ZeroDivisionError: division by zero (training.py, line 7)",
        ),
        ("def make(:", "does not import: SyntaxError: invalid syntax (training.py, line 7)"),
        ("def make(): raise KeyError('x')", "raised: KeyError: 'x' (training.py, line 7)"),
        ("def make(): raise SystemExit(3)", "raised: SystemExit: 3 (training.py, line 7)"),
        ("def make(): raise MemoryError", "memory ran out while the factory"),
    ],
)
def test_what_it_raises_is_told_with_its_line(tmp_path: Path, body: str, sentence: str) -> None:
    assert sentence in refusal(made_by(tmp_path, body), LoadError)


def test_interrupting_is_not_explained_away(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(made_by(tmp_path, "def make(): raise KeyboardInterrupt"))


TRANSFORMERS = """
import torch
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments
def model(adapter=True):
    config = LlamaConfig(vocab_size=64, hidden_size=8, intermediate_size=16, num_hidden_layers=2,
                         num_attention_heads=2, max_position_embeddings=32)
    made = LlamaForCausalLM(config)
    return get_peft_model(made, LoraConfig(r=2, target_modules=["q_proj"])) if adapter else made
ROWS = [{"input_ids": torch.arange(4) + i, "labels": torch.arange(4) + i} for i in range(4)]
def trainer(folder, rows=ROWS, **options):
    arguments = TrainingArguments(folder, report_to="none", use_cpu=True, per_device_train_batch_size=2, **options)
    return Trainer(model(), arguments, train_dataset=rows)
"""


@pytest.mark.core
@pytest.mark.parametrize("adapter", [False, True])
def test_a_model_alone_gets_the_batch_that_the_options_ask_for(
    tmp_path: Path, adapter: bool
) -> None:
    body = f"{TRANSFORMERS}\ndef make(): return model({adapter})"
    subject = load(made_by(tmp_path, body, batch_size=3, seq_len=5, lora_rank=2))
    assert subject.batch["input_ids"].shape == (3, 5)
    setup = dict(subject.setup)
    assert setup["batch"] == "input_ids 3x5, attention_mask 3x5, labels 3x5, synthetic (seed 0)"
    assert setup["not used"].startswith("--lora-rank:")


def test_a_plain_module_alone_is_refused(tmp_path: Path) -> None:
    said = refusal(made_by(tmp_path, "def make(): return model"), TargetError)
    assert "returned a Linear; accepted are model, batch;" in said


@pytest.mark.parametrize(("rows", "size"), [("[batch]", 1), ("[(torch.ones(2), 1)]", 2)])
def test_the_first_batch_of_a_data_loader_is_the_batch(
    tmp_path: Path, rows: str, size: int
) -> None:
    body = (
        f"def make(): return model, torch.utils.data.DataLoader({rows}, batch_size=None), loss_fn"
    )
    subject = load(made_by(tmp_path, body))
    assert dict(subject.setup)["batch"].endswith(", the first of the factory's DataLoader")
    assert len(subject.batch) == size


def test_a_data_loader_without_rows_is_refused(tmp_path: Path) -> None:
    body = "def make(): return model, torch.utils.data.DataLoader([])"
    assert "has no batch" in refusal(made_by(tmp_path, body), LoadError)


@pytest.mark.core
def test_a_trainer_is_set_up_as_its_train_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = f"""{TRANSFORMERS}
def make(): return trainer({str(tmp_path)!r}, gradient_checkpointing=True,
                           gradient_checkpointing_kwargs={{"use_reentrant": False}}, max_steps=3)
"""
    subject = load(made_by(tmp_path, body))
    assert capsys.readouterr() == ("", "")
    assert subject.batch["input_ids"].shape == (2, 4)
    assert subject.model.is_gradient_checkpointing
    assert subject.loss_fn is not None
    assert subject.loss_fn(subject.model, subject.batch).requires_grad
    setup = dict(subject.setup)
    assert setup["loss"] == "compute_loss of the Trainer"
    assert setup["optimizer"] == "AcceleratedOptimizer"
    assert setup["batch"] == "input_ids 2x4, labels 2x4, the first of the Trainer"


def test_a_trainer_that_makes_no_step_is_refused(tmp_path: Path) -> None:
    body = f"{TRANSFORMERS}\ndef make(): return trainer({str(tmp_path)!r}, num_train_epochs=0)"
    assert "ends before its first step" in refusal(made_by(tmp_path, body), LoadError)


@pytest.mark.core
def test_callbacks_of_the_user_see_the_beginning_and_stay(tmp_path: Path) -> None:
    body = f"""{TRANSFORMERS}
from transformers import TrainerCallback
class Freezes(TrainerCallback):
    def on_train_begin(self, args, state, control, model=None, **_):
        model.requires_grad_(False)
made = trainer({str(tmp_path)!r}, max_steps=1)
made.add_callback(Freezes())
before = list(made.callback_handler.callbacks)
def make(): return made
"""
    subject = load(made_by(tmp_path, body))
    assert not any(it.requires_grad for it in subject.model.parameters())
    module = sys.modules["gradcheck_target_training"]
    assert module.made.callback_handler.callbacks == module.before
    assert "training_step" not in vars(module.made)


def test_the_users_code_does_not_see_our_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["gradcheck", "inspect", "--json"])
    body = """
import argparse, sys
options = argparse.ArgumentParser()
options.add_argument("--rank", default=8)
rank = options.parse_args().rank
def make():
    assert sys.argv == [__file__] and options.parse_args().rank == rank
    return model, batch
"""
    load(made_by(tmp_path, body))
    assert sys.argv == ["gradcheck", "inspect", "--json"]
