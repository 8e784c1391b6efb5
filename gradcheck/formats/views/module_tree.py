"""What lies inside the links of the chain: the modules down to their parameters, alike ones folded.

Subtrees that are equal are kept once, whatever the model's size: the layers of a model differ in their names alone.
"""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from gradcheck.formats.views.module_branches import Branch, branches
from gradcheck.formats.views.places import place_of
from gradcheck.formats.views.text import clean, short_dtype
from gradcheck.formats.views.verdict import incomplete_parameters
from gradcheck.reports.formatter import RenderOptions
from gradcheck.reports.report import Break, Link, ParameterRecord, Report
from gradcheck.trace.rows import RAGGED

MAX_NODES = 20_000
"""Distinct ones; an ordinary model of any size has a few hundred."""
Mark = Literal["", "cut", "partly-cut", "cut-inside"]


class Node(NamedTuple):
    """A module, a range of modules that are alike, or a parameter."""

    name: str
    """The part of its FQN that its parent has not."""
    state: str
    """Of a module that of a link, or "missing"; of a parameter that of its gradient, or "incomplete"."""
    trainable: int
    reached: int
    incomplete: int
    """Parameters that lost some of their paths to the loss."""
    mark: Mark
    note: str
    """What cuts here; of a parameter its dtype, shape, and why its state is all right."""
    children: tuple[int, ...]
    """Indices of the nodes inside, in the order of the model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModuleTree:
    """The nodes inside each link of a report's chain."""

    nodes: tuple[Node, ...]
    links: tuple[tuple[int, ...], ...]
    """For each link the nodes that it opens to; empty where nothing is in it."""


def module_tree(report: Report, options: RenderOptions) -> ModuleTree:
    """The modules inside the links of the chain."""
    root, builder = branches(report), _Builder(report, options)
    links = tuple(builder.inside(link, root) for link in report.chain)
    return ModuleTree(nodes=tuple(builder.nodes), links=links)


