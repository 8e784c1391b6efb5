"""GC107."""

from collections.abc import Iterator

from gradcheck.core.evidence import finding
from gradcheck.core.finding import Finding
from gradcheck.core.repair import Repair
from gradcheck.core.rule import rule
from gradcheck.core.selection import owner
from gradcheck.core.trace import Trace


@rule("GC107")
def untied_word_embeddings(trace: Trace) -> Iterator[Finding]:
    """The configuration ties the input and the output embedding, they are two parameters, and one of them trains.

    ## What it does

    Reports a transformers model with `tie_word_embeddings=True` whose input and output embedding are two parameters of
    the same shape, of which exactly one requires a gradient. It is a warning: the step trains.

    ## Why this breaks training

    One of the two learns and the other stays as it was. When the model is saved, merged or loaded again,
    `tie_word_embeddings` makes them one, and what was learned may be thrown away. PEFT makes such a model where only
    one of them is named in `modules_to_save`; replacing an embedding by hand does it too.

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
    for pair in trace.untied:
        trains = [i for i in pair if trace.parameters[i].requires_grad]
        if len(trains) == 1:
            yield _finding(trace, trains[0], pair[0] if trains[0] == pair[1] else pair[1])


def _finding(trace: Trace, trains: int, stays: int) -> Finding:
    learner, other = trace.parameters[trains].fqn, trace.parameters[stays].fqn
    module, _, name = other.rpartition(".")
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
        repairs=(
            Repair(
                name="tie-weights",
                summary="Put the parameter that trains in the place of the other one.",
                snippet=f'model.get_submodule("{module}").{name} = model.get_parameter("{learner}")',
                applicability="unsafe",
            ),
        ),
    )
