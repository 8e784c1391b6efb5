"""The Reports that all formats are tested with, made by hand."""

from collections.abc import Iterator

from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.reports.report import Break, Link, ParameterRecord, Report, SkippedRule
from gradcheck.trace.model import Environment, GradientState

ENVIRONMENT = Environment(
    versions=(
        ("torch", "2.13.0"),
        ("transformers", "5.23.0"),
        ("peft", "0.21.2"),
        ("bitsandbytes", "0.50.2"),
        ("accelerate", "1.15.0"),
    ),
    python="3.11.7",
    platform="Linux x86_64",
    device="cpu",
)
SETUP = (
    ("target", "models/smollm2"),
    ("quant", "4bit nf4, double quantization"),
    ("compute dtype", "bfloat16"),
    ("adapter", "new LoRA, rank 16 on all-linear"),
    ("checkpointing", "reentrant"),
    ("input grads", "off"),
    ("batch", "1 × 64 tokens, synthetic"),
    ("seed", "0"),
)
LLAMA = "/venv/lib/python3.11/site-packages/transformers/models/llama/modeling_llama.py"
SKIPPED = (
    SkippedRule(code="GC601", rule="trainable-parameter-not-in-optimizer", reason="no optimizer"),
    SkippedRule(code="GC602", rule="optimizer-holds-stale-parameter", reason="no optimizer"),
)

HIDDEN, KEYS, MIDDLE, VOCABULARY, LAYERS, RANK = 576, 192, 1536, 49152, 30, 16
PROJECTIONS = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (KEYS, HIDDEN),
    "self_attn.v_proj": (KEYS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (MIDDLE, HIDDEN),
    "mlp.up_proj": (MIDDLE, HIDDEN),
    "mlp.down_proj": (HIDDEN, MIDDLE),
}
"""SmolLM2-135M's linear layers: (out, in)."""


def parameter(
    fqn: str,
    shape: tuple[int, ...],
    group: str,
    gradient: GradientState = "frozen",
    grad_norm: float | None = None,
    *,
    dtype: str = "bfloat16",
    explanation: str = "",
) -> ParameterRecord:
    size = 1
    for extent in shape:
        size *= extent
    return ParameterRecord(
        fqn=fqn,
        shape=shape,
        dtype=dtype,
        num_elements=size,
        requires_grad=gradient != "frozen",
        gradient=gradient,
        grad_norm=grad_norm,
        group=group,
        explanation=explanation,
    )


def layer(index: int, a: GradientState, b: GradientState, waits: bool) -> Iterator[ParameterRecord]:
    """The parameters of one decoder layer with LoRA on its seven linear layers."""
    for position, (name, (outputs, inputs)) in enumerate(PROJECTIONS.items()):
        short, stem = name.split(".")[1], f"base_model.model.model.layers.{index}.{name}"
        group = f"{short} layers.0-{LAYERS - 1}"
        size = 0.01 * (1 + position) / (1 + index)
        yield parameter(
            f"{stem}.base_layer.weight", (outputs, inputs), f"base {group}", dtype="uint8"
        )
        yield parameter(
            f"{stem}.lora_A.default.weight",
            (RANK, inputs),
            f"lora_A {group}",
            a,
            {"zero": 0.0, "flows": size / 3}.get(a),
            dtype="float32",
            explanation="waits for lora_B" if waits else "",
        )
        norm_b = size if b == "flows" else None
        lora_b = f"{stem}.lora_B.default.weight"
        yield parameter(lora_b, (outputs, RANK), f"lora_B {group}", b, norm_b, dtype="float32")
    for name in ("input_layernorm", "post_attention_layernorm"):
        fqn = f"base_model.model.model.layers.{index}.{name}.weight"
        yield parameter(fqn, (HIDDEN,), "base layernorm")


def smollm2(
    a: GradientState, b: GradientState, *, waits: bool = False
) -> tuple[ParameterRecord, ...]:
    """SmolLM2-135M with rank 16 on all linear layers: 420 trainable tensors, 4,884,480 elements."""
    embedding = parameter(
        "base_model.model.model.embed_tokens.weight", (VOCABULARY, HIDDEN), "base embed_tokens"
    )
    layers = [record for index in range(LAYERS) for record in layer(index, a, b, waits)]
    final = parameter("base_model.model.model.norm.weight", (HIDDEN,), "base norm")
    return (embedding, *layers, final)


