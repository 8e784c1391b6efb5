"""GC102."""

from collections.abc import Iterator
from dataclasses import replace

from gradcheck.core.severity import Severity
from gradcheck.core.words import listed
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.findings.wording import cost_text
from gradcheck.judging.judge import chain_of
from gradcheck.reading.adapters import explained_by_adapters
from gradcheck.reading.idle import Idle
from gradcheck.reading.parameters import Parameters, first_owner, owner, owners, trainable
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

FREEZE = Repair(
    name="freeze-unused",
    summary="Freeze it, or leave it out of target_modules: it costs memory and learns nothing.",
    snippet="model.get_submodule({module!r}).requires_grad_(False)",
    applicability="safe",
)


@rule("GC102", needs=("loss",))
def unused_trainable_parameter(trace: Trace) -> Iterator[Finding]:
    """A trainable parameter has no path to the loss of this step.

    ## What it does

    Follows the data flow from each trainable parameter to the loss, also where autograd was off, and reports
    parameters from which nothing arrives. If the module that owns them never ran (an expert to which no token was
    routed, the vision tower of a text-only batch) that is a note: another batch may reach it. If it ran and its
    result was dropped on the way, it is a warning. If the module that holds the layer ran in every block and called
    it in none, it is an error: no batch will reach it. It is one too where most of what should train is left out by
    code that ran: neither experts, nor a tower that has its modality missing, nor the heads of other tasks.

    ## Why this breaks training

    The gradient stays None, the optimizer skips the parameter, and the adapter is saved as it was initialized. With
    DistributedDataParallel the next step raises, because it waits for gradients that never come (GC603). The usual
    case is a model that reads an inner hidden state: LLaVA takes the second-last layer of its vision tower, so
    adapters on the last one are dead weight.

    ## Example

        hidden = self.vision_tower(images, output_hidden_states=True).hidden_states[-2]
        # the adapters of the last vision layer are trainable, listed, saved, and never used

    ## Repair

    Freeze the parameters, or leave the module out of `target_modules` (`layers_to_transform`, `exclude_modules`).
    If the result was meant to count, use it in the loss. A batch that does not reach a module is no fault.

    ## References

    - LLaVA's `vision_feature_layer`: https://huggingface.co/docs/transformers/model_doc/llava
    - Unused parameters under DDP: https://pytorch.org/docs/stable/generated/torch.nn.parallel.DistributedDataParallel.html
    """
    chain = chain_of(trace)
    idle = (chain.unused | chain.empty) & trainable(trace) - explained_by_adapters(trace)
    if idle >= trainable(trace):
        return  # nothing at all reaches the loss: another finding's business
    slept = frozenset(i for i in idle if i in chain.empty or _never_ran(trace, i))
    layers = Idle(trace)
    dead = layers.dead_by_construction(slept - chain.empty)
    lost = (idle - dead) - chain.empty - layers.for_another_batch(slept - dead)
    mostly = 2 * len(lost) > len(trainable(trace))
    if idle - slept:
        yield _dropped(trace, idle - slept, "error" if mostly else "warning")
    if dead:
        yield _dead(trace, dead, {layers.layer(parameter) for parameter in dead})
    skipped = slept & lost if mostly else frozenset()
    if skipped:
        yield _left_out(trace, skipped)
    if slept - dead - skipped:
        yield _never_called(trace, slept - dead - skipped)


def _never_ran(trace: Trace, parameter: int) -> bool:
    module = owner(trace, parameter)
    return module != NONE and trace.modules[module].num_calls == 0


def _dead(trace: Trace, parameters: Parameters, layers: set[int]) -> Finding:
    names = listed(trace.modules[layer].fqn for layer in sorted(layers))
    return finding(
        trace,
        "GC102",
        "error",
        what=f"{cost_text(trace, parameters)} of {names} cannot learn: no block calls these layers.",
        why="The module that holds them ran in every block and did not use them once, as after fuse_projections(), "
        "which leaves the layers it replaced in place.",
        remedy="Put the adapters on the layers that run, or fuse after training.",
        module=min(layers),
        parameters=parameters,
        evidence=(("layers", names), ("costs", cost_text(trace, parameters))),
    )


def _left_out(trace: Trace, parameters: Parameters) -> Finding:
    names = listed(owners(trace, parameters))
    share = f"{len(parameters):,} of {len(trainable(trace)):,} trainable tensors"
    return finding(
        trace,
        "GC102",
        "error",
        what=f"Most of what should train took no part in this step: {share}, those of {names}.",
        why="The code around these layers ran and did not call them, so their gradient stays missing.",
        remedy="Call them in the forward, or freeze them. If only this batch leaves them out, give another one.",
        module=first_owner(trace, parameters),
        parameters=parameters,
        evidence=(("modules", names), ("costs", cost_text(trace, parameters))),
    )


def _dropped(trace: Trace, parameters: Parameters, severity: Severity) -> Finding:
    names = listed(owners(trace, parameters))
    module = trace.module_fqn(first_owner(trace, parameters))
    return finding(
        trace,
        "GC102",
        severity,
        what=f"{cost_text(trace, parameters)} of {names} do not reach the loss, although their module ran.",
        why="What they compute is dropped on the way, so their gradient stays missing and they never learn.",
        remedy="Freeze them or leave them out of target_modules; or use their result in the loss.",
        module=first_owner(trace, parameters),
        parameters=parameters,
        evidence=(("modules", names), ("costs", cost_text(trace, parameters))),
        repairs=(replace(FREEZE, snippet=FREEZE.snippet.format(module=module)),),
    )


def _never_called(trace: Trace, parameters: Parameters) -> Finding:
    names = listed(owners(trace, parameters))
    return finding(
        trace,
        "GC102",
        "note",
        what=f"{cost_text(trace, parameters)} of {names} took no part in this step.",
        why="Their module was not called, or only on empty tensors: no token was routed to it, or the batch lacks its "
        "modality.",
        remedy="Leave it if other batches reach it; if none does, freeze it. Under DDP set find_unused_parameters.",
        module=first_owner(trace, parameters),
        parameters=parameters,
        evidence=(("modules", names), ("costs", cost_text(trace, parameters))),
    )
