"""The edits of training scripts: pairs of a script before and after, and what holds for each of them."""

import ast
import codecs
import functools
from pathlib import Path

import pytest

from gradcheck.editing.scripts.edit import EDITS, Stage
from gradcheck.editing.scripts.plan import plan_script
from gradcheck.errors import TargetError

FOLDER = Path(__file__).parents[2] / "fixtures" / "scripts"
PAIRS = sorted(path.parent for path in FOLDER.glob("*/before.py"))
HEALTHY = [pair for pair in PAIRS if "_ok_" in pair.name]
SO8T = FOLDER.parent / "so8t"
planned = functools.cache(plan_script)
"""For the scripts of the pairs, which several tests look at."""


def before(pair: Path) -> str:
    return (pair / "before.py").read_bytes().decode()


def after(pair: Path) -> str:
    return (pair / "after.py").read_bytes().decode()


def name(pair: Path) -> str:
    return pair.name


def names(text: str, **options: str) -> list[str]:
    return [change.name for change in planned(text, **options).changes]


def made(text: str, **options: str) -> list[str]:
    changes = plan_script(text, **options).changes
    return [change.name for change in changes if change.applicability != "display-only"]


def test_there_are_enough_pairs() -> None:
    assert len(PAIRS) - len(HEALTHY) >= 30
    assert len(HEALTHY) >= 5


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_a_script_is_repaired_as_the_pair_says(pair: Path) -> None:
    assert planned(before(pair)).text == after(pair)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_an_edited_script_parses_and_is_left_alone(pair: Path) -> None:
    ast.parse(after(pair))
    again = plan_script(after(pair))
    assert again.text == after(pair)
    assert all(change.applicability == "display-only" for change in again.changes)


@pytest.mark.parametrize("pair", HEALTHY, ids=name)
def test_a_right_script_is_left_alone(pair: Path) -> None:
    plan = planned(before(pair))
    assert plan.changes == ()
    assert plan.text == before(pair)


@pytest.mark.parametrize("pair", [pair for pair in PAIRS if pair not in HEALTHY], ids=name)
def test_every_change_names_its_line_and_its_reason(pair: Path) -> None:
    lines = before(pair).split("\n")
    plan = planned(before(pair))
    assert plan.changes
    for change in plan.changes:
        assert change.before_text == lines[change.line - 1].strip()
        assert change.summary.endswith(".")
    assert [change.line for change in plan.changes] == sorted(c.line for c in plan.changes)


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_line_endings_stay(pair: Path) -> None:
    plan = plan_script(before(pair).replace("\n", "\r\n"))
    assert plan.text == after(pair).replace("\n", "\r\n")


@pytest.mark.parametrize("case", ["12_prepared_after_adapter", "54_ok_default_of_version_5"])
def test_old_line_endings_stay(case: str) -> None:
    plan = plan_script(before(FOLDER / case).replace("\n", "\r"))
    assert plan.text == after(FOLDER / case).replace("\n", "\r")


def test_mixed_line_endings_stay() -> None:
    lines = before(FOLDER / "33_several_defects").split("\n")
    mixed = "".join(line + ("\r\n" if number % 3 else "\n") for number, line in enumerate(lines))
    kept = set(plan_script(mixed).text.splitlines(keepends=True))
    assert sum(line in kept for line in mixed.splitlines(keepends=True)) >= len(lines) - 4


@pytest.mark.parametrize("pair", PAIRS, ids=name)
def test_a_missing_last_newline_and_a_byte_order_mark_stay(pair: Path) -> None:
    bom = codecs.BOM_UTF8.decode()
    plan = plan_script(bom + before(pair).rstrip("\n"))
    assert plan.text == bom + after(pair).rstrip("\n")


def test_every_edit_is_shown_by_a_pair() -> None:
    shown = {change for pair in PAIRS for change in names(before(pair))}
    assert set(EDITS.all()) <= shown
    assert any(edit.stage == Stage.ADVICE for edit in EDITS.all().values())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = (\n", "line 1"),
        ("import torch\n\ndef f(:\n    pass\n", "line 3"),
        ("if True:\nprint(1)\n", "line 2"),
    ],
)
def test_a_syntax_error_is_said_in_one_sentence(text: str, said: str) -> None:
    with pytest.raises(TargetError, match=said) as caught:
        plan_script(text)
    assert "\n" not in str(caught.value)


def test_an_empty_script_is_left_alone() -> None:
    assert plan_script("").text == ""
    assert plan_script("# nothing\n").changes == ()


