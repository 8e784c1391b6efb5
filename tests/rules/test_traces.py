"""What rules say of hand-made Traces: the branches that no fixture reaches."""

from dataclasses import replace

import pytest

from gradcheck.findings.rule import step_rules
from gradcheck.trace.events import GradientRequest, Labels, Loss, Wrapper
from gradcheck.trace.model import AdapterConfig, AdapterLayer, Optimizer
from gradcheck.trace.rows import NONE, Module, Region, Switch
from gradcheck.trace.trace import Trace
from tests.rules.traces import (
    BLOCK,
    BLOCK_WEIGHT,
    EMBED_WEIGHT,
    HEAD_WEIGHT,
    HIDDEN,
    LOSS,
    ROOT,
    broken,
    chain,
    failure,
    findings,
    frame,
    judge_as,
    only,
    trace,
    value,
)


def with_module(index: int, given: Trace | None = None, **fields: object) -> tuple[Module, ...]:
    modules = list((given or trace()).modules)
    modules[index] = modules[index]._replace(**fields)  # type: ignore[arg-type]
    return tuple(modules)


def with_parameter(*indices: int, **fields: object) -> Trace:
    parameters = list(trace().parameters)
    for index in indices:
        parameters[index] = replace(parameters[index], **fields)  # type: ignore[arg-type]
    return trace(parameters=tuple(parameters))


def with_adapter(config: AdapterConfig, parameter: int = BLOCK_WEIGHT, **fields: object) -> Trace:
    """The block is an adapted layer whose adapter holds one parameter."""
    known = {"active": (config.name,) if config.active else (), "merged": (), "disabled": False}
    layer = AdapterLayer(
        module=BLOCK,
        adapters=((config.name, (parameter,)),),
        base_parameters=(),
        **known,  # type: ignore[arg-type]
    )
    return trace(
        adapters=(config,),
        adapter_layers=(layer,),
        modules=with_module(BLOCK, adapter=0),
        **fields,
    )


def lora(**fields: object) -> AdapterConfig:
    known = {"name": "default", "type": "LORA", "inference_mode": False, "active": True, **fields}
    return AdapterConfig(**known)  # type: ignore[arg-type]


@pytest.mark.parametrize("code", step_rules())
def test_a_healthy_trace_has_no_finding(code: str) -> None:
    assert findings(code, trace(chain())) == []


def test_a_module_that_never_ran_is_a_note() -> None:
    idle = chain(unused=frozenset({BLOCK_WEIGHT}))
    found = only("GC102", trace(idle, modules=with_module(BLOCK, num_calls=0)))
    assert (found.severity, found.module, found.parameters) == ("note", "block", ("block.weight",))


def test_only_empty_tensors_reached_it_is_a_note() -> None:
    assert only("GC102", trace(chain(empty=frozenset({BLOCK_WEIGHT})))).severity == "note"


def test_a_disabled_adapter_is_no_unused_parameter() -> None:
    given = with_adapter(lora())
    layer = replace(given.adapter_layers[0], disabled=True)
    idle = chain(unused=frozenset({BLOCK_WEIGHT}))
    given = trace(idle, adapters=given.adapters, adapter_layers=(layer,), modules=given.modules)
    assert findings("GC102", given) == []
    assert only("GC502", given).module == "block"


def test_an_integer_weight_that_torch_refused() -> None:
    frames = (frame(), frame("model = get_peft_model(base, config)", 7))
    message = "only Tensors of floating point dtype can require gradients"
    given = trace(chain(), loss=None, frames=frames, failure=failure(message, user_frame=1))
    found = only("GC103", given)
    assert found.severity == "error"
    assert found.location is not None
    assert found.location.text == "model = get_peft_model(base, config)"
    assert findings("GC210", given) == []


def test_the_line_of_a_call_over_several_lines_is_the_one_that_names_it() -> None:
    statement = ((7, "model = get_peft_model("), (8, 'LoraConfig(modules_to_save=["x"])'))
    frames = (frame("model = get_peft_model(", 7, statement=statement),)
    message = "only Tensors of floating point dtype can require gradients"
    found = only("GC103", trace(chain(), loss=None, frames=frames, failure=failure(message)))
    assert found.location is not None
    assert found.location.line == 8


