"""Checkpoints without reentrance, where a gradient on the embedding cannot help."""

from collections.abc import Iterator

import libcst as cst

from gradcheck.editing.scripts.checkpointing import Switch, is_direct, switches
from gradcheck.editing.scripts.edit import Proposal, Stage, script_edit
from gradcheck.editing.scripts.models import Model, models
from gradcheck.editing.scripts.script import Script, dotted
from gradcheck.editing.scripts.sites import Site, argument, entries, flag, sites
from gradcheck.editing.scripts.supply import bypasses_embedding, needs_input, reentrant_switches
from gradcheck.editing.scripts.text import Splice
from gradcheck.editing.scripts.writing import replaced, with_argument

NO_EMBEDDING = "What trains is not fed tokens: a gradient on their embedding does not reach its first checkpoint."
HIDDEN = (
    "Reentrant checkpointing sees positional tensors only; what reaches the block by keyword "
    "or closure gets no gradient."
)
MISSING = "Without use_reentrant torch checkpoints reentrantly and warns; the frozen input then stops the gradient."
TOWER = (
    "This module has no token embedding that could give the first block an input with a gradient."
)


NAME = "use-non-reentrant-checkpointing"


@script_edit(NAME, Stage.ARGUMENTS)
def non_reentrant(script: Script) -> Iterator[Proposal]:
    """In library calls where the hook on the embedding cannot help, in direct ones where it may not."""
    for model in models(script):
        if needs_input(script, model) and bypasses_embedding(script, model):
            yield from switched_over(script, model, NO_EMBEDDING)
    for site in sites(script):
        if is_direct(site):
            yield from _in_direct_call(script, site)


def switched_over(script: Script, model: Model, why: str) -> Iterator[Proposal]:
    """``use_reentrant=False`` in each library call that makes the model's checkpointing reentrant."""
    for switch in reentrant_switches(script, switches(script, model)):
        if switch.place != "direct":
            yield _in_library_call(script, switch, why)


def _in_library_call(script: Script, switch: Switch, why: str) -> Proposal:
    line = script.line(switch.setting or switch.node)
    if switch.setting is not None:
        splices = _set_false(script, switch.setting)
    elif isinstance(switch.node, cst.Call) and switch.keyword:
        splices = _added(script, switch.node, switch.keyword)
    else:
        splices = ()
    suggestion = "" if splices else f'{switch.keyword}={{"use_reentrant": False}}'
    return Proposal(name=NAME, line=line, summary=why, splices=splices, suggestion=suggestion)


def _set_false(script: Script, setting: cst.BaseExpression) -> tuple[Splice, ...]:
    return (replaced(script, setting, "False"),) if script.code(setting) == "True" else ()


def _added(script: Script, call: cst.Call, keyword: str) -> tuple[Splice, ...]:
    given = next((a for a in call.args if a.keyword and a.keyword.value == keyword), None)
    if given is None:
        return with_argument(script, call, f'{keyword}={{"use_reentrant": False}}')
    if script.code(given.value) == "None":
        return (replaced(script, given.value, '{"use_reentrant": False}'),)
    if isinstance(given.value, cst.Dict):
        end = script.span(given.value)[1] - 1
        separator = ", " if given.value.elements else ""
        return (Splice(start=end, end=end, new=f'{separator}"use_reentrant": False'),)
    return ()


def _in_direct_call(script: Script, site: Site) -> Iterator[Proposal]:
    """``torch.utils.checkpoint.checkpoint(block, hidden)``."""
    value = argument(script, site.call, "use_reentrant")
    if flag(script, value, default=True) is not True or _unseen_options(script, site):
        return
    reason = _reason(script, site, given=value is not None)
    if not reason:
        return
    line = script.line(site.call)
    if value is None:
        yield Proposal(
            line=line,
            summary=reason,
            splices=with_argument(script, site.call, "use_reentrant=False"),
        )
        return
    splices = _set_false(script, value)
    yield Proposal(
        line=line,
        summary=reason,
        splices=splices,
        suggestion="" if splices else "use_reentrant=False",
    )


def _unseen_options(script: Script, site: Site) -> bool:
    return any(arg.star == "**" and entries(script, arg.value) is None for arg in site.call.args)


def _reason(script: Script, site: Site, *, given: bool) -> str:
    if _hidden_state(site):
        return HIDDEN
    frozen = _base_is_frozen(script)
    if not given:
        return MISSING if frozen is not False else ""
    if frozen is True and not _has_embedding(script) and script.function(site.call) is not None:
        return TOWER
    return ""


def _hidden_state(site: Site) -> bool:
    """``checkpoint(partial(block, hidden_states=x), ...)``, or with nothing but a closure."""
    names = [arg for arg in site.call.args if arg.keyword is None and not arg.star]
    options = {"use_reentrant", "preserve_rng_state", "context_fn", "determinism_check", "debug"}
    keyword = any(a.keyword and a.keyword.value not in options for a in site.call.args)
    first = names[0].value if names else None
    partial = isinstance(first, cst.Call) and dotted(first.func).endswith("partial")
    closure = isinstance(first, cst.Lambda) and not first.params.params
    carried = partial and isinstance(first, cst.Call) and any(a.keyword for a in first.args)
    return keyword or (len(names) < 2 and (closure or partial)) or carried


def _base_is_frozen(script: Script) -> bool | None:
    """Whether something in the script freezes weights; None where nothing in it trains: a file with a model alone."""
    if any(model.is_adapted() or model.preparations for model in models(script)):
        return True
    frozen = any(
        isinstance(node, cst.Assign)
        and any(dotted(t.target).endswith(".requires_grad") for t in node.targets)
        and script.code(node.value) == "False"
        for node in script.nodes
    )
    if frozen or any(
        s.last == "requires_grad_" and "False" in script.code(s.call) for s in sites(script)
    ):
        return True
    trains = any(s.last in {"backward", "train"} for s in sites(script))
    return False if trains else None


def _has_embedding(script: Script) -> bool:
    return any(s.last in {"Embedding", "get_input_embeddings"} for s in sites(script))
