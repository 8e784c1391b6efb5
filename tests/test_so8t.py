"""The whole story: a quantized model that checkpoints itself does not train, is told why, is repaired, and trains."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from torch import nn

import gradcheck
from gradcheck.core.target import Target
from gradcheck.loading import load
from gradcheck.subject import Subject
from tests.cli.runner import run

SO8T = Path(__file__).parents[1] / "fixtures" / "so8t"
BITS = (8, 4)
NUM_STEPS = 20
NUM_ADAPTERS, NUM_ROTATIONS = 16, 2
"""Trainable tensors: LoRA A and B of four projections in two layers, and the angles of each layer."""
INPUT_REPAIRS = {"enable-input-require-grads", "hook-entries"}
NO_GRADIENT = "element 0 of tensors does not require grad"
"""What ``backward`` of a loss without a graph says (torch/csrc/autograd)."""
RUN_EACH = """
import runpy, sys
steps, results, *runs = sys.argv[1:]
for script, bits in zip(runs[::2], runs[1::2]):
    out = f"{results}/{script}-{bits}"
    sys.argv[1:] = ["--bits", bits, "--steps", steps, "--out", f"{out}.json"]
    try:
        runpy.run_path(f"{results}/{script}.py", run_name="__main__")
    except RuntimeError as error:
        print(error, file=open(f"{out}.error", "w"))
"""
"""Runs scripts with widths, all in one process: importing costs more than training."""
TIMEOUT_S = 300

reentrant_warning = pytest.mark.filterwarnings(
    "ignore:None of the inputs have requires_grad:UserWarning"
)


@pytest.fixture(autouse=True)
def no_modules_left() -> Iterator[None]:
    """The fixture's files import each other by names as common as ``train`` and ``data``."""
    yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(SO8T)):
            del sys.modules[name]


def broken(bits: int) -> Subject:
    return load(Target(name=f"{SO8T / 'factory.py'}:make", arguments=(("bits", str(bits)),)))


def rotations(model: nn.Module) -> list[Any]:
    """The rotations that train: PEFT keeps a frozen original beside each."""
    return [
        module
        for name, module in model.named_modules()
        if type(module).__name__ == "So8Rotation" and "modules_to_save" in name
    ]


def trainable(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: it for name, it in model.named_parameters() if it.requires_grad}


