"""The modules of a report as a tree, made from the names of its parameters, with the breaks in their places."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from gradcheck.formats.views.chain import partial_breaks
from gradcheck.reports.report import Break, ParameterRecord, Report

MAX_DEPTH = 60
"""Modules inside each other; the names of deeper ones stay whole."""


@dataclass(slots=True)
class Branch:
    """A module with what is in it."""

    children: dict[str, Branch] = field(default_factory=dict)
    parameters: list[ParameterRecord] = field(default_factory=list)
    """Its own."""
    cuts: list[tuple[Break, bool]] = field(default_factory=list)
    """(what cuts in this very module, whether only some paths)."""

    @property
    def only_child(self) -> str | None:
        """The name of the one module in it, where there is nothing else in it and that has no number."""
        if len(self.children) > 1 or self.parameters or self.cuts:
            return None
        return next((name for name in self.children if not name.isdigit()), None)

    def at(self, fqn: str) -> Branch | None:
        """The module ``fqn`` below this one; itself for an empty name."""
        found: Branch | None = self
        for part in fqn.split(".", MAX_DEPTH) if fqn else ():
            found = found.children.get(part) if found else None
        return found

    def nearest(self, fqn: str) -> Branch:
        """The deepest module on the way to ``fqn`` that holds parameters."""
        found = self
        for part in fqn.split(".", MAX_DEPTH):
            if part not in found.children:
                break
            found = found.children[part]
        return found

    def made(self, path: Iterable[str]) -> Branch:
        """The module at ``path``; it and those on the way are made where they are not there."""
        found = self
        for part in path:
            below = found.children.get(part)
            if below is None:
                below = found.children[part] = Branch()
            found = below
        return found


def branches(report: Report) -> Branch:
    """The root of the modules of ``report``."""
    root = Branch()
    for parameter in report.parameters:
        root.made(parameter.fqn.split(".", MAX_DEPTH)[:-1]).parameters.append(parameter)
    for module, cut in partial_breaks(report):
        root.nearest(module).cuts.append((cut, True))
    for cut in report.breaks:
        if cut.starved and cut.module:
            root.nearest(cut.module).cuts.append((cut, False))
    return root
