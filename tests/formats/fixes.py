"""The FixReports that all formats are tested with, made by hand."""

import dataclasses

from gradcheck.core.location import Location
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.reports.outcome import FixReport, NotTried, Outcome, Rejected, Verified
from gradcheck.reports.report import ParameterRecord, Report
from tests.formats import reports
from tests.formats.reports import HOSTILE, parameter

ENABLE = Repair(
    name="enable-input-require-grads",
    summary="Let the output of every input embedding require a gradient, so that checkpointing sees one.",
    snippet="model.enable_input_require_grads()",
    applicability="safe",
)
HOOK = Repair(
    name="hook-entries",
    summary="Let the outputs of the modules before the checkpoints require a gradient, by a forward hook.",
    snippet="def require_grad(module, args, output):\n"
    "    return output.requires_grad_(True).clone()\n"
    "model.get_submodule('vision.patch').register_forward_hook(require_grad)",
    applicability="safe",
)
NON_REENTRANT = Repair(
    name="use-non-reentrant-checkpointing",
    summary="Checkpoint with use_reentrant=False, which needs no input that requires a gradient.",
    snippet='model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})',
    applicability="safe",
)
OFF = Repair(
    name="checkpointing-off",
    summary="Switch gradient checkpointing off: all activations are kept, which takes memory.",
    snippet="model.gradient_checkpointing_disable()",
    applicability="unsafe",
)
ATTACH = Repair(
    name="attach-adapter",
    summary="Attach an adapter: only its parameters train.",
    snippet='model = get_peft_model(prepare_model_for_kbit_training(model), LoraConfig(target_modules="all-linear"))',
    applicability="unsafe",
)
KEEP = Repair(
    name="keep-attached",
    summary="Use the tensor itself; clone() gives a copy that stays in the graph.",
    snippet="x = x.clone()   # instead of x.detach(), x.data, torch.tensor(x)",
)
NEEDLESS = "the step is healthy without it"


def verified(repair: Repair, reason: str, code: str = "GC301") -> Verified:
    return Verified(code=code, repair=repair, reason=reason, edits=())


def rejected(repair: Repair, reason: str, code: str = "GC301") -> Rejected:
    return Rejected(code=code, repair=repair, reason=reason)


def not_tried(repair: Repair, reason: str = NEEDLESS, code: str = "GC301") -> NotTried:
    return NotTried(code=code, repair=repair, reason=reason)


def repaired() -> FixReport:
    """The classic bug, cured by the first repair."""
    gained = "cures GC301; 420 of 420 trainable tensors with a gradient, before 0 of 420; loss 3.41281 as before"
    return FixReport(
        before=reports.classic(),
        after=dataclasses.replace(reports.healthy(), setup=reports.SETUP),
        outcomes=(verified(ENABLE, gained), *map(not_tried, (NON_REENTRANT, HOOK, OFF))),
    )


def two_repairs() -> FixReport:
    """One is rejected, one helps in half of the layers, and another one in the rest."""
    before = reports.classic()
    return FixReport(
        before=before,
        after=reports.healthy(),
        outcomes=(
            rejected(
                NON_REENTRANT,
                "with it the backward raises CheckpointError: A different number of tensors was saved during the "
                "original forward and recomputation.",
            ),
            verified(ENABLE, "210 of 420 trainable tensors with a gradient, before 0 of 420; loss 3.41281 as before"),
            verified(HOOK, "cures GC301; 420 of 420 trainable tensors with a gradient, before 210 of 420"),
            not_tried(OFF),
        ),
    )  # fmt: skip


def improved() -> FixReport:
    """The checkpoints are cured, and a detach in one layer is not."""
    left = reports.partial()
    detached = left.findings[1]
    before = reports.classic()
    return FixReport(
        before=dataclasses.replace(before, findings=(*before.findings, detached)),
        after=dataclasses.replace(left, findings=(dataclasses.replace(detached, repairs=(KEEP,)),)),
        outcomes=(
            verified(ENABLE, "cures GC301; 420 of 420 trainable tensors with a gradient, before 0 of 420"),
            not_tried(KEEP, "only the source can be changed: train/model.py:88", "GC202"),
        ),
    )  # fmt: skip


