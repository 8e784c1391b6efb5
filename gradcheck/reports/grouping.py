"""What the report shows of parameters and modules: records with their group, and the chain as folded links."""

import re
from collections.abc import Iterator

from gradcheck.core.words import ranged
from gradcheck.judging.judge import chain_of
from gradcheck.reports.report import Link, LinkState, ParameterRecord
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

_NUMBER = re.compile(r"(?<=\.)\d+(?=\.|$)")


def parameter_records(trace: Trace) -> tuple[ParameterRecord, ...]:
    """The parameters with their group and, where a zero or missing gradient is all right, the explanation."""
    names = [_group_name(trace, index) for index in range(len(trace.parameters))]
    spans: dict[str, list[int]] = {}
    for template, layer in names:
        if layer != NONE:
            spans.setdefault(template, []).append(layer)
    ranges = {template: ranged(sorted(set(layers))) for template, layers in spans.items()}
    records = []
    for index, (parameter, (template, _)) in enumerate(zip(trace.parameters, names, strict=True)):
        records.append(
            ParameterRecord(
                fqn=parameter.fqn,
                shape=parameter.shape,
                dtype=parameter.dtype,
                num_elements=parameter.num_elements,
                requires_grad=parameter.requires_grad,
                gradient=parameter.gradient,
                grad_norm=parameter.grad_norm,
                group=template.replace("{}", ranges.get(template, "")),
                explanation=_explanation(trace, index),
            )
        )
    return tuple(records)


def _group_name(trace: Trace, index: int) -> tuple[str, int]:
    """(name of the group with ``{}`` for the layer, the layer's number)."""
    parameter = trace.parameters[index]
    layer = trace.modules[parameter.module].adapter if parameter.module != NONE else NONE
    if layer != NONE and parameter.requires_grad:
        owner = trace.modules[trace.adapter_layers[layer].module].fqn
        kind = parameter.fqn.removeprefix(f"{owner}.").split(".")[0]
    else:
        owner, _, kind = parameter.fqn.rpartition(".")
    found = _NUMBER.search(owner)
    if found is None:
        return f"{kind} {owner.rpartition('.')[2]}".strip(), NONE
    container = owner[: found.start() - 1].rpartition(".")[2]
    inside = owner[found.end() :].strip(".")
    projection = _NUMBER.sub("*", f".{inside}").strip(".").rpartition(".")[2] or "*"
    return f"{kind} {projection} {container}.{{}}", int(found.group())


def _explanation(trace: Trace, index: int) -> str:
    chain = chain_of(trace)
    if index in chain.waiting:
        partner = trace.parameters[chain.waiting[index]]
        layer = trace.modules[partner.module].adapter if partner.module != NONE else NONE
        owner = trace.modules[trace.adapter_layers[layer].module].fqn if layer != NONE else ""
        return f"waits for {partner.fqn.removeprefix(f'{owner}.').split('.')[0]}, which is zero before the first step"
    if index in chain.empty:
        return "no token reached it in this batch"
    return "its path is multiplied by zero" if index in chain.scaled_to_zero else ""


def chain_links(trace: Trace) -> tuple[Link, ...]:
    """The chain from the inputs to the loss: modules in their order, equal numbered neighbors folded into one."""
    tree = _Tree(trace)
    return tuple(tree.links(""))


class _Tree:
    """The modules as a tree, with what trains below each."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._children: dict[str, list[int]] = {}
        self._below: dict[str, list[int]] = {}
        self._holds_numbered: set[str] = set()
        """Modules with a numbered one somewhere below."""
        for index, module in enumerate(trace.modules):
            parts = module.fqn.split(".")
            if parts[-1].isdigit():
                self._holds_numbered.update(
                    ".".join(parts[:length]) for length in range(1, len(parts))
                )
            if module.fqn:
                self._children.setdefault(module.fqn.rpartition(".")[0], []).append(index)
        for index, parameter in enumerate(trace.parameters):
            parts = parameter.fqn.split(".")[:-1]
            for length in range(len(parts) + 1):
                self._below.setdefault(".".join(parts[:length]), []).append(index)
        self._cuts = {
            trace.modules[item.module].fqn
            for item in chain_of(trace).breaks
            if item.module != NONE and item.starved
        }
        lost = chain_of(trace).starved | chain_of(trace).unused | chain_of(trace).unexplained
        self._lost = lost if trace.loss is not None else frozenset(range(len(trace.parameters)))

    def links(self, fqn: str) -> Iterator[Link]:
        """The links of what lies below ``fqn``."""
        folded: list[tuple[str, Link]] = []
        for index in self._children.get(fqn, ()):
            child = self._trace.modules[index]
            if not self._below.get(child.fqn):
                continue
            numbered = child.fqn.rpartition(".")[2].isdigit()
            if not numbered and child.fqn in self._holds_numbered:
                yield from self._flush(folded)
                yield from self.links(child.fqn)
                continue
            link = self._link(index)
            if not numbered or (folded and not _alike(folded[-1][1], link)):
                yield from self._flush(folded)
            if numbered:
                folded.append((child.fqn.rpartition(".")[2], link))
            else:
                yield link
        yield from self._flush(folded)

    def _flush(self, folded: list[tuple[str, Link]]) -> Iterator[Link]:
        if folded:
            first, last = folded[0], folded[-1]
            name = first[1].name if len(folded) == 1 else f"{first[1].name}-{last[0]}"
            yield Link(
                name=name,
                type=first[1].type,
                count=len(folded),
                trainable=sum(x.trainable for _, x in folded),
                reached=sum(x.reached for _, x in folded),
                state=first[1].state,
                cut=first[1].cut,
            )
            folded.clear()

    def _link(self, index: int) -> Link:
        module = self._trace.modules[index]
        trainable = [i for i in self._below[module.fqn] if self._trace.parameters[i].requires_grad]
        reached = [i for i in trainable if i not in self._lost]
        inside = any(cut == module.fqn or cut.startswith(f"{module.fqn}.") for cut in self._cuts)
        return Link(
            name=module.fqn,
            type=module.type.rpartition(".")[2],
            count=1,
            trainable=len(trainable),
            reached=len(reached),
            state=self._state(trainable, reached),
            cut=inside,
        )

    def _state(self, trainable: list[int], reached: list[int]) -> LinkState:
        if not trainable:
            return "frozen"
        if self._trace.loss is None:
            return "unknown"
        if len(reached) == len(trainable):
            return "live"
        if reached:
            return "partial"
        return "unused" if set(trainable) <= chain_of(self._trace).unused else "starved"


def _alike(first: Link, second: Link) -> bool:
    same = (first.type, first.state, first.cut, first.trainable, first.reached)
    return same == (second.type, second.state, second.cut, second.trainable, second.reached)
