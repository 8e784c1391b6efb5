"""The callback in a real Trainer, for one step of a tiny Llama with LoRA."""

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

import gradcheck
from gradcheck.integrations.trainer import BrokenChainError, GradcheckCallback
from gradcheck.pipeline import train
from gradcheck.recording.training.instruments import recorder_in_place
from gradcheck.settings import Settings
from tests.state import HOOKS

pytestmark = pytest.mark.core

IDS = torch.arange(8)
ROWS: Any = [{"input_ids": IDS, "labels": IDS}] * 4


class DetachedLoss(Trainer):
    """Its loss has no graph: backward() raises."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs).detach()


class LeafLoss(Trainer):
    """The same with the popular cure: nothing raises, and nothing learns."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        return super().compute_loss(*args, **kwargs).detach().requires_grad_(True)


class OutOfMemory(Trainer):
    """What ``auto_find_batch_size`` waits for."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        super().compute_loss(*args, **kwargs)
        raise torch.OutOfMemoryError("CUDA out of memory.")


class ZeroLoss(Trainer):
    """Its loss weighs nothing in the first ``num_zero`` batches: all gradients are zero there."""

    num_zero = 2
    """Both of the first step."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        self.num_zero -= 1
        return super().compute_loss(*args, **kwargs) * torch.tensor(float(self.num_zero < 0))


class AlwaysZeroLoss(ZeroLoss):
    """The same in all batches."""

    num_zero = 1000


class FailingStep(Trainer):
    """A step that never comes to its backward."""

    def compute_loss(self, *args: Any, **kwargs: Any) -> Any:
        raise LookupError("no such column")


def llama() -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        use_cache=False,
    )
    adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
    return get_peft_model(LlamaForCausalLM(config), adapter)


def trainer_of(folder: Path, kind: type[Trainer] = Trainer) -> Trainer:
    arguments = TrainingArguments(
        output_dir=str(folder),
        max_steps=2,
        per_device_train_batch_size=1,
        gradient_accumulation_steps=2,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        logging_strategy="no",
        dataloader_pin_memory=False,
    )
    return kind(model=llama(), args=arguments, train_dataset=ROWS)


def num_hooks(model: torch.nn.Module) -> int:
    return sum(len(getattr(module, name)) for module in model.modules() for name in HOOKS)


def left_behind(trainer: Trainer) -> list[str]:
    """What is still there of the watching."""
    found = ["a mode"] * torch._C._len_torch_function_stack()
    found += ["hooks"] * (num_hooks(trainer.model) > trainer.num_hooks)  # type: ignore[attr-defined]
    return found + ["training_step"] * ("training_step" in vars(trainer))


def watched(folder: Path, kind: type[Trainer] = Trainer, **options: Any) -> tuple[Trainer, Any]:
    trainer = trainer_of(folder, kind)
    callback = GradcheckCallback(trainer, **options)
    trainer.add_callback(callback)
    trainer.num_hooks = num_hooks(trainer.model)  # type: ignore[attr-defined]
    return trainer, callback


def test_a_healthy_run_goes_on(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path)
    trainer.train()
    assert trainer.state.global_step == 2
    assert callback.report.healthy
    assert [p.gradient for p in callback.report.parameters if p.requires_grad].count("flows") == 4
    assert left_behind(trainer) == []


def test_what_is_left_behind_is_noticed(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path)
    callback.on_train_begin()
    trainer.model.register_forward_hook(lambda *_: None)
    with torch.overrides.TorchFunctionMode():
        assert left_behind(trainer) == ["a mode", "a mode", "hooks", "training_step"]
    with pytest.warns(UserWarning, match="no backward ran"):
        callback.on_train_end()
    assert left_behind(trainer) == ["hooks"]


