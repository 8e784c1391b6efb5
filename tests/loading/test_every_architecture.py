"""A part of the sweep over every architecture: gradcheck, with weights and without, says what plain torch says."""

import pytest

from benchmarks.default_models import architecture
from benchmarks.sweep_model import Row, rows
from gradcheck.loading.chatter import quiet

pytestmark = pytest.mark.filterwarnings("ignore")

REPRESENTATIVE = (
    ("llama", "causal-lm", "4bit"),
    ("deepseek_v3", "causal-lm", "4bit"),  # experts, latent attention
    ("gemma4_text", "causal-lm", "none"),  # layers that share keys and values
    ("bert", "masked-lm", "4bit"),  # loses gradients silently
    ("qwen2_vl", "image-text-to-text", "4bit"),  # code that looks at grids
    ("speech_to_text", "speech-seq2seq", "8bit"),
    ("siglip", "image-classification", "4bit"),  # a pooling head that is dropped
)


def found(model_type: str, task: str, quantization: str) -> dict[str, Row]:
    with quiet():
        known = architecture(model_type, task)
        return {it.checkpointing: it for it in rows(known, (quantization,), ("reentrant",))}


@pytest.mark.parametrize(("model_type", "task", "quantization"), REPRESENTATIVE)
def test_the_verdict_is_that_of_plain_torch(model_type: str, task: str, quantization: str) -> None:
    setups = found(model_type, task, quantization)
    assert setups.keys() == {"off", "reentrant"}
    for row in setups.values():
        assert (row.outcome, row.reason) == ("agrees", "")
        assert row.weightless.startswith("same")
        assert row.fix in ("", "reaches all")


def test_a_false_verdict_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    import gradcheck
    from gradcheck.reports.report import Report

    monkeypatch.setattr(Report, "healthy", property(lambda report: True))
    monkeypatch.setattr(gradcheck, "fix", None)
    setups = found("llama", "causal-lm", "4bit")
    assert setups["off"].outcome == "agrees"
    assert "healthy, and torch raised" in setups["reentrant"].reason