LORA_8BIT = """\
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
model = AutoModelForCausalLM.from_pretrained("gpt2", load_in_8bit=True)
model = get_peft_model(model, LoraConfig())
print(model.get_nb_trainable_parameters())
Trainer(model, TrainingArguments("out", gradient_checkpointing=True)).train()
"""


def test_what_the_library_does_by_default_depends_on_its_version() -> None:
    assert made(LORA_8BIT) == ["enable-input-require-grads"]
    assert made(LORA_8BIT, transformers="4.57.1") == ["enable-input-require-grads"]
    assert made(LORA_8BIT, transformers="5.23.0") == []
    assert "4.57" not in "".join(plan_script(LORA_8BIT, transformers="4.57.1").notes)
    assert "5.23.0" in "".join(plan_script(LORA_8BIT, transformers="5.23.0").notes)


@pytest.mark.parametrize(
    ("pin", "expected"),
    [
        ("transformers==4.53.0", ["enable-input-require-grads"]),
        ("transformers>=4.53,<5", ["enable-input-require-grads"]),
        ("transformers<5.0", ["enable-input-require-grads"]),
        ("transformers[torch]>=5.2", []),
        ("transformers~=5.1", []),
    ],
)
def test_a_script_says_its_version_itself(pin: str, expected: list[str]) -> None:
    head = f'# /// script\n# dependencies = ["torch", "{pin}"]\n# ///\n'
    other = "4.57.1" if not expected else "5.23.0"
    assert made(head + LORA_8BIT, transformers=other) == expected


def test_what_cannot_be_seen_is_said() -> None:
    script = LORA_8BIT.replace(
        'AutoModelForCausalLM.from_pretrained("gpt2", load_in_8bit=True)', "build_model(1)"
    ).replace(
        "from transformers import", "from my_utils import build_model\nfrom transformers import"
    )
    notes = " ".join(plan_script(script).notes)
    assert "model is made by build_model(), imported from my_utils" in notes
    hidden = LORA_8BIT.replace("gradient_checkpointing=True", "**options")
    assert "takes arguments that are not written in this script" in " ".join(
        plan_script(hidden).notes
    )


@pytest.mark.parametrize(
    "line",
    [
        "model.enable_input_require_grads()",
        "model.base_model.enable_input_require_grads()",
        "model.get_input_embeddings().register_forward_hook(lambda m, i, o: o.requires_grad_(True))",
    ],
)
def test_a_gradient_that_is_supplied_is_not_supplied_twice(line: str) -> None:
    script = LORA_8BIT.replace("print(", f"{line}\nprint(")
    assert plan_script(script).text == script


def test_a_one_line_branch_takes_the_line_too() -> None:
    script = LORA_8BIT.replace("model = get_peft", "if True: model = get_peft")
    text = plan_script(script).text
    assert "LoraConfig()); model.enable_input_require_grads()\n" in text


def test_a_hidden_local_function_of_the_same_name_is_not_pefts() -> None:
    script = LORA_8BIT.replace(
        "from peft import LoraConfig, get_peft_model",
        "LoraConfig = dict\ndef get_peft_model(model, config):\n    return model",
    )
    assert plan_script(script).changes == ()


def test_a_trainable_adapter_by_hand_is_left_alone() -> None:
    script = (
        "from peft import PeftModel\nmodel = PeftModel.from_pretrained(base, 'adapter')\n"
        "for name, p in model.named_parameters():\n    p.requires_grad = 'lora_' in name\n"
        "trainer = Trainer(model=model)\ntrainer.train()\n"
    )
    assert plan_script(script).changes == ()
    assert made(script.replace("p.requires_grad = 'lora_' in name", "print(name)")) == [
        "load-trainable"
    ]


