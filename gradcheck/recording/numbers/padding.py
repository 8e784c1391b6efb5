"""Padding rows of embeddings that are looked up as if they were entries like any other."""

from __future__ import annotations

from types import FrameType
from typing import Any

import torch

from gradcheck.recording.ledger import Ledger
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.tensors import is_readable
from gradcheck.trace.numbers import PaddingRow
from gradcheck.trace.rows import NONE


class PaddingRows:
    """Looks at each lookup whose padding index was used; its gradient says whether the loss depends on the row."""

    def __init__(self, ledger: Ledger, modules: ModuleStack, *, readable: bool) -> None:
        """``readable``: tensors have numbers; fake ones have none."""
        self._ledger = ledger
        self._modules = modules
        self._readable = readable
        self._handles: list[Any] = []
        self.found: list[PaddingRow] = []

    def release(self) -> None:
        """Takes its hooks off the tensors."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def looked_up(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], rows: Any, frame: FrameType
    ) -> None:
        """``torch.nn.functional.embedding`` has given ``rows``, (..., width), for its arguments."""
        given = dict(zip(("input", "weight", "padding_idx"), args, strict=False)) | kwargs
        indices, weight, index = given["input"], given["weight"], given.get("padding_idx")
        value = self._ledger.known(weight)
        parameter = NONE if value is None else self._ledger.parameter_of.get(value, NONE)
        if (
            index is None
            or parameter == NONE
            or not (self._readable and weight.requires_grad and rows.requires_grad)
            or not is_readable(weight)
        ):
            return
        index %= len(weight)
        hits = indices == index
        num_lookups = int(hits.sum())
        if not num_lookups or not bool(weight[index].any()):
            return
        row = PaddingRow(
            parameter=parameter,
            index=index,
            num_lookups=num_lookups,
            num_indices=indices.numel(),
            frame=self._ledger.lines.nearest(frame),
            module=self._modules.current,
            declared=self._is_declared(index),
        )
        grip = self._modules.grip

        def arrived(gradient: torch.Tensor) -> None:
            with grip:
                if row not in self.found and bool(gradient[hits].any()):
                    self.found.append(row)

        self._handles.append(rows.register_hook(arrived))

    def _is_declared(self, index: int) -> bool:
        """Whether a configuration of the model says that this index is padding."""
        configs = (getattr(module, "config", None) for module in self._modules.modules)
        return any(getattr(config, "pad_token_id", None) == index for config in configs)
