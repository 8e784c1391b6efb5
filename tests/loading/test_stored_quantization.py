"""A checkpoint that is stored quantized: what it is called, and what is said where its quantizer is missing."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from gradcheck.errors import TargetError
from gradcheck.loading import load, quantization
from gradcheck.loading.linear_layers import all_linear
from tests.cli.runner import run

from .conftest import plain

HQQ = {"weight_quant_params": {"nbits": 4, "group_size": 64}}
INTX = {"_type": "IntxWeightOnlyConfig", "_data": {"weight_dtype": {"_data": "int4"}}}


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "4-bit, groups of 128 (GPTQ)"),
        ({"quant_method": "awq", "bits": 4, "group_size": -1}, "4-bit (AWQ)"),
        ({"quant_method": "hqq", "quant_config": HQQ}, "4-bit, groups of 64 (HQQ)"),
        ({"quant_method": "quanto", "weights": "int4"}, "int4 (optimum-quanto)"),
        ({"quant_method": "torchao", "quant_type": {"default": INTX}}, "IntxWeightOnly int4 (torchao)"),
        ({"quant_method": "torchao", "quant_type": "int8_weight_only"}, "int8_weight_only (torchao)"),
        ({"quant_method": "fp8"}, "fp8"),
    ],
)  # fmt: skip
def test_the_set_up_says_the_quantizer_and_its_bits(stored: dict[str, Any], text: str) -> None:
    assert quantization.describe_stored(stored) == text


@pytest.mark.parametrize(
    ("method", "packages"), [("torchao", "torchao"), ("gptq", "gptqmodel optimum"), ("hqq", "hqq")]
)
def test_a_quantizer_that_is_not_installed_is_named(
    copied: Path, monkeypatch: pytest.MonkeyPatch, method: str, packages: str
) -> None:
    says_stored(copied, method)
    monkeypatch.setattr(quantization, "_is_installed", lambda _: False)
    with pytest.raises(TargetError, match=f"pip install {packages}`"):
        load(plain(copied, quant="auto"))


def test_a_quantizer_that_is_not_installed_is_status_2(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    says_stored(copied, "awq")
    monkeypatch.setattr(quantization, "_is_installed", lambda _: False)
    result = run("inspect", str(copied))
    assert result.exit_code == 2
    assert "is stored quantized by AWQ" in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.stderr


def test_what_is_installed_is_not_asked_for() -> None:
    assert quantization._is_installed("torch")
    assert not quantization._is_installed("no-such-package-at-all")


def test_all_linear_names_the_layers_of_a_quantizer_of_its_own() -> None:
    model = Model()
    assert all_linear(model).targets == "all-linear"
    model.is_quantized = True
    assert all_linear(model).targets == ["plain", "quantized"]


class QuantLinear(nn.Module):
    """Codes in a buffer, as GPTQ and AWQ keep them."""

    def __init__(self) -> None:
        super().__init__()
        self.in_features, self.out_features = 8, 8
        self.register_buffer("qweight", torch.zeros(1, 8, dtype=torch.int32))


class Model(nn.Module):
    is_quantized = False

    def __init__(self) -> None:
        super().__init__()
        self.quantized, self.plain = QuantLinear(), nn.Linear(8, 8)


def says_stored(folder: Path, method: str) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text("utf-8"))
    config["quantization_config"] = {"quant_method": method, "bits": 4, "group_size": 32}
    path.write_text(json.dumps(config), "utf-8")