def test_quantized_layers_beside_a_trainable_layer_of_their_own_are_left_alone() -> None:
    modules = with_module(BLOCK, quantized="8bit", parameters=())
    leftovers = trace(chain(), modules=modules)
    assert findings("GC105", leftovers) == []  # block.weight is a matrix, read before the last one
    vectors = tuple(replace(p, shape=(8,)) for p in leftovers.parameters)
    assert only("GC105", trace(chain(), modules=modules, parameters=vectors)).module == "block"
    chosen = (replace(vectors[0], requires_grad=False), *vectors[1:])
    assert findings("GC105", trace(chain(), modules=modules, parameters=chosen)) == []


def test_parameters_that_became_trainable() -> None:
    given = with_parameter(BLOCK_WEIGHT, requires_grad=False, requires_grad_after=True)
    request = GradientRequest(
        on=True, parameter=BLOCK_WEIGHT, value=NONE, frame=2, user_frame=1, module=NONE
    )
    found = only("GC106", replace(given, gradient_requests=(request,)))
    assert (found.severity, found.module) == ("error", "block")
    assert found.location is not None
    assert found.location.line == 30


def test_parameters_that_became_frozen_are_a_warning() -> None:
    given = with_parameter(BLOCK_WEIGHT, requires_grad_after=False)
    assert only("GC106", given).severity == "warning"


@pytest.mark.parametrize(
    ("code", "cause"),
    [("GC202", "detach"), ("GC204", "left-torch"), ("GC206", "custom-function")],
)
def test_a_starving_break_is_an_error_and_a_partial_one_a_warning(code: str, cause: str) -> None:
    found = only(code, trace(chain(broken(cause))))
    assert (found.severity, found.module, found.num_elements) == ("error", "block", 64)
    partial = broken(cause, starved=frozenset(), partial=frozenset({BLOCK_WEIGHT}))
    assert only(code, trace(chain(partial))).severity == "warning"


@pytest.mark.parametrize("cause", ["non-differentiable", "zero-derivative"])
def test_a_partial_argmax_is_silent(cause: str) -> None:
    assert only("GC205", trace(chain(broken(cause)))).severity == "error"
    partial = broken(cause, starved=frozenset(), partial=frozenset({BLOCK_WEIGHT}))
    assert findings("GC205", trace(chain(partial))) == []


def test_autograd_that_was_off_before_the_step() -> None:
    off = Switch(kind="before-step", frame=NONE, module=NONE)
    found = only("GC203", trace(chain(broken("gradient-disabled", switch=0)), switches=(off,)))
    assert "before the step" in found.message
    assert found.module is None


def test_an_inference_tensor_names_the_line_that_entered_the_mode() -> None:
    mode = Switch(kind="inference_mode", frame=1, module=NONE)
    raised = failure("Inference tensors cannot be saved for backward.", frame=0)
    found = only("GC203", trace(chain(), loss=None, switches=(mode,), failure=raised))
    assert found.location is not None
    assert found.location.line == 30
    unseen = only("GC203", trace(chain(), loss=None, failure=raised))
    assert unseen.location is not None
    assert unseen.location.line == 12


def test_a_starved_activation_that_is_made_a_leaf() -> None:
    request = GradientRequest(
        on=True, parameter=NONE, value=HIDDEN, frame=1, user_frame=NONE, module=ROOT
    )
    starved = chain(starved=frozenset({BLOCK_WEIGHT}))
    parameters = list(trace().parameters)
    parameters[BLOCK_WEIGHT] = replace(parameters[BLOCK_WEIGHT], gradient="missing")
    given = trace(starved, parameters=tuple(parameters), gradient_requests=(request,))
    found = only("GC207", given)
    assert found.parameters == ("block.weight",)
    # a gradient that is there all the same, as with gradient caching, is nobody's fault
    assert findings("GC207", trace(starved, gradient_requests=(request,))) == []
    assert findings("GC207", trace(chain(), gradient_requests=(request,))) == []


def test_a_write_in_place_is_found_by_the_shape_in_the_message() -> None:
    from gradcheck.trace.events import Mutation

    writes = (
        Mutation(call=0, grad_fn="SigmoidBackward0", shape=(2, 8)),
        Mutation(call=1, grad_fn="AddBackward0", shape=(4,)),
    )
    message = (
        "one of the variables needed for gradient computation has been modified by an inplace "
        "operation: [torch.FloatTensor [2, 8]], which is output 0 of SigmoidBackward0"
    )
    given = trace(chain(), mutations=writes, failure=failure(message, stage="backward"))
    assert only("GC208", given).module == "block"