def test_training_is_the_same_with_it_and_without(tmp_path: Path) -> None:
    plain, (trainer, _) = trainer_of(tmp_path), watched(tmp_path)
    plain.train()
    trainer.train()
    pairs = zip(plain.model.parameters(), trainer.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_a_loss_without_a_graph_is_explained(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, DetachedLoss)
    with pytest.raises(BrokenChainError, match="GC202") as caught:
        trainer.train()
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert "does not require grad" in str(caught.value.__cause__)
    assert caught.value.report is callback.report
    assert left_behind(trainer) == []


def test_a_break_that_raises_nothing_ends_the_run(tmp_path: Path) -> None:
    trainer, _ = watched(tmp_path, LeafLoss)
    with pytest.raises(BrokenChainError, match="GC207") as caught:
        trainer.train()
    assert caught.value.__cause__ is None
    assert trainer.state.global_step == 0


def test_a_warning_lets_the_run_go_on(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, LeafLoss, on_findings="warn")
    with pytest.warns(UserWarning, match="GC207"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert not callback.report.healthy


def test_with_a_warning_the_error_of_the_step_is_its_own(tmp_path: Path) -> None:
    trainer, _ = watched(tmp_path, DetachedLoss, on_findings="warn")
    with (
        pytest.warns(UserWarning, match="GC202"),
        pytest.raises(RuntimeError, match="does not require grad"),
    ):
        trainer.train()
    assert left_behind(trainer) == []


def test_an_error_of_the_step_that_no_rule_explains_is_left_as_it_is(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, FailingStep)
    with pytest.raises(LookupError, match="no such column"):
        trainer.train()
    assert [finding.code for finding in callback.report.findings] == ["GC210"]
    assert left_behind(trainer) == []


def test_memory_that_runs_out_is_left_as_it_is(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, OutOfMemory)
    with pytest.raises(torch.OutOfMemoryError):
        trainer.train()
    assert callback.report.verdict == "not-judged"
    assert left_behind(trainer) == []


def test_rules_that_are_not_selected_do_not_end_it(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, LeafLoss, settings=Settings(select=("GC5",)))
    with pytest.warns(UserWarning, match="did not judge the training"):
        trainer.train()
    assert callback.report.verdict == "not-judged"
    assert trainer.state.global_step == 2


def test_a_step_of_the_users_own_is_watched_and_put_back(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path)
    calls, step = [], trainer.training_step

    def own(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return step(*args, **kwargs)

    trainer.training_step = own
    trainer.train()
    assert len(calls) == 4
    assert trainer.training_step is own
    assert callback.report.healthy


def test_where_another_model_is_being_recorded_the_run_goes_on_with_a_warning(
    tmp_path: Path,
) -> None:
    trainer, callback = watched(tmp_path)
    with gradcheck.watch(torch.nn.Linear(1, 1)), pytest.warns(UserWarning, match="did not judge"):
        trainer.train()
    assert callback.report.verdict == "not-judged"
    assert "recorded already" in callback.report.unjudged
    assert trainer.state.global_step == 2


def test_in_a_script_that_is_run_it_takes_part_in_the_recording(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path)
    ran = train(trainer.train)
    assert ran.error is None
    assert callback.report.healthy
    assert ran.report.healthy
    assert left_behind(trainer) == []


def test_in_a_script_that_is_run_it_ends_the_training_as_it_does_alone(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, LeafLoss)
    ran = train(trainer.train)
    assert isinstance(ran.error, BrokenChainError)
    assert trainer.state.global_step == 0
    for report in (callback.report, ran.report):
        assert "GC207" in [finding.code for finding in report.findings]
    assert nothing_is_wrapped()


def test_in_a_script_that_is_run_a_step_that_raises_is_explained(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, DetachedLoss)
    ran = train(trainer.train)
    assert isinstance(ran.error, BrokenChainError)
    for report in (callback.report, ran.report):
        assert "GC202" in [finding.code for finding in report.findings]
    assert nothing_is_wrapped()


def test_in_a_script_that_is_run_it_repairs_as_it_does_alone(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, on_findings="repair")
    trainer.model.requires_grad_(False)
    with pytest.warns(UserWarning, match="repaired the model"):
        ran = train(trainer.train)
    assert ran.error is None
    assert callback.report.healthy
    assert ran.report.healthy
    assert callback.fixed.before.findings[0].code == "GC507"


def test_the_rules_about_the_optimizer_run(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path)
    weights = [p for p in trainer.model.parameters() if p.requires_grad]
    trainer.optimizer = torch.optim.SGD(weights[:1], lr=0.1)
    with pytest.raises(BrokenChainError, match="GC601"):
        trainer.train()
    assert len(callback.report.findings[0].parameters) == len(weights) - 1


def test_a_training_that_raised_where_nobody_was_told_is_watched_no_further(tmp_path: Path) -> None:
    trainer, _ = watched(tmp_path)

    class Fails(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            raise LookupError("the disk is full")

    trainer.add_callback(Fails())
    with pytest.raises(LookupError, match="the disk is full"):
        trainer.train()
    again, callback = watched(tmp_path)
    again.train()
    assert callback.report.healthy
    assert nothing_is_wrapped()


def test_all_steps_are_watched_with_the_optimizer_of_the_trainer(tmp_path: Path) -> None:
    """Its scheduler has come to its end before the training has."""
    trainer, callback = watched(tmp_path, on_findings="warn")
    trainer.args.max_steps = 6
    trainer.create_optimizer()
    trainer.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(
        trainer.optimizer, lambda step: float(step < 2)
    )
    with pytest.warns(UserWarning, match="GC802"):
        trainer.train()
    assert [finding.code for finding in callback.report.findings] == ["GC802"]


@pytest.mark.filterwarnings("ignore:.*torch.cpu.amp.autocast:FutureWarning")  # of torch 2.4 itself
def test_the_classic_break_is_repaired_before_the_first_step(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, on_findings="repair")
    trainer.model.gradient_checkpointing_enable({"use_reentrant": True})
    trainer.model.get_input_embeddings()._forward_hooks.clear()
    with pytest.warns(UserWarning, match="enable_input_require_grads"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert callback.report.healthy
    assert callback.fixed.before.findings[0].code == "GC301"
    assert callback.fixed.after.healthy
    assert nothing_is_wrapped()


def test_a_gradient_that_one_batch_leaves_at_zero_is_waited_for(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, ZeroLoss)
    trainer.train()
    assert trainer.state.global_step == 2
    assert callback.report.healthy


def test_a_gradient_that_stays_at_zero_ends_it_when_all_steps_have_shown_it(tmp_path: Path) -> None:
    trainer, _ = watched(tmp_path, AlwaysZeroLoss)
    with pytest.raises(BrokenChainError, match="GC403"):
        trainer.train()
    assert trainer.state.global_step == 2


def test_a_frozen_adapter_is_repaired_though_a_scheduler_counts_the_groups(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, on_findings="repair")
    trainer.model.requires_grad_(False)
    with pytest.warns(UserWarning, match="repaired the model"):
        trainer.train()
    assert trainer.state.global_step == 2
    assert callback.report.healthy
    assert callback.fixed.before.findings[0].code == "GC507"
    held = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    assert len(held) == 8


def test_what_cannot_be_repaired_ends_it(tmp_path: Path) -> None:
    trainer, callback = watched(tmp_path, LeafLoss, on_findings="repair")
    with pytest.raises(BrokenChainError, match="GC207"):
        trainer.train()
    assert callback.fixed is None


def test_a_summary_goes_where_the_trainer_reports_to(tmp_path: Path) -> None:
    texts: list[str] = []

    class Writer:
        def add_text(self, tag: str, text: str, step: int) -> None:
            assert (tag, step) == ("gradcheck", 0)
            texts.append(text)

        def flush(self) -> None:
            """As TensorBoard's."""

    class Reports(TrainerCallback):
        tb_writer = Writer()

    trainer, _ = watched(tmp_path)
    trainer.add_callback(Reports())
    trainer.train()
    assert texts
    assert all("healthy" in text.lower() for text in texts)


def nothing_is_wrapped() -> bool:
    return recorder_in_place() is None and torch._C._len_torch_function_stack() == 0
