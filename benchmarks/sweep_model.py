"""One architecture of the sweep: what gradcheck says of each of its set-ups, next to what plain torch says."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, cast

import bitsandbytes
import numpy
import torch

import gradcheck
from benchmarks.default_models import default_config, fitting_part, twin
from gradcheck.core.target import Checkpointing, Quantization, Target
from gradcheck.loading import load
from gradcheck.loading.adapters import attach
from gradcheck.loading.architectures import Architecture
from gradcheck.loading.batches.tasks import synthetic_batch
from gradcheck.loading.preparation import freeze, set_up_checkpointing
from gradcheck.loading.quantization import bitsandbytes_config
from gradcheck.loading.twins.twin import twin_config
from gradcheck.pipeline import inspect_subject
from gradcheck.reports.report import Report
from gradcheck.settings import Settings

QUANTIZATIONS = ("none", "8bit", "4bit")
CHECKPOINTING = ("off", "reentrant", "non-reentrant")
LORA_RANK = 4
LORA_B_SCALE = 0.1
"""LoRA's B starts at zero, and A then gets zero gradients; here it does not, so that a zero means something."""
SEQ_LEN = 32
CHANGE_WEIGHTS = {"keep-unquantized"}
"""Repairs after which the weights are others than the reference's, and with them the gradients."""
VALUE_TOLERANCE = 1e-3
"""Largest distance of a gradient from the reference's, relative to the norm of that gradient."""
NORM_FLOOR = 1e-5
"""And relative to the norm of all gradients: what is smaller than that is rounding."""


@dataclass(kw_only=True)
class Row:
    """What came of one set-up."""

    model_type: str
    task: str
    model_class: str
    quantization: str
    checkpointing: str
    outcome: str = ""
    """"agrees", "disagrees", "crashed" (gradcheck raised what it should not) or "could not run"."""
    reason: str = ""
    plain: str = ""
    """"healthy", "starved", "raised" or "wrong values": what torch alone says of the set-up."""
    num_trainable: int = 0
    num_starved: int = 0
    num_zero: int = 0
    num_unreachable: int = 0
    """Starved without checkpointing as well."""
    codes: list[str] = field(default_factory=list)
    weightless: str = ""
    """"same": the verdict without weights is that of the real model; "same, of a twin" where code looks at values."""
    fix: str = ""
    """"reaches all", "reaches less", "wrong values", "raised", or empty where there was nothing to fix."""
    repairs: list[str] = field(default_factory=list)
    num_reached_by_fix: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One forward and one backward by plain torch."""

    gradients: dict[str, torch.Tensor | None]
    """Of the trainable parameters."""
    raised: str = ""

    @property
    def zero(self) -> set[str]:
        """The trainable parameters whose gradient is there and zero."""
        return {
            name
            for name, gradient in self.gradients.items()
            if gradient is not None and not gradient.any()
        }

    @property
    def starved(self) -> set[str]:
        """The trainable parameters that got none."""
        return {name for name, gradient in self.gradients.items() if gradient is None}


def rows(
    architecture: Architecture, quantizations: tuple[str, ...], checkpointing: tuple[str, ...]
) -> Iterator[Row]:
    """A row for each set-up of ``architecture``."""
    for quantization in quantizations:
        reference: Step | None = None
        for kind in ("off", *(kind for kind in checkpointing if kind != "off")):
            row = Row(
                model_type=architecture.model_type,
                task=architecture.task,
                model_class=architecture.model_class,
                quantization=quantization,
                checkpointing=kind,
            )
            reference = _filled(row, architecture, reference)
            yield row
            if kind == "off" and row.outcome == "could not run":
                break


def _filled(row: Row, architecture: Architecture, reference: Step | None) -> Step | None:
    """Fills ``row``; gives the checkpoint-free reference."""
    try:
        model, batch = setup(architecture, row.quantization, row.checkpointing)
    except Exception as error:  # whatever keeps a model from being set up is the row's reason
        row.outcome, row.reason = "could not run", f"setting up: {_text(error)}"
        return reference
    step = plain_step(model, batch)
    if row.checkpointing == "off":
        reference = step
    assert reference is not None
    row.num_trainable, row.num_starved = len(step.gradients), len(step.starved)
    row.num_zero, row.num_unreachable = len(step.zero), len(reference.starved)
    row.plain = _plain(step, reference)
    _judge(row, architecture, model, batch, step, reference)
    lost = step.starved - reference.starved
    if row.outcome != "crashed" and (lost or row.plain in ("raised", "wrong values")):
        _repair(row, model, batch, reference)
    return reference


def setup(
    architecture: Architecture, quantization: str, checkpointing: str
) -> tuple[Any, dict[str, Any]]:
    """The twin, quantized, with a LoRA on all linear layers, and its batch."""
    base = twin(
        default_config(architecture), architecture.task, model_class=architecture.model_class
    )
    batch = synthetic_batch(base, architecture.task, seq_len=SEQ_LEN)
    if quantization != "none":
        base = _quantized(base, quantization)
    target = _target(architecture.model_type, quantization, checkpointing)
    torch.manual_seed(0)
    freeze(base)
    model, _ = attach(base, target)
    set_up_checkpointing(base, target)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name or "lora_embedding_B" in name:
                parameter.normal_(std=LORA_B_SCALE)
    with torch.no_grad(), suppress(Exception):  # what it raises, the step raises again
        model.train()(**batch)  # some models settle at their first forward: big_bird by its length
    return model.train(), batch


def _target(name: str, quantization: str, checkpointing: str) -> Target:
    return Target(
        name=name,
        quant=cast(Quantization, quantization),
        weights="skip",
        dtype="float32",
        lora_rank=LORA_RANK,
        checkpointing=cast(Checkpointing, checkpointing),
        input_grads=False,
        seq_len=SEQ_LEN,
    )


def _weightless_report(architecture: Architecture, row: Row, batch: dict[str, Any]) -> Report:
    """What ``gradcheck inspect FOLDER --weights skip`` says of the same set-up, of its configuration alone."""
    import transformers

    constructor = getattr(transformers, architecture.model_class)
    config = twin_config(fitting_part(default_config(architecture), constructor))
    config.architectures = [architecture.model_class]
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        subject = load(_target(folder, row.quantization, row.checkpointing))
        make_twin = subject.twin
        assert make_twin is not None
        fake = replace(
            subject,
            batch=batch,
            loss_fn=loss_of,
            twin=lambda: replace(make_twin(), batch=batch, loss_fn=loss_of),
        )
        return inspect_subject(fake, Settings())[1]


def _quantized(base: Any, quantization: str) -> Any:
    """``base`` loaded again by transformers with bitsandbytes' real layers."""
    with tempfile.TemporaryDirectory() as folder:
        base.save_pretrained(folder)
        model, read = type(base).from_pretrained(
            folder,
            quantization_config=bitsandbytes_config(
                quantization, torch.float32, torch.device("cpu")
            ),
            dtype=torch.float32,
            device_map={"": "cpu"},
            output_loading_info=True,
        )
    packed = (bitsandbytes.nn.Linear8bitLt, bitsandbytes.nn.Linear4bit)
    weights = {f"{fqn}.weight" for fqn, it in model.named_modules() if isinstance(it, packed)}
    if weights & set(read["missing_keys"]):
        raise ValueError("transformers does not read back the weights that it saved itself")
    return model