def test_prefix_tuning_under_checkpointing_gets_its_own_words() -> None:
    prefix = lora(type="PREFIX_TUNING", is_prompt=True)
    raised = failure("The size of tensor a (8) must match the size of tensor b (12)")
    given = trace(chain(), adapters=(prefix,), failure=raised, loss=None)
    assert "past_key_values" not in only("GC210", given).message
    given = replace(given, modules=with_module(BLOCK, checkpointing=True))
    judge_as(given, chain())
    found = only("GC210", given)
    assert "past_key_values" in found.message
    assert found.repairs


@pytest.mark.parametrize(
    "message",
    [
        "element 0 of tensors does not require grad and does not have a grad_fn",
        "Trying to backward through the graph a second time",
        "Attempting to unscale FP16 gradients.",
        "Recomputed values for the following tensors have different metadata than during the forward pass",
        "Expected to have finished reduction in the prior iteration",
        "a leaf Variable that requires grad is being used in an in-place operation.",
    ],
)
def test_what_another_rule_explains_is_not_repeated(message: str) -> None:
    given = trace(chain(), loss=None, failure=failure(message))
    assert findings("GC210", given) == []
    explained = [code for code in step_rules() if findings(code, given)]
    assert len(explained) == 1, explained


def test_an_exception_without_a_message() -> None:
    assert (
        "NotImplementedError"
        in only(
            "GC210", trace(chain(), loss=None, failure=failure("", type="NotImplementedError"))
        ).message
    )


def checkpoint(**fields: object) -> Region:
    known = {
        "kind": "checkpoint",
        "name": "CheckpointFunction",
        "parent": NONE,
        "ends": (0,),
        "frame": 0,
        "module": BLOCK,
        "arguments": (),
        **fields,
    }
    return Region(**known)  # type: ignore[arg-type]


def a_transformers_model() -> tuple[Module, ...]:
    root, *rest = trace().modules
    kind = "transformers.models.llama.modeling_llama.LlamaForCausalLM"
    return root._replace(type=kind, checkpointing=True), *rest


def test_the_advice_is_one_that_the_model_can_follow() -> None:
    """A model of the user's own has neither of transformers' two methods."""
    text = "h = checkpoint(self.block, h, use_reentrant=True)"
    given = trace(
        chain(broken("reentrant-checkpoint", region=0)),
        regions=(checkpoint(frame=1),),
        frames=(frame(), frame(text)),
    )
    hook, line = only("GC301", given).repairs
    assert hook.name == "hook-entries"
    assert line.snippet == "h = checkpoint(self.block, h, use_reentrant=False)"
    assert line.applicability == "display-only"


def test_a_checkpoint_without_a_live_input() -> None:
    dead = broken("reentrant-checkpoint", region=0, times=32)
    given = trace(chain(dead), regions=(checkpoint(),), modules=a_transformers_model())
    found = only("GC301", given)
    assert found.module == "block"
    assert "32 checkpointed calls" in found.message
    assert found.repairs[0].name == "enable-input-require-grads"
    assert findings("GC302", given) == []


def test_a_hidden_input_is_an_error_also_where_it_is_partial() -> None:
    partial = frozenset({BLOCK_WEIGHT})
    dead = broken("hidden-input", region=0, starved=frozenset(), partial=partial)
    statement = ((12, "h = layer("), (13, "hidden_state=h,"))
    frames = (frame("h = layer(", statement=statement),)
    given = trace(
        chain(dead), regions=(checkpoint(hidden=(("hidden_state", HIDDEN),)),), frames=frames
    )
    found = only("GC302", given)
    assert found.severity == "error"
    assert found.location is not None
    assert found.location.line == 13
    assert findings("GC301", given) == []


