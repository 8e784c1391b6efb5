"""The rows of a Trace refer to each other by index: in a file that somebody wrote they may point anywhere."""

from collections.abc import Iterator
from dataclasses import fields

from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace
from gradcheck.trace.training import Training

TABLES: dict[str, tuple[str, ...]] = {
    "frames": ("frame", "user_frame", "caller", "first_backward", "error_frame", "at", "reader_frame"),
    "modules": ("module", "block"),
    "values": ("value", "target", "inputs", "outputs", "arguments", "cuts", "hidden"),
    "calls": ("call", "ends"),
    "regions": ("region", "parent"),
    "switches": ("switch",),
    "adapter_layers": ("adapter",),
    "optimizers": ("optimizer",),
    "parameters": (
        "parameter", "parameters", "base_parameters", "adapters", "grown", "untied", "depends", "independent",
        "rounding", "gradients", "moved", "written", "reverted", "stale", "still_groups",
    ),
}  # fmt: skip
"""The fields that point into a table, whatever row they are of."""
_TABLE_OF = {field: table for table, names in TABLES.items() for field in names}


def check_indices(recorded: Trace | Training) -> None:
    """Refuses a trace or a training in which a row refers to one that is not there.

    Raises:
        ValueError: naming the first such field.
    """
    for field, held in _references(recorded):
        table = _TABLE_OF[field.rpartition(".")[2]]
        size = len(getattr(recorded, table, ()))
        for index in _indices(held):
            if not NONE <= index < size:
                raise ValueError(f"{field} refers to row {index} of {table}, which has {size}")
    if isinstance(recorded, Training):
        for trace in (*(step.trace for step in recorded.steps), recorded.unfinished):
            if trace is not None:
                check_indices(trace)
        return
    for number, region in enumerate(recorded.regions):
        if region.parent >= number:
            raise ValueError(
                f"region {number} lies inside region {region.parent}, which comes after it"
            )


def _references(recorded: Trace | Training) -> Iterator[tuple[str, object]]:
    """What points into a table, each with the field that it is held in."""
    for field in fields(recorded):
        held = getattr(recorded, field.name)
        rows = held if isinstance(held, tuple) else (held,)
        if field.name == "grown":
            rows = tuple(row[:2] for row in rows)  # the third is a number of rows
        names = [name for name in _fields(rows[:1]) if name in _TABLE_OF]
        for name in names:
            yield f"{field.name}.{name}", tuple(getattr(row, name) for row in rows)
        if not names and field.name in _TABLE_OF:
            yield field.name, rows


def _fields(rows: tuple[object, ...]) -> tuple[str, ...]:
    named = [getattr(row, "_fields", getattr(row, "__dataclass_fields__", ())) for row in rows]
    return tuple(name for names in named for name in names)


def _indices(held: object) -> Iterator[int]:
    """The numbers in ``held``, and not the names beside them."""
    if type(held) is int:
        yield held
    elif isinstance(held, tuple):
        for item in held:
            yield from _indices(item)