def trained(subject: Subject) -> tuple[list[float], set[str]]:
    """The losses of plain AdamW steps, and the names of the trainable tensors that stayed where they were."""
    assert subject.loss_fn is not None
    parameters = trainable(subject.model)
    before = {name: it.detach().clone() for name, it in parameters.items()}
    optimizer = torch.optim.AdamW(parameters.values(), lr=1e-2, weight_decay=0.0)
    losses = []
    for _ in range(NUM_STEPS):
        optimizer.zero_grad()
        loss = subject.loss_fn(subject.model, subject.batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, {name for name, it in parameters.items() if it.equal(before[name])}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the broken script, the one repaired by hand and the one repaired by the command, all run."""
    folder = tmp_path_factory.mktemp("scripts") / "so8t"
    shutil.copytree(SO8T, folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(folder / "train.py", folder / "broken.py")
    fixed = run("fix", str(folder / "train.py"), "--apply")
    assert fixed.exit_code == 0, fixed.output
    runs = [("broken", 4), *((name, bits) for name in ("train_repaired", "train") for bits in BITS)]
    arguments = [str(word) for pair in runs for word in pair]
    ended = subprocess.run(
        [sys.executable, "-c", RUN_EACH, str(NUM_STEPS), str(folder), *arguments],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        env={
            **os.environ,
            "HF_HUB_OFFLINE": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(folder),
        },
    )
    assert ended.returncode == 0, ended.stderr
    return folder


def assert_trained(folder: Path, script: str) -> None:
    for bits in BITS:
        result = json.loads((folder / f"{script}-{bits}.json").read_text())
        assert len(result["loss"]) == NUM_STEPS
        assert result["loss"][-1] < 0.6 * result["loss"][0], (bits, result)
        assert result["adapters"] == {"moved": NUM_ADAPTERS, "total": NUM_ADAPTERS}, bits
        assert result["rotations"] == {"moved": NUM_ROTATIONS, "total": NUM_ROTATIONS}, bits


def test_rotations_are_orthogonal_with_determinant_one_and_keep_lengths() -> None:
    rotation = rotations(broken(8).model)[0]
    for spread in (0.0, 0.05, 3.0):
        with torch.no_grad():
            rotation.angles.normal_(std=spread) if spread else rotation.angles.zero_()
        matrices = rotation.matrices().detach()
        identity = torch.eye(8).expand_as(matrices)
        assert matrices.shape == (8, 8, 8)
        torch.testing.assert_close(
            matrices @ matrices.transpose(1, 2), identity, atol=1e-4, rtol=0.0
        )
        torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(8), atol=1e-3, rtol=0.0)
        assert torch.allclose(matrices, identity) == (spread == 0.0)
        hidden = torch.randn(2, 3, 64)
        torch.testing.assert_close(rotation(hidden).norm(dim=-1), hidden.norm(dim=-1))


@pytest.mark.parametrize("bits", BITS)
def test_the_model_is_quantized_custom_and_checkpoints_itself(bits: int) -> None:
    model = broken(bits).model
    kinds = [type(it) for name, it in model.named_modules() if name.endswith("base_layer")]
    layer = {8: bitsandbytes.nn.Linear8bitLt, 4: bitsandbytes.nn.Linear4bit}[bits]
    assert kinds == [layer] * 8
    assert not hasattr(model, "enable_input_require_grads")
    assert not hasattr(model, "get_input_embeddings")
    assert model.get_submodule("base_model.model").gradient_checkpointing
    assert model.training
    kept = {it.dtype for n, it in model.named_parameters() if "proj" not in n or "lora" in n}
    assert kept == {torch.float32}


@pytest.mark.parametrize("bits", BITS)
def test_without_checkpointing_adapters_and_rotations_get_gradients(bits: int) -> None:
    subject = broken(bits)
    subject.model.get_submodule("base_model.model").gradient_checkpointing = False
    assert subject.loss_fn is not None
    subject.loss_fn(subject.model, subject.batch).backward()
    assert all(it.angles.grad.norm() > 0 for it in rotations(subject.model))
    parameters = trainable(subject.model)
    assert len(parameters) == NUM_ADAPTERS + NUM_ROTATIONS
    assert [name for name, it in parameters.items() if it.grad is None] == []


@reentrant_warning
@pytest.mark.parametrize("bits", BITS)
def test_inspect_names_the_checkpoint_that_breaks_the_chain(bits: int) -> None:
    subject = broken(bits)
    report = gradcheck.inspect(subject.model, subject.batch, subject.loss_fn)
    assert not report.healthy
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("GC301", "error")
    assert finding.module == "base_model.model.layers.0"
    assert finding.location is not None
    assert finding.location.file == str(SO8T / "modeling_so8t.py")
    assert (
        finding.location.text == "hidden = checkpoint(block, hidden, cos, sin, use_reentrant=True)"
    )
    assert set(finding.parameters) == set(trainable(subject.model))


@pytest.mark.parametrize("bits", BITS)
def test_inspect_is_silent_once_the_embedding_hands_on_a_gradient(bits: int) -> None:
    subject = broken(bits)
    embedding = subject.model.get_submodule("base_model.model.embed_tokens")
    embedding.register_forward_hook(lambda module, inputs, output: output.requires_grad_(True))
    report = gradcheck.inspect(subject.model, subject.batch, subject.loss_fn)
    assert report.healthy, report.findings


@reentrant_warning
@pytest.mark.parametrize("bits", BITS)
def test_fix_repairs_the_model_and_it_trains(bits: int) -> None:
    subject = broken(bits)
    result = gradcheck.fix(subject.model, subject.batch, subject.loss_fn)
    assert not result.before.healthy
    assert result.after.healthy, result.outcomes
    first = next(outcome for outcome in result.outcomes if outcome.status == "verified")
    assert first.repair.name in INPUT_REPAIRS
    assert result.after.loss == result.before.loss
    losses, still = trained(subject)
    assert losses[-1] < 0.6 * losses[0]
    assert still == set()


@reentrant_warning
def test_undo_breaks_it_again() -> None:
    subject = broken(4)
    gradcheck.fix(subject.model, subject.batch, subject.loss_fn).undo()
    assert not gradcheck.inspect(subject.model, subject.batch, subject.loss_fn).healthy
    with pytest.raises(RuntimeError, match=NO_GRADIENT):
        trained(subject)


@pytest.mark.slow
def test_the_broken_script_ends_without_a_gradient(scripts: Path) -> None:
    assert NO_GRADIENT in (scripts / "broken-4.error").read_text()
    assert not (scripts / "broken-4.json").exists()


@pytest.mark.slow
def test_the_script_repaired_by_hand_trains(scripts: Path) -> None:
    assert_trained(scripts, "train_repaired")


@pytest.mark.slow
def test_the_script_repaired_by_the_command_trains(scripts: Path) -> None:
    source = (scripts / "train.py").read_text()
    assert source != (SO8T / "train.py").read_text()
    assert "hidden_states.requires_grad" in source
    assert_trained(scripts, "train")
