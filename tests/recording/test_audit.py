"""The audit: directional derivatives of the loss against the gradient."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import gradcheck
from fixtures.numbers import Block, Net, batch
from gradcheck.recording.audit.audit import MAX_FORWARDS
from gradcheck.recording.session import record
from gradcheck.settings import Settings
from gradcheck.step import examine
from gradcheck.subject import Subject
from gradcheck.trace.numbers import Audit
from gradcheck.trace.trace import Trace

pytestmark = [pytest.mark.core, pytest.mark.filterwarnings("ignore")]
LAYERS = 8


class Deep(Net):
    """Blocks of which one is run by ``odd``."""

    def __init__(self, odd=None, at=5):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.odd, self.at = odd, at

    def layer(self, block, h):
        return h + block(self.odd(h) if self.odd and block is self.blocks[self.at] else h)


class Noisy(torch.autograd.Function):
    """It draws, so that it is not run again by itself, and gives no gradient."""

    @staticmethod
    def forward(ctx, h):
        return h + 1e-3 * torch.randn_like(h)

    @staticmethod
    def backward(ctx, grad):
        return torch.zeros_like(grad)


def audited(model, settings=None) -> tuple[Trace, gradcheck.Report]:
    torch.manual_seed(1)
    subject = Subject(model=model.train(), batch=batch())
    seen = examine(subject, settings or Settings(audit=True))
    return seen.trace, seen.report


def audit_of(model) -> Audit:
    audit = audited(model)[0].audit
    assert audit is not None
    return audit


def test_a_right_gradient_passes_in_ten_forwards() -> None:
    torch.manual_seed(0)
    audit = audit_of(Deep())
    assert not audit.skipped
    assert not audit.is_wrong
    assert audit.off < 0.02
    assert audit.num_forwards <= 10


@pytest.mark.parametrize("at", [2, 5, 7])
def test_what_nothing_explains_is_an_error_at_the_layer_before_it(at: int) -> None:
    torch.manual_seed(0)
    trace, report = audited(Deep(Noisy.apply, at))
    assert trace.audit is not None
    assert trace.audit.is_wrong
    assert trace.audit.num_forwards <= MAX_FORWARDS
    (finding,) = [it for it in report.findings if it.code == "GC405"]
    assert finding.severity == "error"
    assert not report.healthy
    assert set(finding.parameters) <= {
        f"blocks.{at - 1}.{name}" for name in ("down.weight", "down.bias")
    }


def test_what_stands_in_plain_sight_is_a_note() -> None:
    torch.manual_seed(0)
    _, report = audited(Deep(lambda h: h.detach()))  # the cut
    (finding,) = [it for it in report.findings if it.code == "GC405"]
    assert finding.severity == "note"
    assert report.healthy
    assert finding.location is not None
    assert "# the cut" in finding.location.text


def test_without_the_audit_nothing_is_said() -> None:
    torch.manual_seed(0)
    trace, report = audited(Deep(Noisy.apply), Settings())
    assert trace.audit is None
    assert not [it for it in report.findings if it.code == "GC405"]


def test_the_library_asks_for_it_by_its_settings() -> None:
    torch.manual_seed(0)
    model, inputs = Deep(Noisy.apply), batch()
    assert gradcheck.inspect(model, inputs).healthy
    assert not gradcheck.inspect(model, inputs, settings=Settings(audit=True)).healthy


def test_a_step_that_differs_each_time_is_not_judged_by_it() -> None:
    class Unsteady(Deep):
        state = 0.0

        def forward(self, x, y):
            import time

            return {"loss": super().forward(x, y)["loss"] * (1 + time.perf_counter() % 1)}

    assert "another loss each time" in audit_of(Unsteady()).skipped


def test_a_step_that_does_not_bear_other_parameters_is_not_judged_by_it() -> None:
    class Strict(Deep):
        def forward(self, x, y):
            if not torch.equal(self.head.weight, self.expected):
                raise ValueError("the head has moved")
            return super().forward(x, y)

    model = Strict()
    model.expected = model.head.weight.detach().clone()
    assert "the head has moved" in audit_of(model).skipped


def test_half_precision_is_raised_and_put_back() -> None:
    torch.manual_seed(0)
    model = Deep().to(torch.bfloat16)
    before = copy.deepcopy(model.state_dict())
    subject = Subject(
        model=model,
        batch={"x": torch.randn(6, 16, dtype=torch.bfloat16), "y": torch.randint(0, 4, (6,))},
    )
    audit = examine(subject, Settings(audit=True)).trace.audit
    assert audit is not None
    assert not audit.skipped
    assert audit.off < 0.02
    after = model.state_dict()
    assert {name: it.dtype for name, it in after.items()} == {
        name: it.dtype for name, it in before.items()
    }
    assert all(torch.equal(after[name], it) for name, it in before.items())
    assert all(it.grad is None for it in model.parameters())


def test_zero_partners_are_moved_for_it_and_put_back() -> None:
    class Adapter(nn.Module):
        def __init__(self):
            super().__init__()
            self.base = nn.Linear(16, 4).requires_grad_(False)
            self.down, self.up = nn.Linear(16, 2, bias=False), nn.Linear(2, 4, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x, y):
            return {"loss": F.cross_entropy(self.base(x) + self.up(self.down(x)), y)}

    torch.manual_seed(0)
    model = Adapter()
    audit = audit_of(model)
    assert not audit.is_wrong
    assert not audit.skipped
    assert not model.up.weight.any()


def test_a_trace_that_was_recorded_without_it_is_read() -> None:
    torch.manual_seed(0)
    trace = record(Subject(model=Deep().train(), batch=batch()), Settings())
    assert trace.audit is None
