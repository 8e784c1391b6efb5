"""Finds the modules and parameters that an edit names, and says who refuses it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch

from gradcheck.errors import EditError

Held = TypeVar("Held")


def modules_named(model: torch.nn.Module, fqns: tuple[str, ...]) -> list[torch.nn.Module]:
    """The modules of these FQNs.

    Raises:
        EditError: where the model has none of this name.
    """
    return _found(fqns, dict(model.named_modules(remove_duplicate=False)), "module")


def parameters_named(model: torch.nn.Module, fqns: tuple[str, ...]) -> list[torch.nn.Parameter]:
    """The parameters of these FQNs.

    Raises:
        EditError: where the model has none of this name.
    """
    return _found(fqns, dict(model.named_parameters(remove_duplicate=False)), "parameter")


def _found(fqns: tuple[str, ...], held: dict[str, Held], kind: str) -> list[Held]:
    missing = [fqn for fqn in fqns if fqn not in held]
    if missing:
        raise EditError(f"the model has no {kind} {missing[0]!r}")
    return [held[fqn] for fqn in fqns]


def outermost(model: torch.nn.Module, method: str) -> Iterator[str]:
    """FQNs of the modules that have ``method`` and lie in no other one that has it; the model itself is asked first."""
    covered: list[str] = []
    for fqn, module in model.named_modules():
        inside = any(not outer or fqn == outer or fqn.startswith(f"{outer}.") for outer in covered)
        if not inside and callable(getattr(module, method, None)):
            covered.append(fqn)
            yield fqn


@contextmanager
def explained(who: str) -> Iterator[None]:
    """Whatever is raised inside becomes an EditError that says who raised it."""
    try:
        yield
    except EditError:
        raise
    except Exception as error:
        raise EditError(f"{who} raised {type(error).__name__}: {error}") from error