def source_only() -> FixReport:
    """A detach that only its author can take out."""
    location = Location(
        file="train/model.py", line=88, text="h = torch.tanh(self.block(h)).detach()"
    )
    finding = Finding(
        code="GC202",
        rule="detached-tensor",
        severity="error",
        message="A tensor is detached in block and goes on to the loss. The copy has no history.",
        module="block",
        location=location,
        parameters=("embed.weight", "block.weight"),
        num_elements=192,
        repairs=(KEEP,),
    )
    records = (
        parameter("embed.weight", (16, 8), "weight embed", "missing"),
        parameter("block.weight", (8, 8), "weight block", "missing"),
        parameter("head.weight", (8, 16), "weight head", "flows", 0.47),
    )
    report = Report(
        findings=(finding,),
        parameters=records,
        breaks=(),
        skipped=reports.SKIPPED,
        environment=reports.ENVIRONMENT,
        loss=2.81,
    )
    why = "only the source can be changed: train/model.py:88"
    return FixReport(before=report, after=report, outcomes=(not_tried(KEEP, why, "GC202"),))


def healthy() -> FixReport:
    """There was nothing to repair."""
    return FixReport(before=reports.healthy(), after=reports.healthy(), outcomes=())


def unsafe() -> FixReport:
    """A new adapter: parameters that were not there, and a warning that stays."""
    warning = Finding(
        code="GC404",
        rule="half-precision-trainable-parameter",
        severity="warning",
        message="420 trainable tensors are kept in bf16, where a small step is rounded away.",
    )
    return FixReport(
        before=reports.no_adapters(),
        after=dataclasses.replace(reports.healthy(), findings=(warning,)),
        outcomes=(
            verified(ATTACH, "cures GC101; 420 of 420 trainable tensors with a gradient, before 0 of 0", "GC101"),
        ),
    )  # fmt: skip


def large() -> FixReport:
    """As many parameters as a model of 405 billion has, and more repairs than anybody reads."""
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def records(state: str) -> tuple[ParameterRecord, ...]:
        return tuple(
            parameter(
                f"base_model.model.model.layers.{layer}.{name}.{kind}.default.weight",
                (16, 16384),
                f"{kind} {name} layers.{layer // 3 * 3}-{layer // 3 * 3 + 2}",
                "flows" if state == "flows" or layer % 9 == 0 else "missing",
                0.01 * (layer + 1) if state == "flows" or layer % 9 == 0 else None,
                dtype="bfloat16" if state == "flows" and layer % 2 else "float32",
            )
            for layer in range(126)
            for name in names
            for kind in ("lora_A", "lora_B")
        )

    outcomes: list[Outcome] = [
        rejected(
            dataclasses.replace(HOOK, name=f"hook-{i}"), "why " * 400 + str(i), f"GC{200 + i % 7}"
        )
        for i in range(30)
    ]
    outcomes += [
        verified(dataclasses.replace(HOOK, name=f"anchor-{i}"), f"better by {i}") for i in range(5)
    ]
    outcomes += [
        not_tried(dataclasses.replace(OFF, name=f"off-{i}"), f"reason {i % 9}") for i in range(40)
    ]
    return FixReport(
        before=dataclasses.replace(reports.many_findings(), parameters=records("missing")),
        after=dataclasses.replace(reports.many_findings(), parameters=records("flows")),
        outcomes=tuple(outcomes),
    )


def hostile() -> FixReport:
    """Everything that comes from the model or the user tries to be more than text."""
    repair = Repair(name=HOSTILE, summary=HOSTILE, snippet=HOSTILE, applicability="unsafe")
    after = reports.hostile()
    changed = dataclasses.replace(after.parameters[0], gradient="missing", dtype="float16")
    return FixReport(
        before=dataclasses.replace(after, parameters=(changed, after.parameters[1])),
        after=after,
        outcomes=(
            verified(repair, HOSTILE, HOSTILE),
            rejected(repair, HOSTILE, HOSTILE),
            not_tried(repair, HOSTILE, HOSTILE),
        ),
    )


FIXES = {
    "repaired": repaired,
    "two_repairs": two_repairs,
    "improved": improved,
    "source_only": source_only,
    "healthy": healthy,
    "unsafe": unsafe,
    "large": large,
    "hostile": hostile,
}
"""Every FixReport by name."""
