"""Finds the modules and parameters that an edit names."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from gradcheck.errors import EditError


def modules_named(model: torch.nn.Module, fqns: tuple[str, ...]) -> list[torch.nn.Module]:
    """The modules of these FQNs.

    Raises:
        EditError: where the model has none of this name.
    """
    by_name = dict(model.named_modules(remove_duplicate=False))
    _check(fqns, by_name.keys(), "module")
    return [by_name[fqn] for fqn in fqns]


def parameters_named(model: torch.nn.Module, fqns: tuple[str, ...]) -> list[torch.nn.Parameter]:
    """The parameters of these FQNs.

    Raises:
        EditError: where the model has none of this name.
    """
    by_name = dict(model.named_parameters(remove_duplicate=False))
    _check(fqns, by_name.keys(), "parameter")
    return [by_name[fqn] for fqn in fqns]


def _check(wanted: tuple[str, ...], held: object, kind: str) -> None:
    missing = [fqn for fqn in wanted if fqn not in held]  # type: ignore[operator]  # a keys view
    if missing:
        raise EditError(f"the model has no {kind} {missing[0]!r}")


def outermost(model: torch.nn.Module, method: str) -> Iterator[str]:
    """FQNs of the modules that have ``method`` and lie in no other one that has it; the model itself is asked first."""
    covered: list[str] = []
    for fqn, module in model.named_modules():
        inside = any(not outer or fqn == outer or fqn.startswith(f"{outer}.") for outer in covered)
        if not inside and callable(getattr(module, method, None)):
            covered.append(fqn)
            yield fqn