def loss_of(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    """The model's own loss; of a class that has none, its logits' mean square."""
    output = model(**batch)
    loss = getattr(output, "loss", None)
    if loss is None:
        scores = output.logits if hasattr(output, "logits") else output[0]
        loss = scores.float().square().mean()
    return loss.sum()


def plain_step(model: Any, batch: dict[str, Any]) -> Step:
    """The judgement that gradcheck's is compared with: nothing but torch."""
    trainable = {name: it for name, it in model.named_parameters() if it.requires_grad}
    buffers = {name: it.detach().clone() for name, it in model.named_buffers()}
    random.seed(0)
    numpy.random.seed(0)
    torch.manual_seed(0)
    raised = ""
    try:
        loss_of(model, batch).backward()
    except Exception as error:  # what a step raises is what is being compared
        raised = _text(error)
    gradients = {
        name: None if it.grad is None else it.grad.detach().clone()
        for name, it in trainable.items()
    }
    for parameter in model.parameters():
        parameter.grad = None
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name in buffers and buffer.shape == buffers[name].shape:
                buffer.copy_(buffers[name])
    return Step(gradients=gradients, raised=raised)


def _plain(step: Step, reference: Step) -> str:
    if step.raised:
        return "raised"
    if step.starved - reference.starved or (step is reference and step.starved):
        return "starved"
    if not same_values(step, reference):
        return "wrong values"
    return "starved" if step.starved else "healthy"


def same_values(step: Step, reference: Step) -> bool:
    """Whether every gradient of ``reference`` is there in ``step`` with the same numbers."""
    return not differing(step, reference)


def differing(step: Step, reference: Step) -> list[str]:
    """The parameters whose gradient is not the reference's; none where the reference raised."""
    if reference.raised:
        return []
    wanted = {name: it for name, it in reference.gradients.items() if it is not None}
    total = sum(float(it.norm()) ** 2 for it in wanted.values()) ** 0.5
    return [
        name
        for name, gradient in wanted.items()
        if (found := step.gradients.get(name)) is None
        or not bool(
            (found - gradient).norm() <= VALUE_TOLERANCE * gradient.norm() + NORM_FLOOR * total
        )
    ]


def _judge(
    row: Row,
    architecture: Architecture,
    model: Any,
    batch: dict[str, Any],
    step: Step,
    reference: Step,
) -> None:
    """Compares ``inspect`` with ``step``."""
    try:
        report = gradcheck.inspect(model, batch, loss_of)
    except Exception as error:  # a crash of what is under test is a row
        row.outcome, row.reason = "crashed", f"inspect: {_text(error)}"
        return
    row.codes = sorted({f"{finding.code}{_MARKS[finding.severity]}" for finding in report.findings})
    problems = list(_problems(row, report, step, reference))
    try:
        problems += _weightless_problems(row, architecture, batch, report)
    except Exception as error:  # the same
        row.outcome, row.reason = "crashed", f"without weights: {_text(error)}"
        return
    row.outcome, row.reason = ("disagrees", "; ".join(problems)) if problems else ("agrees", "")


_MARKS = {"error": "", "warning": "(w)", "note": "(n)"}


def _problems(row: Row, report: Any, step: Step, reference: Step) -> Iterator[str]:
    if row.plain == "raised":
        if report.healthy:
            yield f"healthy, and torch raised {step.raised}"
        return
    states = {it.fqn: it.gradient for it in report.parameters if it.requires_grad}
    missing = {name for name, state in states.items() if state == "missing"}
    if missing != step.starved:
        more, less = sorted(missing - step.starved), sorted(step.starved - missing)
        yield f"called starved and are not: {more[:3]} of {len(more)}; not called so: {less[:3]} of {len(less)}"
    lost = step.starved - reference.starved
    named = {fqn for finding in report.findings for fqn in finding.parameters}
    if lost and report.healthy:
        yield f"healthy, and {len(lost)} parameters lost their gradient"
    if step.starved - named:
        silent = sorted(step.starved - named)
        yield f"no finding names {len(silent)} of the starved parameters, such as {silent[0]}"
    if row.plain == "wrong values" and report.healthy:
        yield f"healthy, and {len(differing(step, reference))} gradients have other values"
    zero = {name for name, state in states.items() if state == "zero"}
    if zero != step.zero:
        yield f"called zero: {len(zero)}; zero: {len(step.zero)}"
    if row.plain == "healthy" and not step.zero and not report.healthy:
        yield f"not healthy, and every gradient is there: {', '.join(row.codes)}"


def _weightless_problems(
    row: Row, architecture: Architecture, batch: dict[str, Any], real: Report
) -> Iterator[str]:
    """Where the verdict without weights is another one."""
    without = _weightless_report(architecture, row, batch)
    silent = {rule.code for rule in without.skipped}
    codes, wanted = (
        sorted(f"{it.code}{_MARKS[it.severity]}" for it in report.findings if it.code not in silent)
        for report in (without, real)
    )
    if codes != wanted:
        yield f"without weights {codes}, with them {wanted}"
    missing, starved = (
        {it.fqn for it in report.parameters if it.requires_grad and it.gradient == "missing"}
        for report in (without, real)
    )
    if missing != starved:
        yield f"without weights {len(missing)} are starved, with them {len(starved)}"
    of_twin = dict(without.setup).get("weights", "").startswith("random")
    row.weightless = "same, of a twin" if of_twin else "same"


def _repair(row: Row, model: Any, batch: dict[str, Any], reference: Step) -> None:
    """Compares what ``fix`` reaches with the checkpoint-free reference."""
    try:
        result = gradcheck.fix(model, batch, loss_of)
    except Exception as error:  # a crash of what is under test is a row
        row.outcome, row.fix = "crashed", "raised"
        row.reason = f"{row.reason} fix: {_text(error)}".strip()
        return
    row.repairs = [outcome.repair.name for outcome in result.verified]
    step = plain_step(model, batch)
    row.num_reached_by_fix = len(step.gradients) - len(step.starved)
    lost = step.starved - reference.starved
    if step.raised and not reference.raised:
        row.fix = f"still raises {step.raised}"
    elif step.raised:  # as without checkpointing: nothing that can be had was lost
        row.fix = "still raises, as without checkpointing"
        return
    elif lost and not reference.raised:
        row.fix = f"reaches {len(lost)} fewer"
    elif not set(row.repairs) & CHANGE_WEIGHTS and not same_values(step, reference):
        row.fix = f"wrong values in {len(differing(step, reference))}"
    else:
        row.fix = "reaches all"
        return
    row.outcome = "disagrees"
    row.reason = f"{row.reason} fix: {row.fix}".strip()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