@pytest.mark.parametrize(
    ("version", "method"),
    [
        ("4.53.3", "gradient_checkpointing_enable"),
        ("5.2.0", "gradient_checkpointing_enable"),
        ("5.23.0", "activation_checkpointing_enable"),
    ],
)
def test_the_repair_is_spelled_as_the_installed_version_spells_it(
    version: str, method: str
) -> None:
    given = trace(
        chain(broken("reentrant-checkpoint", region=0)),
        regions=(checkpoint(),),
        modules=a_transformers_model(),
        environment=replace(trace().environment, versions=(("transformers", version),)),
    )
    assert any(method in repair.snippet for repair in only("GC301", given).repairs)


def test_a_hook_that_does_not_reach_the_checkpoint_is_a_warning() -> None:
    dead = chain(broken("reentrant-checkpoint", region=0))
    given = trace(dead, regions=(checkpoint(),), input_grad_hooks=1)
    assert only("GC508", given).severity == "warning"
    assert findings("GC508", trace(dead, regions=(checkpoint(),))) == []


def test_eval_mode_with_dropout_is_a_warning() -> None:
    modules = list(with_module(ROOT, training=False))
    modules[BLOCK] = modules[BLOCK]._replace(dropout=True, training=False)
    found = only("GC303", trace(chain(), modules=tuple(modules)))
    assert (found.severity, found.module) == ("warning", "")


def test_a_frozen_tower_in_eval_mode_is_silent() -> None:
    given = with_parameter(BLOCK_WEIGHT, requires_grad=False, requires_grad_after=False)
    modules = with_module(BLOCK, checkpointing=True, training=False)
    assert findings("GC303", replace(given, modules=modules)) == []
    assert only("GC303", trace(chain(), modules=modules)).module == "block"


@pytest.mark.parametrize("reason", ["waiting", "empty", "scaled_to_zero", "starved"])
def test_a_zero_gradient_with_a_reason_is_silent(reason: str) -> None:
    given = with_parameter(BLOCK_WEIGHT, gradient="zero", grad_norm=0.0)
    judge_as(given, chain())
    assert only("GC403", given).module == "block"
    explained = {BLOCK_WEIGHT: HEAD_WEIGHT} if reason == "waiting" else frozenset({BLOCK_WEIGHT})
    judge_as(given, chain(**{reason: explained}))
    assert findings("GC403", given) == []


def test_a_bfloat16_parameter_that_cannot_move() -> None:
    stuck = with_parameter(BLOCK_WEIGHT, dtype="bfloat16", immovable_ratio=1.0)
    found = only("GC404", stuck)
    assert found.severity == "warning"
    assert "assumed" in found.message
    adapted = with_adapter(lora(), parameters=stuck.parameters)
    assert only("GC404", adapted).severity == "error"
    moving = with_parameter(BLOCK_WEIGHT, dtype="bfloat16", immovable_ratio=0.9)
    assert findings("GC404", moving) == []


@pytest.mark.parametrize(("code", "inference"), [("GC501", True), ("GC507", False)])
def test_a_frozen_adapter_under_a_head_that_trains(code: str, inference: bool) -> None:
    frozen = {"requires_grad": False, "requires_grad_after": False}
    alone = with_parameter(EMBED_WEIGHT, BLOCK_WEIGHT, HEAD_WEIGHT, **frozen)
    config = lora(inference_mode=inference)
    assert only(code, with_adapter(config, parameters=alone.parameters)).severity == "error"
    head = with_parameter(EMBED_WEIGHT, BLOCK_WEIGHT, **frozen)
    given = with_adapter(config, parameters=head.parameters)
    given = replace(given, modules=(*given.modules, given.modules[0]._replace(quantized="8bit")))
    assert only(code, given).severity == "warning"


def test_a_frozen_adapter_beside_one_that_trains_is_silent() -> None:
    frozen = {"requires_grad": False, "requires_grad_after": False}
    given = with_adapter(
        lora(inference_mode=True), parameters=with_parameter(BLOCK_WEIGHT, **frozen).parameters
    )
    second = replace(given.adapter_layers[0], adapters=(("second", (HEAD_WEIGHT,)),))
    given = replace(given, adapter_layers=(*given.adapter_layers, second))
    assert findings("GC501", given) == []


def test_a_name_that_matches_nothing_is_a_warning() -> None:
    assert only("GC506", with_adapter(lora(unmatched=("w_pack",)))).severity == "warning"
    fused = lora(unmatched=("gate_proj",), unmatched_parameters=(HEAD_WEIGHT,))
    found = only("GC506", with_adapter(fused))
    assert (found.severity, found.module) == ("error", "head")


