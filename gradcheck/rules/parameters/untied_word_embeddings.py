"""GC107."""

from collections.abc import Iterator

from gradcheck.core.words import counted
from gradcheck.findings.evidence import finding
from gradcheck.findings.finding import Finding
from gradcheck.findings.repair import Repair
from gradcheck.findings.rule import rule
from gradcheck.reading.parameters import owner
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


@rule("GC107")
def untied_word_embeddings(trace: Trace) -> Iterator[Finding]:
    """The configuration ties the input and the output embedding, they are two parameters, and one of them trains.

    ## What it does

    Reports a transformers model with `tie_word_embeddings=True` whose input and output embedding are two parameters of
    the same shape, of which exactly one requires a gradient. It is a warning: the step trains. It is an error where
    the vocabulary has grown and the input embedding trains, as a whole, for some tokens, or by an adapter, and nothing
    of the output embedding does.

    ## Why this breaks training

    One of the two learns and the other stays as it was. When the model is saved, merged or loaded again,
    `tie_word_embeddings` makes them one, and what was learned may be thrown away. PEFT makes such a model where only
    one of them is named in `modules_to_save`; replacing an embedding by hand does it too.

    Rows that `resize_token_embeddings` adds begin where the mean of the others is. A frozen output embedding keeps
    them there: the new tokens all get the same logit for ever, and the model can neither tell them apart nor learn when
    to say one.

    ## Example

        model = get_peft_model(model, LoraConfig(modules_to_save=["lm_head"]))   # tie_word_embeddings=True

    ## Repair

    Tie them again: put the parameter that trains in the place of the other one (`model.tie_weights()` where nothing is
    wrapped). Or name neither in `modules_to_save` and put an adapter on them. Or set `tie_word_embeddings=False` and
    save both.

    ## References

    - transformers, tie_weights: https://huggingface.co/docs/transformers/main/en/main_classes/model
    - PEFT, weight tying: https://huggingface.co/docs/peft/main/en/developer_guides/lora
    """
    for trains, stays, added in trace.grown:
        yield _grown(trace, trains, stays, added)
    grown = {frozenset(row[:2]) for row in trace.grown}
    for pair in trace.untied:
        if frozenset(pair) in grown:
            continue
        training = [i for i in pair if trace.parameters[i].requires_grad]
        if len(training) == 1:
            yield _finding(trace, training[0], pair[0] if training[0] == pair[1] else pair[1])


def _grown(trace: Trace, trains: int, stays: int, added: int) -> Finding:
    learner, place = trace.parameters[trains], _place(trace, trains, stays)
    rows = trace.parameters[stays].shape
    return finding(
        trace,
        "GC107",
        "error",
        what=f"The vocabulary has grown by {counted(added, 'token')}, {learner.fqn} trains, and {place}, which "
        "tie_word_embeddings ties to it, does not.",
        why="The new tokens keep the output row that they were given, all of them nearly the same one, so the model "
        "cannot learn to say them.",
        remedy="Tie them again, or train the output embedding as well (modules_to_save, trainable tokens, "
        "ensure_weight_tying=True).",
        module=owner(trace, trains),
        parameters=frozenset({trains}),
        evidence=(
            ("trains", learner.fqn),
            ("stays", place),
            ("added rows", f"{added:,} of {rows[0]:,}"),
        ),
        repairs=(_tie(learner.fqn, place),) if learner.shape == rows else (),
    )


def _place(trace: Trace, trains: int, stays: int) -> str:
    """Where the parameter that stays hangs outside of the layer that the other one is a copy in."""
    fqn = trace.parameters[stays].fqn
    layer = owner(trace, trains)
    inside = f"{trace.modules[layer].fqn}." if layer != NONE else "\0"
    holders = (module.fqn for module in trace.modules if stays in module.parameters)
    outside = next((held for held in holders if not f"{held}.".startswith(inside)), "")
    return f"{outside}.{fqn.rpartition('.')[2]}" if outside else fqn


def _tie(learner: str, other: str) -> Repair:
    module, _, name = other.rpartition(".")
    return Repair(
        name="tie-weights",
        summary="Put the parameter that trains in the place of the other one.",
        snippet=f'model.get_submodule("{module}").{name} = model.get_parameter("{learner}")',
        applicability="unsafe",
    )


def _finding(trace: Trace, trains: int, stays: int) -> Finding:
    learner, other = trace.parameters[trains].fqn, _place(trace, trains, stays)
    return finding(
        trace,
        "GC107",
        "warning",
        what=f"{learner} trains and {other} does not, although tie_word_embeddings says that they are one parameter.",
        why="Saving, merging or loading ties them, and what was learned may be lost.",
        remedy="Tie them again, adapt them instead, or set tie_word_embeddings=False.",
        module=owner(trace, trains),
        parameters=frozenset({trains}),
        evidence=(("trains", learner), ("stays", other)),
        repairs=(_tie(learner, other),),
    )
