"""Names of modules as a configuration takes them: ``llm_int8_skip_modules``, PEFT's ``exclude_modules``."""

from collections.abc import Iterable, Iterator

from gradcheck.reading.siblings import siblings
from gradcheck.trace.rows import NONE, Module
from gradcheck.trace.trace import Trace

BASE = ".base_layer"
"""Where PEFT moves the layer that it adapts."""
INSIDE = "base_model.model."
"""What PEFT puts before the names of the modules of the model that it adapts."""
SUFFIXES_SINCE = 5
"""The first version of transformers that takes a name with a dot for an end; before, it compares the last part."""


def layer_fqn(trace: Trace, module: int) -> str:
    """What the user calls a layer, adapted or not."""
    return trace.modules[module].fqn.removesuffix(BASE)


def short_names(trace: Trace, modules: Iterable[int]) -> tuple[str, ...]:
    """For each module the shortest end of its FQN that ends only its own and that of the same layer elsewhere."""
    layers = {layer_fqn(trace, index) for index, row in enumerate(trace.modules) if _is_layer(row)}
    found: dict[str, None] = {}
    for module in modules:
        fqn = layer_fqn(trace, module)
        if any(fqn.endswith(name) for name in found):
            continue
        others = layers - {layer_fqn(trace, sibling) for sibling in siblings(trace, module)}
        own = (end for end in _ends(fqn) if not any(other.endswith(end) for other in others))
        found[next(own, fqn)] = None
    return tuple(found)


def _ends(fqn: str) -> Iterator[str]:
    """The ends of an FQN, the shortest first; none begins with the number of a layer."""
    parts = fqn.split(".")
    for start in range(len(parts) - 1, -1, -1):
        if not parts[start].isdigit():
            yield ".".join(parts[start:])


def _is_layer(row: Module) -> bool:
    """Whether the module holds weights of the model's own."""
    return bool(row.parameters) and (row.adapter == NONE or row.fqn.endswith(BASE))


def left_out(trace: Trace, layers: tuple[int, ...]) -> tuple[str, ...]:
    """``llm_int8_skip_modules`` that leaves ``layers`` unquantized and every linear layer that is so already.

    A list given replaces the one that transformers makes by itself.
    """
    plain = [i for i, row in enumerate(trace.modules) if _is_layer(row) and _is_plain_linear(row)]
    holders = _holders(row.fqn for row in trace.modules if row.quantized is not None)
    tops = {index: _top(layer_fqn(trace, index), holders) for index in plain}
    alone = [index for index, top in tops.items() if top == layer_fqn(trace, index)]
    parts = (tops[index].rpartition(INSIDE)[2] for index in plain if index not in alone)
    names = short_names(trace, (*alone, *layers))
    versions = dict(trace.environment.versions)
    major = versions.get("transformers", "").partition(".")[0]
    if major.isdigit() and int(major) < SUFFIXES_SINCE:
        names = tuple(name.rpartition(".")[2] for name in names)
    return tuple(dict.fromkeys((*parts, *names)))


def _holders(fqns: Iterable[str]) -> set[str]:
    """FQNs of all modules around those of ``fqns``."""
    paths = (fqn.split(".") for fqn in fqns)
    return {".".join(path[:length]) for path in paths for length in range(len(path))}


def _top(fqn: str, holders: set[str]) -> str:
    """The outermost module around a layer that is none of ``holders``: a whole tower, or the layer itself."""
    parent = fqn.rpartition(".")[0]
    return fqn if not parent or parent in holders else _top(parent, holders)


def _is_plain_linear(row: Module) -> bool:
    return row.quantized is None and row.type == "torch.nn.modules.linear.Linear"
