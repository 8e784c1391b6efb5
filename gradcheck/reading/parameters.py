"""Which parameters a rule talks about, and the modules that own them."""

import re
from collections.abc import Iterable

from gradcheck.trace.model import GradientState
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

SAVED_COPY = re.compile(r"\.(modules_to_save|original_module)(\.|$)")
"""PEFT keeps the trained copy of a whole module below the module that it replaces (peft/utils/other.py)."""
Parameters = frozenset[int]
"""Indices into ``Trace.parameters``."""
_BARE = "torch.nn.modules.module.Module"
"""What holds the models of a script that has several."""

ASSUMED_LEARNING_RATE = 2e-4
"""Where no optimizer was given: QLoRA's for models up to 13B (https://arxiv.org/abs/2305.14314, table 9)."""


def trainable(trace: Trace) -> Parameters:
    """The parameters that asked for a gradient before the step."""
    return frozenset(i for i, p in enumerate(trace.parameters) if p.requires_grad)


def num_elements(trace: Trace, parameters: Parameters) -> int:
    """Logical elements in ``parameters``."""
    return sum(trace.parameters[i].num_elements for i in parameters)


def fqns(trace: Trace, parameters: Parameters) -> tuple[str, ...]:
    """Their FQNs, in the order of ``named_parameters()``."""
    return tuple(trace.parameters[i].fqn for i in sorted(parameters))


def owner(trace: Trace, parameter: int) -> int:
    """The module that owns ``parameter``: for PEFT the adapted layer, not its ``lora_A``."""
    module = trace.parameters[parameter].module
    if module == NONE:
        return NONE
    layer = trace.modules[module].adapter
    if layer != NONE:
        return trace.adapter_layers[layer].module
    saved = SAVED_COPY.search(trace.modules[module].fqn)
    return module if saved is None else module_named(trace, saved.string[: saved.start()], module)


def module_named(trace: Trace, fqn: str | None, default: int = NONE) -> int:
    """Index of the module with this FQN."""
    return next((i for i, m in enumerate(trace.modules) if m.fqn == fqn), default)


def first_owner(trace: Trace, parameters: Parameters) -> int:
    """The owner of the first of ``parameters``: the module of a finding about them."""
    return owner(trace, min(parameters)) if parameters else NONE


def owners(trace: Trace, parameters: Parameters) -> tuple[str, ...]:
    """FQNs of the modules that own ``parameters``, each once."""
    modules = dict.fromkeys(owner(trace, i) for i in sorted(parameters))
    return tuple(trace.modules[i].fqn for i in modules if i != NONE)


def under(trace: Trace, module: int) -> Parameters:
    """The parameters of ``module`` and of everything below it."""
    if module == NONE:
        return frozenset()
    fqn = trace.modules[module].fqn
    prefix = f"{fqn}." if fqn else ""
    return frozenset(i for i, p in enumerate(trace.parameters) if p.fqn.startswith(prefix))


def is_within(trace: Trace, module: int, outer: int) -> bool:
    """Whether ``module`` is ``outer`` or below it; all is below none."""
    if NONE in (module, outer):
        return outer == NONE
    fqn, around = trace.modules[module].fqn, trace.modules[outer].fqn
    return around in ("", fqn) or fqn.startswith(f"{around}.")


def quantized_modules(trace: Trace) -> tuple[int, ...]:
    """The modules whose weights are stored in 8 or 4 bits."""
    return tuple(i for i, m in enumerate(trace.modules) if m.quantized is not None)


def frozen_meanwhile(trace: Trace) -> Parameters:
    """Trainable parameters without a gradient which the step itself had frozen for a while."""
    frozen = {request.parameter for request in trace.gradient_requests if not request.on}
    return frozenset(
        i
        for i in frozen
        if i != NONE
        and trace.parameters[i].requires_grad
        and trace.parameters[i].requires_grad_after
        and trace.parameters[i].gradient == "missing"
    )


def with_gradient(trace: Trace, state: GradientState) -> Parameters:
    """The trainable parameters whose gradient is in ``state``."""
    return frozenset(i for i in trainable(trace) if trace.parameters[i].gradient == state)


def forgotten_by_optimizer(trace: Trace) -> Parameters:
    """Parameters that get a gradient, or would if the backward had run, and that the optimizer does not hold.

    Not those of a part that runs in eval mode while the rest trains, and of which the optimizer holds nothing: a
    teacher, a reference or a network that a loss is computed with stands still on purpose, frozen or not.
    """
    if trace.optimizer is None:
        return frozenset()
    held = frozenset(trace.optimizer.parameters)
    missing = trainable(trace) - held
    if trace.backward_ran:
        missing -= with_gradient(trace, "missing")
    return missing - untouched_by(trace, parts_in_evaluation(trace), held)


def parts_in_evaluation(trace: Trace) -> list[int]:
    """Modules that run in eval mode while the whole is in train mode."""
    if not trace.modules or not trace.modules[0].training:
        return []
    return [i for i, row in enumerate(trace.modules) if i and not row.training]


def models_of(trace: Trace) -> list[int]:
    """The models of a step that has several; a recording holds them in a bare module by the names of the script."""
    if not trace.modules or trace.modules[0].type != _BARE:
        return []
    return [i for i, row in enumerate(trace.modules) if row.fqn and "." not in row.fqn]


def untouched_by(trace: Trace, modules: Iterable[int], held: Parameters) -> Parameters:
    """The parameters of those of ``modules`` of which an optimizer that holds ``held`` has none."""
    parts = [under(trace, module) for module in modules]
    return frozenset().union(*(part for part in parts if part.isdisjoint(held)))
