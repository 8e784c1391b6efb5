"""Lets the inputs of a checkpointed model require a gradient: the line that people know, where nothing does it yet."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.companions import companions
from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.models import Model, models, subject
from gradcheck.editing.scripts.non_reentrant import switched_over
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import Site, assignments
from gradcheck.editing.scripts.supply import (
    SUPPLYING,
    bypasses_embedding,
    defines,
    needs_input,
    unseen_class,
)
from gradcheck.editing.scripts.text import Splice
from gradcheck.editing.scripts.training import exclusive
from gradcheck.editing.scripts.writing import (
    indentation,
    inserted_after,
    inserted_before,
    replaced,
    torch_import,
    unit,
)

WHY = (
    "The embedding is frozen, so reentrant gradient checkpointing sees no input that requires a gradient and the "
    "adapters get none."
)
UNSEEN = (
    "Whether this class checkpoints its blocks reentrantly cannot be seen here; where it "
    "does not, the lines do no harm."
)
NO_NAME = (
    "The model has no name here to call enable_input_require_grads() on; the non-reentrant kind needs no input that "
    "requires a gradient."
)
HOOK = "register_forward_hook(lambda module, args, out: out.requires_grad_(True))"
ANY_EMBEDDING = "next(m for m in {}.modules() if isinstance(m, torch.nn.Embedding))"


@script_edit("enable-input-require-grads", Stage.STATEMENTS)
def input_gradients(script: Script) -> Iterator[Proposal]:
    """One insertion for each model, on the object that trains, after the last step of its preparation."""
    for model in models(script):
        if needs_input(script, model) and not bypasses_embedding(script, model):
            for site in _places(script, model):
                yield from _proposals(script, model, site)


def _places(script: Script, model: Model) -> list[Site]:
    """The last steps of the preparation: several only where an ``if`` takes one of them."""
    steps = model.adaptations or model.adapter_loads or model.preparations or model.loads
    return [
        step
        for step in steps
        if not any(
            other.order > step.order
            and script.function(other.call) is script.function(step.call)
            and not exclusive(script, step.call, other.call)
            for other in steps
        )
    ]


def _proposals(script: Script, model: Model, site: Site) -> Iterator[Proposal]:
    statement = script.statement(site.call)
    name, given = site.target, subject(script, site)
    beside = companions(script, model, site)
    if name:
        splice = inserted_after(script, statement, supply_lines(script, model, name))
    elif isinstance(_small(script, site), cst.Expr) and given:
        splice = inserted_after(script, statement, supply_lines(script, model, given))
    elif isinstance(_small(script, site), cst.Return):
        yield _returned(script, model, site)
        return
    else:
        splice = (
            inserted_before(script, statement, supply_lines(script, model, given))
            if given
            else None
        )
    line, summary = script.line(site.call), _summary(script, model)
    if splice is None:
        other = tuple(switched_over(script, model, NO_NAME))
        shown = f"{name or given or 'model'}.{SUPPLYING}()"
        settled = bool(other) and all(proposal.splices for proposal in other)
        yield from other if settled else (Proposal(line=line, summary=summary, suggestion=shown),)
        return
    guarded = "torch." in splice.new
    imported = torch_import(script) if guarded else ()
    yield Proposal(line=line, summary=summary, splices=(*imported, splice))
    yield from beside if name else ()


def _small(script: Script, site: Site) -> cst.CSTNode:
    """The simple statement around a call."""
    outer = (site.call, *script.ancestors(site.call))
    return next((node for node in outer if isinstance(node, cst.BaseSmallStatement)), site.call)


def _summary(script: Script, model: Model) -> str:
    return f"{WHY} {UNSEEN}" if unseen_class(script, model) else WHY


def _returned(script: Script, model: Model, site: Site) -> Proposal:
    """``return get_peft_model(...)`` as an assignment, the line, and ``return``."""
    small, statement = _small(script, site), script.statement(site.call)
    assert isinstance(small, cst.Return)
    line, summary = script.line(site.call), _summary(script, model)
    lines = supply_lines(script, model, "model")
    splices: tuple[Splice, ...] = ()
    if isinstance(statement, cst.SimpleStatementLine) and small.value is site.call:
        after = inserted_after(script, statement, [*lines, "return model"])
        start, value = script.span(small)[0], script.span(site.call)[0]
        splices = (Splice(start=start, end=value, new="model = "), *([after] if after else []))
    elif isinstance(statement, cst.SimpleStatementLine) and _is_beside_names(small.value, site):
        made = inserted_before(script, statement, [f"model = {_outdented(script, site)}", *lines])
        splices = (*([made] if made else []), replaced(script, site.call, "model"))
    if len(splices) < 2:
        return Proposal(line=line, summary=summary, suggestion=f"model.{SUPPLYING}()")
    imported = torch_import(script) if any("torch." in text for text in lines) else ()
    return Proposal(line=line, summary=summary, splices=(*imported, *splices))


def _is_beside_names(value: cst.BaseExpression | None, site: Site) -> bool:
    """``get_peft_model(model, config), tokenizer``: nothing in front of the call is run before it."""
    if not isinstance(value, cst.Tuple):
        return False
    others = [element.value for element in value.elements if element.value is not site.call]
    return len(others) + 1 == len(value.elements) and all(map(dotted, others))


def _outdented(script: Script, site: Site) -> str:
    """The call with its later lines as deep as they are below its first."""
    deeper = len(indentation(script, site.call)) - len(
        indentation(script, script.statement(site.call))
    )
    first, *rest = script.code(site.call).split("\n")
    if not all(line[:deeper].isspace() or not line for line in rest) or '"""' in script.code(
        site.call
    ):
        return script.code(site.call)
    return "\n".join([first, *(line[deeper:] for line in rest)])


def supply_lines(script: Script, model: Model, name: str) -> list[str]:
    """The statement for the model called ``name``: guarded where its class may lack the method."""
    call = f"{name}.{SUPPLYING}()"
    made = script.definitions.get(model.maker.split(".")[0])
    library = isinstance(made, cst.ClassDef) and any(
        "PreTrained" in script.code(base.value) or defines(made, SUPPLYING) for base in made.bases
    )
    own_method = isinstance(made, cst.ClassDef) and defines(made, SUPPLYING)
    if model.origin in {"library", "unsloth"} or library or own_method:
        return [call]
    indent = unit(script)
    lines = _embedding_lines(script, made, name)
    return [
        f"if hasattr({name}, {SUPPLYING!r}):".replace("'", '"'),
        f"{indent}{call}",
        f"else:  # {_class_name(model)} may be without it",
        *(f"{indent}{line}" for line in lines),
    ]


def _class_name(model: Model) -> str:
    owner, _, last = model.maker.rpartition(".")
    return (owner.rpartition(".")[2] if last[:1].islower() and owner else last) or "the model"


def _embedding_lines(script: Script, made: cst.CSTNode | None, name: str) -> list[str]:
    """The hook by hand, for a class that may have no ``get_input_embeddings`` either."""
    known = isinstance(made, cst.ClassDef) and defines(made, "get_input_embeddings")
    value = f"{name}.get_input_embeddings()" if known else ANY_EMBEDDING.format(name)
    taken = any(found == "embedding" for found, _ in assignments(script))
    variable = "input_embedding" if taken else "embedding"
    return [f"{variable} = {value}", f"{variable}.{HOOK}"]
