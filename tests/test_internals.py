"""Private names of other libraries stand in one room, and are there in the versions that are said to have them."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import gradcheck.internals
from gradcheck.internals.entry import INTERNALS, Internal
from tests.architecture import PACKAGE, SOURCES, modules_loaded_by, room_of
from tests.private_names import (
    LIBRARIES,
    exists,
    is_claimed,
    is_private,
    names_defined,
    private_uses,
)

FILES = [m.name for m in pkgutil.iter_modules(gradcheck.internals.__path__, "gradcheck.internals.")]
for _name in FILES:
    importlib.import_module(_name)

REGISTERED = {part for entry in INTERNALS for part in entry.path.split(".") if is_private(part)}
INHERITED = {name for path in SOURCES for name in names_defined(path.read_text("utf-8"))}
OUTSIDE = [path for path in SOURCES if room_of(path) != "internals"]
INSIDE = [path for path in SOURCES if room_of(path) == "internals"]


def uses(source: str) -> list[str]:
    return private_uses(source, REGISTERED, INHERITED)


@pytest.mark.parametrize("path", OUTSIDE, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_private_names_of_other_libraries_stand_in_internals_alone(path: Path) -> None:
    """See CONTRIBUTING.md, "A private name of another library"."""
    assert uses(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "x = tensor._version",
        "x = tensor._never_seen_before",
        "x = torch._C",
        "torch._C._set_grad_enabled(False)",
        "from torch._dynamo import disable",
        "import torch._inductor.config as config",
        "from torch.nn.modules.module import _global_forward_hooks",
        "def late():\n    import peft.tuners._buffer_dict",
        "hooks = module._forward_hooks",
        "class Mine(torch.nn.Module):\n    def f(self):\n        return self._parameters",
        "class Mine(Mode):\n    def f(self):\n        return self._inner_state_of_the_base",
        "getattr(module, '_hf_hook', None)",
        "operator.attrgetter('_saved_self')(node)",
        "vars(module)['_hf_hook']",
        "replace(stack, torch.Tensor, '_make_subclass', mine)",
        "inventory.holding('_require_grads_hook')",
        "line = f'if hook not in {name}._forward_hooks.values():'",
        "layers = sys.modules.get('transformers.integrations._hub')",
        "class A:\n    def _version(self): ...\n\ndef f(tensor):\n    return tensor._version",
    ],
)
def test_a_private_name_of_another_library_is_noticed(source: str) -> None:
    assert uses(source)


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    def __init__(self):\n        self._held = 1\n\ndef f(a: A):\n    return a._held",
        "class B(Base):\n    def f(self):\n        return self._ledger",
        "class A:\n    def __init__(self):\n        self._version = 1\n    def f(self):\n        return self._version",
        "sys._getframe(1)",
        "row._replace(name='x')",
        "hasattr(value, '_fields')",
        "from gradcheck.rules import _private",
        "from __future__ import annotations",
        "import _thread",
        'def f():\n    """Reads ``tensor._version``."""',
        "suffixes = ('_token_id', '_index')",
        "tensor._gradcheck_region = 1",
        "type(x).__name__",
    ],
)
def test_ones_own_names_and_pythons_are_not(source: str) -> None:
    assert uses(source) == []


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


def _lora_model() -> Any:
    from peft import LoraModel

    return LoraModel


OWNERS: dict[str, Callable[[], Any]] = {
    "torch.nn.Module": lambda: torch.nn.Linear(1, 1),
    "torch._ops.OpOverload": lambda: torch.ops.aten.add.Tensor,
    "transformers.PreTrainedModel": _with_input_gradients,
    "transformers.GradientCheckpointingLayer": _checkpointing_layer,
    "transformers.ResNetConfig": _backbone_config,
    "peft.PeftModel": _prompted,
    "peft.LoraModel": _lora_model,
}
"""What has a name only as an object, or after something was done to it; a class: its source is searched."""


@pytest.mark.core
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("entry", INTERNALS, ids=lambda entry: entry.path)
def test_an_installed_version_has_the_names_that_it_is_said_to_have(entry: Internal) -> None:
    if not is_claimed(entry):
        pytest.skip(f"{entry.library} is none of {entry.versions}")
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
