"""Private names of other libraries are there in the versions that are said to have them.

That they are used in one room alone is held by ``test_architecture.py``.
"""

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gradcheck.internals.entry import INTERNALS, Internal
from tests.architecture import SOURCES, modules_loaded_by, room_of
from tests.private_names import (
    FILES,
    LIBRARIES,
    REGISTERED,
    exists,
    is_claimed,
    is_private,
    private_uses,
)

INSIDE = [path for path in SOURCES if room_of(path) == "internals"]


@pytest.mark.parametrize("path", INSIDE, ids=lambda path: path.stem)
def test_what_an_accessor_reads_has_an_entry(path: Path) -> None:
    used = private_uses(path.read_text("utf-8"), set(), set())
    assert [use for use in used if not REGISTERED & set(re.findall(r"\w+", use))] == []


@pytest.mark.parametrize("entry", INTERNALS, ids=lambda entry: entry.path)
def test_an_entry_says_what_for(entry: Internal) -> None:
    assert entry.library in LIBRARIES
    assert any(is_private(part) for part in entry.path.split("."))
    assert entry.why.endswith(".")


def _with_input_gradients() -> Any:
    model = _tiny()
    model.enable_input_require_grads()
    return model


def _checkpointing_layer() -> Any:
    model = _tiny()
    model.gradient_checkpointing_enable()
    return model.model.layers[0]


def _tiny() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    small = {"hidden_size": 8, "intermediate_size": 8, "num_attention_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=8, num_hidden_layers=1, **small))


def _prompted() -> Any:
    from peft import PromptTuningConfig, get_peft_model

    return get_peft_model(_tiny(), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=1))


def _backbone_config() -> Any:
    from transformers import ResNetConfig

    return ResNetConfig()


def _parallel() -> Any:
    return torch.nn.parallel.DistributedDataParallel


def _lora_model() -> Any:
    from peft import LoraModel

    return LoraModel


OWNERS: dict[str, Callable[[], Any]] = {
    "torch.nn.Module": lambda: torch.nn.Linear(1, 1),
    "torch._ops.OpOverload": lambda: torch.ops.aten.add.Tensor,
    "torch.nn.parallel.DistributedDataParallel": _parallel,
    "transformers.PreTrainedModel": _with_input_gradients,
    "transformers.GradientCheckpointingLayer": _checkpointing_layer,
    "transformers.ResNetConfig": _backbone_config,
    "torch.autograd.graph.Node": lambda: torch.ones(1, requires_grad=True).neg().grad_fn,
    "peft.PeftModel": _prompted,
    "peft.LoraModel": _lora_model,
}
"""What has a name only as an object, or after something was done to it; a class: its source is searched."""


@pytest.mark.core
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", INTERNALS, ids=lambda entry: entry.path)
def test_an_installed_version_has_the_names_that_it_is_said_to_have(entry: Internal) -> None:
    if not is_claimed(entry):
        pytest.skip(f"{entry.library} is none of {entry.versions}: it has no {entry.name}")
    assert exists(entry, OWNERS)


@pytest.mark.parametrize(
    "path",
    [
        "torch.nn.Module._no_such_table",
        "torch.Tensor._no_such_property",
        "torch._no_such_module.name",
        "torch.ops.aten._no_such_operator",
        "peft.LoraModel._no_such_handles",
    ],
)
def test_a_name_that_is_not_there_is_noticed(path: str) -> None:
    assert not exists(Internal(path=path, versions=">=0", why=""), OWNERS)


def test_a_version_that_claims_nothing_is_left_alone() -> None:
    assert is_claimed(Internal(path="torch._C", versions=">=2.4", why=""))
    assert not is_claimed(Internal(path="torch._C", versions="<2", why=""))


def test_the_room_imports_none_of_the_libraries() -> None:
    loaded = modules_loaded_by(f"import {', '.join(FILES)}")
    assert "gradcheck" in loaded
    assert loaded.isdisjoint({*LIBRARIES, "numpy"})


def test_every_file_of_the_room_is_read() -> None:
    assert {inspect.getfile(importlib.import_module(name)) for name in FILES} == {
        str(path) for path in INSIDE if path.stem != "__init__"
    }
