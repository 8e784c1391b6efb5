"""Input and output embeddings that the configuration ties: whether they are one, and whether the vocabulary grew."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from gradcheck.recording.inventory import Inventory
from gradcheck.recording.tensors import is_readable, own_part
from gradcheck.trace.rows import NONE

_ALIKE_RATIO = 4e-3
"""How far a row that transformers added may lie from the mean of the old ones, in their standard deviations.

It is drawn around the mean with a billionth of their covariance (``_init_added_embeddings_weights_with_mean``).
"""


def untied_embeddings(inventory: Inventory) -> tuple[tuple[int, int], ...]:
    """(input, output embedding) of each transformers model that says they are one parameter, where they are two."""
    pairs: dict[tuple[int, int], None] = {}
    index = inventory.parameter_index
    for ends in _tied_ends(inventory):
        weights: list[Any] = [getattr(end, "weight", None) for end in ends]
        known = [index[id(weight)] for weight in weights if id(weight) in index]
        if len(set(known)) == 2 and weights[0].shape == weights[1].shape:
            pairs[known[0], known[1]] = None
    return tuple(pairs)


def grown_embeddings(inventory: Inventory) -> tuple[tuple[int, int, int], ...]:
    """(what trains of an input embedding, the output embedding of which nothing does, rows that both were given)."""
    found: dict[tuple[int, int, int], None] = {}
    index = inventory.parameter_index
    for source, output in _tied_ends(inventory):
        training = [index[id(p)] for p in source.parameters() if p.requires_grad and id(p) in index]
        weight = getattr(output, "weight", None)
        if (
            not training
            or id(weight) not in index
            or any(p.requires_grad for p in output.parameters())
        ):
            continue
        added = _rows_added(inventory, source, output)
        if added:
            found[training[0], index[id(weight)], added] = None
    return tuple(found)


def _tied_ends(inventory: Inventory) -> Iterator[tuple[torch.nn.Module, torch.nn.Module]]:
    """The modules that embed and that give logits, of each transformers model that ties their weights."""
    for _, module in inventory.of_classes_with("tie_weights"):
        if not _says_tied(module):
            continue
        owner: Any = module
        try:
            ends = owner.get_input_embeddings(), owner.get_output_embeddings()
        except (NotImplementedError, AttributeError):  # a wrapper without embeddings of its own
            continue
        if all(isinstance(end, torch.nn.Module) for end in ends):
            yield ends


def _says_tied(module: Any) -> bool:
    config = vars(module).get("config")
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    return getattr(text, "tie_word_embeddings", False) is True


def _rows_added(inventory: Inventory, source: torch.nn.Module, output: Any) -> int:
    """By how many tokens the vocabulary grew since the model was made.

    ``resize_token_embeddings`` tells the model that it is called on, and not the one inside that embeds.
    """
    weight = output.weight
    rows = int(getattr(output, "out_features", weight.shape[0]))
    sizes = [vars(above).get("vocab_size") for above in _around(inventory, source)]
    known = [size for size in sizes if isinstance(size, int) and not isinstance(size, bool)]
    if known and 0 < min(known) < rows:
        return rows - min(known)
    return 0 if len(known) > 1 else _rows_at_the_mean(weight)


def _around(inventory: Inventory, module: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The modules that ``module`` lies in."""
    at = next((i for i, (_, held) in enumerate(inventory.modules) if held is module), NONE)
    while at != NONE and inventory.parents[at] != NONE:
        at = inventory.parents[at]
        yield inventory.modules[at][1]


def _rows_at_the_mean(weight: torch.Tensor) -> int:
    """How many rows at the end lie where the mean of those before them is: where new tokens are put."""
    if weight.dim() != 2 or not weight.is_floating_point() or not is_readable(weight):
        return 0
    rows = own_part(weight).detach().float()
    spread = float(rows.std()) * _ALIKE_RATIO
    near = ((rows - rows[-1]).abs().amax(1) < spread).flip(0).long()
    added = int(near.cumprod(0).sum())
    if added == len(rows) or bool((rows[:-added].mean(0) - rows[-1]).abs().max() >= spread):
        return 0
    return added