class _Builder:
    """Nodes, each kept once."""

    def __init__(self, report: Report, options: RenderOptions) -> None:
        self._options = options
        self.nodes: list[Node] = []
        self._index: dict[Node, int] = {}
        self._starved = {fqn for cut in report.breaks for fqn in cut.starved}
        self._partial = incomplete_parameters(report)
        self._whole = ""
        """The state of the link at hand where all in it are in the same."""
        self._clean = functools.cache(lambda name: clean(name, 200))
        self._note = functools.cache(_note)
        """The layers of a model say the same, thousands of times."""

    def inside(self, link: Link, root: Branch) -> tuple[int, ...]:
        """The nodes that a link opens to: its members, or what is in its one module."""
        parent, _, last = link.name.rpartition(".")
        self._whole = (
            "live" if link.reached == link.trainable else "" if link.reached else link.state
        )
        above = root.at(parent)
        if above is None or len(self.nodes) > MAX_NODES:
            return ()
        if link.count > 1:
            first, _, stop = last.partition("-")
            numbers = range(int(first), int(stop) + 1) if first.isdigit() and stop.isdigit() else ()
            names = [str(number) for number in numbers if str(number) in above.children]
            return tuple(self._module(name, above.children[name]) for name in names)
        own = above.children.get(last)
        return self._children(own) if own else ()

    def _children(self, branch: Branch) -> tuple[int, ...]:
        below: list[int] = []
        for numbered, group in itertools.groupby(branch.children.items(), lambda i: i[0].isdigit()):
            made = [self._module(name, child) for name, child in group]
            below += self._folded(made) if numbered else made
        return (*(self._parameter(record) for record in branch.parameters), *below)

    def _module(self, name: str, branch: Branch) -> int:
        """A module that holds one thing alone is one row with it (``lora_A.default.weight``), unless it is numbered."""
        while not name.isdigit() and (inner := branch.only_child) is not None:
            name, branch = f"{name}.{inner}", branch.children[inner]
        alone = len(branch.parameters) == 1 and not branch.children
        if alone and not branch.cuts and not name.isdigit():
            return self._parameter(branch.parameters[0], f"{name}.")
        return self._keep(self._summed(name, self._children(branch), branch.cuts))

    def _folded(self, indices: list[int]) -> Iterator[int]:
        """Neighbors that differ in their number alone as one node that holds them."""
        for _, group in itertools.groupby(indices, lambda i: self.nodes[i]._replace(name="")):
            same = list(group)
            if len(same) == 1:
                yield same[0]
                continue
            name = f"{self.nodes[same[0]].name}–{self.nodes[same[-1]].name}"
            yield self._keep(self._summed(name, tuple(same), []))

    def _summed(self, name: str, children: tuple[int, ...], cuts: list[tuple[Break, bool]]) -> Node:
        inside = [self.nodes[index] for index in children]
        trainable = sum(node.trainable for node in inside)
        reached = sum(node.reached for node in inside)
        mark: Mark = "cut-inside" if any(node.mark for node in inside) else ""
        if cuts:
            mark = "partly-cut" if all(partly for _, partly in cuts) else "cut"
        return Node(
            name=self._clean(name),
            state=_state(inside, trainable, reached),
            trainable=trainable,
            reached=reached,
            incomplete=sum(node.incomplete for node in inside),
            mark=mark,
            note="; ".join(dict.fromkeys(_cut_note(cut, self._options) for cut, _ in cuts[:3])),
            children=children,
        )

    def _parameter(self, record: ParameterRecord, prefix: str = "") -> int:
        lost = self._is_lost(record)
        incomplete = record.fqn in self._partial and not lost
        state = "starved" if record.fqn in self._starved else str(record.gradient)
        if lost and self._whole in ("starved", "unused", "unknown"):
            state = self._whole
        elif not lost:
            state = "incomplete" if incomplete else _gradient(record)
        return self._keep(
            Node(
                name=self._clean(prefix + record.fqn.rpartition(".")[2]),
                state=state,
                trainable=int(record.requires_grad),
                reached=int(record.requires_grad and not lost),
                incomplete=int(incomplete),
                mark="",
                note=self._note(record.dtype, record.shape, record.explanation),
                children=(),
            )
        )

    def _is_lost(self, record: ParameterRecord) -> bool:
        if not record.requires_grad or self._whole in ("live", "frozen"):
            return False
        absent = record.gradient == "missing" and not record.explanation
        return bool(self._whole) or absent or record.fqn in self._starved

    def _keep(self, node: Node) -> int:
        index = self._index.setdefault(node, len(self.nodes))
        if index == len(self.nodes):
            self.nodes.append(node)
        return index


def _gradient(record: ParameterRecord) -> str:
    """A missing gradient that is as it should be, and one that a step without a backward has not, get a word too."""
    return "live" if record.gradient == "missing" and not record.explanation else record.gradient


def _state(inside: list[Node], trainable: int, reached: int) -> str:
    if not trainable:
        return "frozen"
    if reached == trainable:
        return "live"
    if reached:
        return "partial"
    states = {node.state for node in inside if node.trainable}
    return states.pop() if len(states) == 1 else "starved" if "starved" in states else "missing"


def _note(dtype: str, shape: tuple[int, ...], explanation: str) -> str:
    """``fp32[16, 576] · waits for lora_B``."""
    why = f" · {clean(explanation, 120)}" if explanation else ""
    extents = ("?" if extent == RAGGED else f"{extent:,}" for extent in shape)
    return f"{short_dtype(dtype)}[{', '.join(extents)}]{why}"


def _cut_note(cut: Break, options: RenderOptions) -> str:
    times = f", {cut.times:,} calls" if cut.times > 1 else ""
    line = f" · {place_of(cut.location, options)}" if cut.location else ""
    return f"{clean(cut.operation, 80)}{times}{line}"
