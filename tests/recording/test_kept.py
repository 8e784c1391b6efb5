"""What a training keeps of its steps, what it leaves out of them, and when Python's collector is off."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch
from torch import nn

from gradcheck.pipeline import run
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.session import record
from gradcheck.recording.training.kept import KeptSteps, KeptTrace
from gradcheck.recording.training.movement import ELEMENTS, glance
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Step

SCRIPT = """
import torch
model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
for _ in range(3):
    loss = model(torch.ones(2, 4)).pow(2).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
"""


def a_trace() -> Trace:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 1))
    subject = Subject(
        model=model, batch={"x": torch.ones(2, 4)}, loss_fn=lambda m, b: m(b["x"]).sum()
    )
    return record(subject, Settings())


def a_step(number: int) -> Step:
    return Step(
        optimizer=0,
        frame=number,
        rates=(),
        still_groups=(),
        gradients=(),
        num_gradients=0,
        moved=(),
    )


def test_a_trace_that_was_kept_is_the_same() -> None:
    trace = a_trace()
    assert trace.calls
    kept = KeptTrace.of(trace)
    assert kept.trace() == trace
    assert [type(row) for row in kept.trace().calls] == [type(row) for row in trace.calls]


def test_the_collector_looks_no_more_at_rows_that_are_kept() -> None:
    trace = a_trace()
    kept = KeptTrace.of(trace)
    for _ in range(3):  # what a tuple holds is let go of before the tuple itself
        gc.collect()
    rows = (*kept.values, *kept.calls, *kept.modules)
    assert not any(map(gc.is_tracked, rows))
    assert all(map(gc.is_tracked, trace.calls))


def test_of_a_long_training_the_steps_of_both_ends_are_kept() -> None:
    kept, trace = KeptSteps(), a_trace()
    for number in range(2000):
        kept.add(a_step(number), KeptTrace.of(trace) if number == 1 else None)
    rows = kept.rows()
    assert [row.frame for row in rows] == [*range(512), *range(2000 - 512, 2000)]
    assert rows[1].trace == trace
    assert rows[0].trace is None


def test_what_the_instruments_ask_is_no_call_of_the_step(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    steps = run(str(script)).training.steps
    traces = [step.trace for step in steps[:2]]
    assert all(trace is not None for trace in traces)
    for trace in traces:
        assert trace is not None
        ops = [call.op for call in trace.calls]
        assert "torch.nn.functional.linear" in ops
        assert not {"Tensor.detach", "Tensor.tolist", "Tensor.ne", "torch.as_strided"} & set(ops)


def test_the_collector_is_on_after_what_paused_it_and_off_where_it_was_off() -> None:
    with collector_paused():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with collector_paused():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_is_off_in_a_recorded_forward_and_on_around_it(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    body = SCRIPT.replace("import torch\n", "import gc\nimport torch\nstates = []\n", 1)
    body = body.replace(
        "    loss.back", "    states.append(gc.isenabled())\n    loss.back"
    ).replace(
        "optimizer = ",
        "model[0].register_forward_hook(lambda *_: states.append(gc.isenabled()))\noptimizer = ",
    )
    out = tmp_path / "out"
    script.write_text(
        f"{body}\nwith open({str(out)!r}, 'w') as file:\n    file.write(repr(states))\n"
    )
    run(str(script), steps=None)
    assert out.read_text() == "[False, True, False, True, True, True]"
    assert gc.isenabled()


@pytest.mark.parametrize("size", [1, 31, 32, 33, 63, 64, 65, 1000])
def test_a_glance_is_at_elements_spread_over_a_tensor(size: int) -> None:
    tensor = torch.arange(float(size))
    expected = tensor[:: max(1, size // ELEMENTS)][:ELEMENTS]
    for seen in (tensor, nn.Parameter(tensor), torch.stack([tensor, tensor], 1)[:, 0]):
        (part,) = glance([(0, seen)]).parts.values()
        assert torch.equal(part, expected)
        assert not part.requires_grad
