"""The classic bug on real weights: nothing moves; after ``fix``, three steps move every adapter tensor.

``make bench`` takes twenty, of 64 tokens.
"""

import pytest

from benchmarks.training import ROOT, Quant, broken_subject, trained

SMOLLM2 = ROOT / "build" / "smollm2"
NUM_STEPS, SEQ_LEN = 3, 16


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(
    not (SMOLLM2 / "config.json").exists(), reason="make test makes the model in build/smollm2"
)
@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("quant", ["4bit", "8bit"])
def test_a_pretrained_model_trains_after_the_repair(quant: Quant) -> None:
    subject = broken_subject(SMOLLM2, quant, seq_len=SEQ_LEN)
    unrepaired = trained(subject, 1, repair=False)
    assert "does not require grad" in unrepaired.error
    assert unrepaired.num_moved == 0
    repaired = trained(subject, NUM_STEPS, repair=True)
    assert repaired.verified == ("enable-input-require-grads",)
    assert repaired.num_moved == repaired.num_trainable == 420
    assert repaired.losses[-1] < 0.95 * repaired.losses[0]