def chain(state: str, reached: int, *, cut: bool = False) -> tuple[Link, ...]:
    stem = "base_model.model.model"
    frozen = {"count": 1, "trainable": 0, "reached": 0, "state": "frozen"}
    return (
        Link(name=f"{stem}.embed_tokens", type="Embedding", **frozen),
        Link(
            name=f"{stem}.layers.0-29",
            type="LlamaDecoderLayer",
            count=30,
            trainable=420,
            reached=reached,
            state=state,
            cut=cut,
        ),
        Link(name=f"{stem}.norm", type="LlamaRMSNorm", **frozen),
        Link(name="base_model.model.lm_head", type="Linear", **frozen),
    )


LAYER_CALL = Location(file=LLAMA, line=412, text="hidden_states = decoder_layer(")


def classic() -> Report:
    """Reentrant checkpointing whose inputs need no gradient: nothing learns."""
    parameters = smollm2("missing", "missing")
    starved = tuple(p.fqn for p in parameters if p.requires_grad)
    finding = Finding(
        code="GC301",
        rule="reentrant-checkpoint-without-grad-input",
        severity="error",
        message=(
            "30 checkpointed layers, base_model.model.model.layers.0–29, are run by reentrant checkpointing with no "
            "tensor argument that requires grad, so torch.utils.checkpoint builds no graph for them and none of the "
            "420 trainable tensors inside gets a gradient. Call model.enable_input_require_grads() before training, "
            "or use non-reentrant checkpointing."
        ),
        module="base_model.model.model.layers.0",
        location=LAYER_CALL,
        parameters=starved,
        num_elements=4_884_480,
        evidence=(
            ("tensor", "hidden_states bf16[1, 64, 576]"),
            ("made by", "torch.nn.functional.embedding in base_model.model.model.embed_tokens"),
            ("checkpointed regions", "30, none with an argument that requires grad"),
        ),
        repairs=(
            Repair(
                name="enable-input-require-grads",
                summary="makes the embedding's output require grad, so that every region has a gradient to hand on",
                snippet="model.enable_input_require_grads()",
                applicability="safe",
            ),
            Repair(
                name="non-reentrant-checkpointing",
                summary="checkpointing that needs no such input",
                snippet='model.gradient_checkpointing_enable({"use_reentrant": False})',
                applicability="unsafe",
            ),
        ),
    )
    cut = Break(
        cause="reentrant-checkpoint",
        module="base_model.model.model.layers.0",
        location=LAYER_CALL,
        tensor="bf16[1, 64, 576]",
        made_by="torch.nn.functional.embedding",
        operation="CheckpointFunction",
        starved=starved,
        partial=(),
        times=30,
    )
    return Report(
        findings=(finding,),
        parameters=parameters,
        breaks=(cut,),
        skipped=SKIPPED,
        environment=ENVIRONMENT,
        setup=SETUP,
        chain=chain("starved", 0, cut=True),
        loss=3.41281,
    )


def healthy() -> Report:
    """A fresh LoRA that learns: lora_A's gradient is zero while lora_B is."""
    return Report(
        findings=(),
        parameters=smollm2("zero", "flows", waits=True),
        breaks=(),
        skipped=SKIPPED,
        environment=ENVIRONMENT,
        setup=(*SETUP[:5], ("input grads", "on"), *SETUP[6:]),
        chain=chain("live", 420),
        loss=3.41281,
    )


