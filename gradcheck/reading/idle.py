"""Trainable parameters in layers that the step did not call: another batch may reach them, or none will.

An expert without a token, a tower without its modality and a head of another task are left out by this batch. A layer
that the code around it does not call, though that code runs, is left out by every one.
"""

import re
from collections import defaultdict
from collections.abc import Iterator

from gradcheck.judging.bits import union
from gradcheck.reading.parameters import Parameters
from gradcheck.reading.siblings import CONTAINERS, INDEX
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace

_WORD = re.compile(r"[a-z]{3,}")
"""What two names may have in common that says that one stands for the other: ``head_a``, ``head_b``."""
_DIGITS = re.compile(r"\d+")


class Idle:
    """Questions about the layers of a Trace that were not called, answered from tables made once."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._index = {module.fqn: number for number, module in enumerate(trace.modules)}
        self._children: dict[str, list[int]] = defaultdict(list)
        self._places: dict[str, list[int]] = defaultdict(list)
        for number, module in enumerate(trace.modules):
            if module.fqn:
                self._children[module.fqn.rpartition(".")[0]].append(number)
            self._places[INDEX.sub("*", module.fqn)].append(number)
        self._layer_of = {
            parameter: layer.module
            for layer in trace.adapter_layers
            for _, held in layer.adapters
            for parameter in held
        }
        self._serial: dict[int, bool] = {}

    def layer(self, parameter: int) -> int:
        """The adapted layer that the parameter belongs to, or the module that owns it."""
        return self._layer_of.get(parameter, self._trace.parameters[parameter].module)

    def dead_by_construction(self, parameters: Parameters) -> Parameters:
        """Of ``parameters`` those in layers that no block calls, though the module that holds them ran in each."""
        return frozenset(i for i in parameters if self._is_dead(self.layer(i)))

    def _is_dead(self, layer: int) -> bool:
        modules = self._trace.modules
        fqn = modules[layer].fqn if layer != NONE else ""
        holder, _, name = fqn.rpartition(".")
        if not INDEX.search(holder) or not modules[self._index[holder]].num_calls:
            return False
        alike = self._places[INDEX.sub("*", fqn)]
        holders = [self._index[modules[i].fqn.rpartition(".")[0]] for i in alike]
        if any(modules[i].num_calls for i in alike):
            return False
        if not all(modules[i].num_calls for i in holders):
            return False
        return not any(self._is_numbered_alike(name, i) for i in self._called_beside(layer))

    def _is_numbered_alike(self, name: str, other: int) -> bool:
        """``expert1`` and ``expert0``: which of them runs is for a router to say."""
        last = self._trace.modules[other].fqn.rpartition(".")[2]
        return bool(_DIGITS.search(name)) and _DIGITS.sub("", name) == _DIGITS.sub("", last)

    def _called_beside(self, module: int) -> Iterator[int]:
        """The children of the same module that ran."""
        rows = self._trace.modules
        for child in self._children[rows[module].fqn.rpartition(".")[0]]:
            if rows[child].num_calls:
                yield child

    def for_another_batch(self, parameters: Parameters) -> Parameters:
        """Of ``parameters`` those that another batch may well reach."""
        found: dict[int, bool] = {}
        for parameter in parameters:
            layer = self.layer(parameter)
            if layer not in found:
                found[layer] = layer != NONE and self._is_for_another_batch(layer)
        return frozenset(i for i in parameters if found[self.layer(i)])

    def _is_for_another_batch(self, layer: int) -> bool:
        at, container = layer, NONE
        for above in self._above(layer):
            row = self._trace.modules[above]
            if row.num_calls:
                break
            if row.type.startswith(CONTAINERS):
                container = above
            else:
                at, container = above, NONE
        if container != NONE:
            return not self._is_serial(container)
        return at != layer or self._has_an_alternative(layer)

    def _above(self, module: int) -> Iterator[int]:
        fqn = self._trace.modules[module].fqn
        while fqn:
            fqn = fqn.rpartition(".")[0]
            yield self._index[fqn]

    def _has_an_alternative(self, layer: int) -> bool:
        """Whether a layer of its class and a name like its own ran beside it: the head of another task."""
        row = self._trace.modules[layer]
        words = set(_WORD.findall(row.fqn.rpartition(".")[2].lower()))
        return any(
            self._trace.modules[other].type == row.type
            and words
            & set(_WORD.findall(self._trace.modules[other].fqn.rpartition(".")[2].lower()))
            for other in self._called_beside(layer)
        )

    def _is_serial(self, container: int) -> bool:
        """Whether of the modules in ``container`` one runs on what another one gave: layers, and not experts."""
        if container not in self._serial:
            self._serial[container] = self._runs_on(container)
        return self._serial[container]

    def _runs_on(self, container: int) -> bool:
        trace, inside = self._trace, self._members(container)
        made = [0] * len(trace.values)
        for call in trace.calls:
            member = inside.get(call.module, 0)
            mask = union(made, call.inputs)
            if member and mask & ~member:
                return True
            for value in call.outputs:
                made[value] |= mask | member
        return False

    def _members(self, container: int) -> dict[int, int]:
        """Module in ``container`` -> a bit for the member that it lies in."""
        found: dict[int, int] = {}
        for bit, member in enumerate(self._children[self._trace.modules[container].fqn]):
            prefix = self._trace.modules[member].fqn
            for number, module in enumerate(self._trace.modules):
                if module.fqn == prefix or module.fqn.startswith(f"{prefix}."):
                    found[number] = 1 << bit
        return found