def test_foreign_parameters_alone_are_a_warning() -> None:
    optimizer = Optimizer(type="AdamW", learning_rates=(1e-3,), parameters=(0, 1, 2), num_foreign=1)
    assert only("GC602", trace(chain(), optimizer=optimizer)).severity == "warning"
    stale = replace(optimizer, parameters=(0, 1))
    found = only("GC602", trace(chain(), optimizer=stale))
    assert (found.severity, found.module) == ("error", "head")


def test_ddp_counts_the_unused_parameters_in_its_message() -> None:
    message = (
        "Expected to have finished reduction in the prior iteration before starting a new one. "
        "Parameter indices which did not receive grad for rank 0: 1 2 In addition, you can set"
    )
    given = trace(chain(), loss=None, failure=failure(message))
    assert only("GC603", given).parameters == ("block.weight", "head.weight")


def test_ddp_that_expects_unused_parameters_is_silent() -> None:
    idle = chain(unused=frozenset({BLOCK_WEIGHT}))
    wrapper = (Wrapper(type="torch.nn.parallel.distributed.DistributedDataParallel", frame=0),)
    plain = (frame("ddp = DistributedDataParallel(model)"),)
    assert only("GC603", trace(idle, wrappers=wrapper, frames=plain)).module == "block"
    tolerant = (frame("ddp = DistributedDataParallel(model, find_unused_parameters=True)"),)
    assert findings("GC603", trace(idle, wrappers=wrapper, frames=tolerant)) == []


def test_one_label_that_counts_is_enough() -> None:
    ignored = Labels(call=1, num_labels=6, num_ignored=6, num_classes=16, num_out_of_range=0)
    assert only("GC701", trace(chain(), labels=(ignored,))).severity == "error"
    some = replace(ignored, num_ignored=5)
    assert findings("GC701", trace(chain(), labels=(ignored, some))) == []


def test_a_loss_of_another_model() -> None:
    everything = frozenset({EMBED_WEIGHT, BLOCK_WEIGHT, HEAD_WEIGHT})
    constant = Loss(
        value=LOSS, number=1.0, requires_grad=False, is_leaf=True, is_tensor=True, frame=0
    )
    given = trace(chain(unused=everything), loss=constant)
    assert len(only("GC702", given).parameters) == 3
    assert findings("GC201", given) == []
    assert findings("GC102", given) == []


def test_a_loss_without_a_graph_is_reported_only_where_no_break_explains_it() -> None:
    dead = Loss(value=LOSS, number=1.0, requires_grad=False, is_leaf=True, is_tensor=True, frame=0)
    assert only("GC201", trace(chain(), loss=dead)).severity == "error"
    assert findings("GC201", trace(chain(broken("detach")), loss=dead)) == []


def test_an_old_graph_is_named_by_the_call_that_reads_it() -> None:
    values = (*trace().values[:HIDDEN], value(), trace().values[LOSS])
    raised = failure("Trying to backward through the graph a second time", stage="backward")
    found = only("GC209", trace(chain(), values=values, failure=raised))
    assert found.location is not None
    assert found.location.line == 12


@pytest.mark.parametrize(
    ("fate", "words"),
    [
        ("hung", "did not end"),
        ("crashed", "took its process down"),
        ("exited", "ended its process"),
    ],
)
def test_a_step_that_did_not_finish_is_told_by_one_rule_alone(fate: str, words: str) -> None:
    frames = (frame("x = wait()", 3), frame("model.step()", 9))
    ended = failure("after 5 s", fate=fate, stage="backward", user_frame=1)
    given = trace(chain(), loss=None, frames=frames, failure=ended)
    found = only("GC211", given)
    assert found.message.startswith(f"The backward pass {words} (after 5 s) in block")
    assert found.location is not None
    assert found.location.text == "x = wait()"
    assert dict(found.evidence)["called from"].endswith(":9")
    assert [code for code in step_rules() if findings(code, given)] == ["GC211"]


def test_a_message_that_another_rule_knows_does_not_explain_a_death() -> None:
    ended = failure("backward through the graph a second time", fate="crashed")
    assert findings("GC209", trace(chain(), loss=None, failure=ended)) == []