def partial() -> Report:
    """The MLP's output is detached in one layer: everything gets a gradient, and some of it the wrong one."""
    parameters = smollm2("flows", "flows")
    affected = tuple(p.fqn for p in parameters if p.requires_grad and ".layers.1" in p.fqn)[:40]
    location = Location(
        file="train/model.py", line=88, text="return residual + self.mlp(x).detach()"
    )
    cut = Break(
        cause="detach",
        module="base_model.model.model.layers.12.mlp",
        location=location,
        tensor="bf16[1, 64, 576]",
        made_by="torch.nn.functional.linear",
        operation="Tensor.detach",
        starved=(),
        partial=affected,
    )
    finding = Finding(
        code="GC202",
        rule="detached-tensor",
        severity="error",
        message=(
            "The output of base_model.model.model.layers.12.mlp is detached before it is added to the residual stream: "
            "40 trainable tensors lose one of their two paths to the loss and get an incomplete gradient, which "
            "nothing in the loss curve shows. Take the detach() out."
        ),
        module=cut.module,
        location=location,
        parameters=affected,
        num_elements=488_448,
    )
    note = Finding(
        code="GC404",
        rule="half-precision-trainable-parameter",
        severity="note",
        message="2 trainable tensors are kept in bf16.",
        module="base_model.model.lm_head",
    )
    name = "base_model.model.model.layers"
    middle = {"type": "LlamaDecoderLayer", "count": 1}
    links = (
        chain("live", 420)[0],
        Link(
            name=f"{name}.0-11",
            type="LlamaDecoderLayer",
            count=12,
            trainable=168,
            reached=168,
            state="partial",
        ),
        Link(name=f"{name}.12", **middle, trainable=14, reached=14, state="partial", cut=True),
        Link(
            name=f"{name}.13-29",
            type="LlamaDecoderLayer",
            count=17,
            trainable=238,
            reached=238,
            state="live",
        ),
        *chain("live", 420)[2:],
    )
    return Report(
        findings=(note, finding),
        parameters=parameters,
        breaks=(cut,),
        skipped=(),
        environment=ENVIRONMENT,
        setup=SETUP,
        chain=links,
        loss=2.9,
    )


def failure() -> Report:
    """The backward pass raised."""
    finding = Finding(
        code="GC208",
        rule="in-place-modification",
        severity="error",
        message=(
            "torch raised in backward: one of the variables needed for gradient computation has been modified by an "
            "inplace operation. The tensor made by MatMul8bitLt at layers.3.mlp.gate_proj was multiplied in place "
            "after autograd had saved it. Write x = x * scale instead of x.mul_(scale)."
        ),
        module="model.layers.3.mlp",
        location=Location(file="/home/ada/project/scaling.py", line=31, text="x.mul_(scale)"),
        evidence=(("tensor", "x fp16[2, 128, 1536]"), ("grad_fn", "MatMul8bitLtBackward")),
    )
    records = [
        parameter(f"model.layers.{i}.mlp.gate_proj.lora_{ab}.weight", (16, 64), f"lora_{ab} gate_proj layers.0-3",
                  "missing", dtype="float16")
        for i in range(4) for ab in "AB"
    ]  # fmt: skip
    return Report(
        findings=(finding,),
        parameters=tuple(records),
        breaks=(),
        skipped=(SkippedRule(code="GC402", rule="non-finite-gradient", reason="backward raised"),),
        environment=ENVIRONMENT,
        loss=1.5,
        notes=(
            "RuntimeError in backward: one of the variables needed for gradient computation ...",
        ),
    )


def no_adapters() -> Report:
    """A quantized model without adapters: nothing can learn."""
    frozen = tuple(
        parameter(p.fqn, p.shape, p.group, dtype=p.dtype)
        for p in smollm2("missing", "missing")
        if not p.requires_grad
    )
    finding = Finding(
        code="GC101",
        rule="no-trainable-parameter",
        severity="error",
        message="No parameter requires grad: there is nothing to train. Attach an adapter with get_peft_model().",
        repairs=(
            Repair(
                name="attach-adapter",
                summary="a new LoRA on all linear layers",
                snippet='config = LoraConfig(target_modules="all-linear")\n'
                "model = get_peft_model(model, config)",
            ),
        ),
    )
    return Report(
        findings=(finding,),
        parameters=frozen,
        breaks=(),
        skipped=(),
        environment=ENVIRONMENT,
        chain=chain("frozen", 0),
        loss=3.4,
    )


