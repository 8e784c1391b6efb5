"""Whatever edits are made, in whatever order: putting the snapshot back leaves the model bit for bit as it was."""

import functools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import HealthCheck, given, settings

from gradcheck.editing.live import apply, resolved
from gradcheck.editing.snapshot import Snapshot
from gradcheck.errors import EditError
from gradcheck.findings.edit import (
    AddToOptimizer,
    AttachAdapter,
    CallAdapters,
    CastParameters,
    CloneOutputs,
    Edit,
    EnableInputRequireGrads,
    LetInputsRequireGrad,
    LetOutputsRequireGrad,
    SetArgument,
    SetCheckpointing,
    SetRequiresGrad,
    SetTraining,
    SwitchOffCache,
    TieParameters,
)
from gradcheck.subject import Subject
from tests.repairs.models import llama, llama_batch
from tests.state import differences, state_of

pytestmark = [pytest.mark.property, pytest.mark.filterwarnings("ignore")]


@functools.cache
def subject() -> Subject:
    """A tiny Llama with two adapters, one of them merged, after a step."""
    model = llama(adapters=("first", "second"), reentrant=True)
    model.merge_adapter(["first"])
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-3)
    model(**llama_batch())
    optimizer.step()
    return Subject(model=model, batch=llama_batch(), optimizer=optimizer)


def parameters() -> st.SearchStrategy[tuple[str, ...]]:
    names = [name for name, _ in subject().model.named_parameters()]
    return st.lists(st.sampled_from(names), min_size=1, max_size=4, unique=True).map(tuple)


def modules() -> st.SearchStrategy[tuple[str, ...]]:
    names = [name for name, _ in subject().model.named_modules() if name]
    return st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True).map(tuple)


def edits() -> st.SearchStrategy[Edit]:
    base = tuple(
        name for name, _ in subject().model.named_parameters() if "base_layer.weight" in name
    )
    forward = next(n for n, _ in subject().model.named_modules() if n.endswith("self_attn"))
    tie = TieParameters(
        source="base_model.model.model.embed_tokens.weight",
        target="base_model.model.lm_head.weight",
    )
    dtypes = st.sampled_from(["float32", "bfloat16", "float16"])
    modes = st.sampled_from(["non-reentrant", "anchored", "off"])
    return st.one_of(
        st.just(EnableInputRequireGrads()),
        modules().map(lambda m: LetOutputsRequireGrad(modules=m)),
        modules().map(lambda m: CloneOutputs(modules=m)),
        st.just(LetInputsRequireGrad(names=("inputs_embeds",))),
        modes.map(lambda mode: SetCheckpointing(mode=mode)),
        modules().map(lambda m: SetTraining(module=m[0])),
        st.builds(SetRequiresGrad, parameters=parameters(), value=st.booleans()),
        st.builds(CastParameters, parameters=parameters(), dtype=dtypes),
        st.just(AddToOptimizer(parameters=base[:2])),
        st.just(CallAdapters(call="enable")),
        st.just(CallAdapters(call="unmerge")),
        st.just(CallAdapters(call="activate", name="second")),
        st.just(SwitchOffCache()),
        st.just(tie),
        st.just(AttachAdapter(rank=2, alpha=4, targets=("embed_tokens",))),
        st.just(SetArgument(module=forward, name="past_key_values", value=False)),
    )


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_a_snapshot_puts_everything_back(data: st.DataObject) -> None:
    subject_ = subject()
    before = state_of(subject_.model, subject_.optimizer)
    chosen = resolved(subject_, tuple(data.draw(st.lists(edits(), min_size=1, max_size=5))))
    snapshot = Snapshot(subject_)
    try:
        apply(subject_, chosen)
    except EditError:
        pass  # what was made before it is put back as well
    finally:
        snapshot.restore()
    assert differences(before, state_of(subject_.model, subject_.optimizer)) == []


def test_a_change_that_is_not_put_back_is_noticed() -> None:
    subject_ = subject()
    before = state_of(subject_.model, subject_.optimizer)
    snapshot = Snapshot(subject_)
    apply(subject_, (SetTraining(module=""), EnableInputRequireGrads(modules=("",))))
    assert differences(before, state_of(subject_.model, subject_.optimizer))
    snapshot.restore()
    assert differences(before, state_of(subject_.model, subject_.optimizer)) == []