HEAD = """\
import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, PromptTuningConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
model = AutoModelForCausalLM.from_pretrained("gpt2", load_in_8bit=True)
args = TrainingArguments("o", gradient_checkpointing=True)
"""
RIGHT = {
    "the loss is logged after its backward": """
def step(model, batch):
    loss = model(**batch).loss
    loss.backward()
    loss = loss.item()
    return loss
""",
    "a validation loss under inference_mode has the same name": """
def fit(model, loader, validation):
    for epoch in range(3):
        model.train()
        for batch in loader:
            loss = model(**batch).loss
            loss.backward()
        model.eval()
        with torch.inference_mode():
            for batch in validation:
                loss = model(**batch).loss
""",
    "an optimizer of a first phase": """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model.train()
for batch in loader:
    model(**batch).loss.backward()
    optimizer.step()
model = get_peft_model(model, LoraConfig(target_modules=["wte"]))
""",
    "an optimizer that is made anew": """
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
model.gradient_checkpointing_disable()
model = get_peft_model(model, LoraConfig(modules_to_save=["wte"]))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
""",
    "trained prompts come before the tokens": """
model = get_peft_model(model, PromptTuningConfig(num_virtual_tokens=4))
Trainer(model=model, args=args).train()
""",
    "an adapter by transformers itself": """
model.add_adapter(LoraConfig())
Trainer(model=model, args=args).train()
""",
    "an adapter that is only evaluated": """
model = PeftModel.from_pretrained(model, "adapter")
print(Trainer(model=model, args=args).evaluate())
""",
    "a loss function is a module": """
loss_fn = torch.nn.CrossEntropyLoss()
loss_fn.requires_grad_(True)
total_loss = torch.zeros(1)
total_loss.requires_grad_()
""",
    "an evaluator computes a loss without a graph": """
class Evaluator:
    @torch.no_grad()
    def compute_loss(self, model, inputs):
        return model(**inputs).loss
""",
    "a validation step of Lightning": """
class Lit(pl.LightningModule):
    def training_step(self, batch, index):
        return self.model(**batch).loss
    @torch.no_grad()
    def validation_step(self, batch, index):
        return self.model(**batch).loss
""",
    "a metric beside a live loss": """
class Mine(Trainer):
    def compute_loss(self, model, inputs, return_outputs=False):
        outputs = model(**inputs)
        weight = outputs.logits.detach().abs().mean().item()
        predicted = outputs.logits.argmax(-1)
        return outputs.loss * weight
""",
    "a loss of a criterion with weights": """
def step(criterion, model, batch):
    predicted = model(**batch).logits.argmax(-1)
    criterion(predicted, batch).backward()
""",
    "evaluation that switches back": """
def evaluate(model):
    model.eval()
    model.train()
model.train()
for epoch in range(3):
    for batch in loader:
        model(**batch).loss.backward()
    evaluate(model)
""",
    "merged and trained in full": """
model = PeftModel.from_pretrained(model, "sft")
model = model.merge_and_unload()
model.requires_grad_(True)
Trainer(model=model, args=args).train()
""",
    "checkpointing behind a flag that is off": """
model = get_peft_model(model, LoraConfig())
args = TrainingArguments("o", gradient_checkpointing=False)
Trainer(model=model, args=args).train()
""",
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_looks_odd_and_is_right_is_left_alone(case: str) -> None:
    head = HEAD if "flag" not in case else HEAD.replace("gradient_checkpointing=True", "seed=1")
    assert plan_script(head + RIGHT[case]).changes == ()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("the loss is logged after", ("    loss.backward()\n", ""), None),
        ("the loss is logged after", ("return loss", "loss.backward()"), "keep-loss-in-graph"),
        ("a validation loss", ("model.eval()\n", "pass\n"), None),
        ("an optimizer that is made anew", ("optimizer = torch.optim.SGD(model.parameters(), lr=0.1)\n\n", ""), None),
        ("a metric beside", ("outputs.loss * weight", "outputs.loss.detach() * weight"), "keep-loss-in-graph"),
        ("evaluation that switches back", ("model.eval()\n    model.train()", "model.eval()"), "train-mode"),
        ("an evaluator computes", ("class Evaluator:", "class Evaluator(Trainer):"), "unwrap-no-grad"),
        ("a loss function is a module", ("total_loss = torch.zeros(1)", "total_loss = step()"), "keep-loss-graph"),
        ("merged and trained", ("model.requires_grad_(True)\n", ""), "merge-after-training"),
    ],
)  # fmt: skip
def test_the_same_with_its_defect_is_noticed(
    old: str, new: tuple[str, str], expected: str | None
) -> None:
    case = next(text for name, text in RIGHT.items() if name.startswith(old))
    found = names(HEAD + case.replace(*new))
    assert set(found) == ({expected} - {None})


def test_the_script_of_the_model_that_checkpoints_itself_is_repaired() -> None:
    text = (SO8T / "train.py").read_text("utf-8")
    assert made(text) == [
        "guard-hidden-states",
        "enable-input-require-grads",
        "train-mode",
        "print-trainable-parameters",
    ]
    repaired = plan_script(text).text
    assert plan_script(repaired).text == repaired
    by_hand = (SO8T / "train_repaired.py").read_text("utf-8")
    assert plan_script(by_hand).text == by_hand