def many_findings() -> Report:
    """More than anybody reads: 60 findings, 90 links, 200 groups, 30 notes, and one endless message."""
    findings = tuple(
        Finding(
            code=f"GC{200 + i % 9}",
            rule="detached-tensor",
            severity=("error", "warning", "note")[i % 3],
            message=f"Finding {i}. " + "This message does not end. " * 400,
            module=f"model.blocks.{i}.attention.output.projection.very.deep.inside.something",
            location=Location(
                file=f"/srv/{'deep/' * 30}model.py", line=i + 1, text="x = x.detach()  " + "#" * 500
            ),
            parameters=tuple(f"model.blocks.{i}.weight.{n}" for n in range(50)),
            num_elements=50_000,
            evidence=tuple((f"label {n}", "value " * 100) for n in range(20)),
        )
        for i in range(60)
    )
    records = tuple(
        parameter(
            f"p{i}", (10, 10), f"kind_{i} layers.{i}", "missing" if i % 5 == 0 else "flows", 0.1
        )
        for i in range(200)
    )
    links = tuple(
        Link(
            name=f"model.blocks.{i}",
            type="Block",
            count=1,
            trainable=2,
            reached=1,
            state="partial",
            cut=i == 47,
        )
        for i in range(90)
    )
    return Report(
        findings=findings,
        parameters=records,
        breaks=(),
        skipped=tuple(
            SkippedRule(code=f"GC{n}", rule="x", reason=f"reason {n % 3}") for n in range(601, 620)
        ),
        environment=ENVIRONMENT,
        chain=links,
        notes=tuple(f"note {i}" for i in range(30)),
    )


HOSTILE = (
    "\x1b[31mred\x1b[0m \x1b]8;;http://evil\x07link\x1b]8;;\x07 [bold]x[/bold] [/] "
    "<script>alert(1)</script> &amp; \u202egnp\x00\x07\r\n\tend"
)
"""ANSI escapes, a terminal hyperlink, rich markup, HTML, a right-to-left override, control characters."""


def hostile() -> Report:
    """Everything that comes from the model or the user tries to be more than text."""
    finding = Finding(
        code="GC202",
        rule="detached-tensor",
        severity="error",
        message=HOSTILE,
        module=HOSTILE,
        location=Location(file=HOSTILE, line=1, text=HOSTILE),
        parameters=(HOSTILE,),
        num_elements=1,
        evidence=(("tensor", HOSTILE), ("made by", HOSTILE), (HOSTILE, HOSTILE)),
        repairs=(Repair(name="r", summary=HOSTILE, snippet=HOSTILE),),
    )
    warning = Finding(
        code="GC203",
        rule="gradient-disabled-region",
        severity="warning",
        message=HOSTILE,
        module=HOSTILE,
    )
    note = Finding(
        code="GC404",
        rule="half-precision-trainable-parameter",
        severity="note",
        message=HOSTILE,
        module=HOSTILE,
    )
    return Report(
        findings=(finding, warning, note),
        parameters=(
            parameter(HOSTILE, (1,), HOSTILE, "zero", dtype=HOSTILE, explanation=HOSTILE),
            parameter("plain", (1,), "plain", "frozen"),
        ),
        breaks=(
            Break(cause="detach", module=HOSTILE, location=None, tensor=HOSTILE, made_by=HOSTILE, operation=HOSTILE,
                  starved=(HOSTILE,), partial=()),
        ),
        skipped=(SkippedRule(code="GC601", rule="x", reason=HOSTILE),),
        environment=ENVIRONMENT,
        setup=((HOSTILE, HOSTILE),),
        chain=(
            Link(name=HOSTILE, type=HOSTILE, count=2, trainable=1, reached=0, state="starved", cut=True),
            Link(name="head", type="Linear", count=1, trainable=0, reached=0, state="frozen"),
        ),
        loss=float("nan"),
        notes=(HOSTILE,),
    )  # fmt: skip


REPORTS = {
    "classic": classic,
    "healthy": healthy,
    "partial": partial,
    "failure": failure,
    "no_adapters": no_adapters,
    "many_findings": many_findings,
    "hostile": hostile,
}
"""Every Report by name; a function, because a test may change what it got."""
