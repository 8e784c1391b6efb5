"""Changes the configuration objects that a model's modules read."""

from __future__ import annotations

from typing import Any

import torch

from gradcheck.errors import EditError


def switch_off_cache(model: torch.nn.Module) -> None:
    """``use_cache=False`` wherever a configuration has it.

    Raises:
        EditError: where none has.
    """
    held: list[Any] = [vars(module).get("config") for module in model.modules()]
    configs = [config for config in held if isinstance(getattr(config, "use_cache", None), bool)]
    if not configs:
        raise EditError("no configuration of the model says use_cache")
    for config in configs:
        config.use_cache = False
