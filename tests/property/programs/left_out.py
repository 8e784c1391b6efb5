"""Kinds of statements that the programs do not hold, and why."""

LEFT_OUT: frozenset[str] = frozenset(
    {
        # Memory that something else wrote, or copies that were read from a file: seen where a layer that trains comes
        # after them, and told as a loss that depends on nothing where none does.
        "numpy_filled",
        "saved_and_loaded",
        # A number that Python works on before it comes back: found by what the loss depends on, not in every place.
        "item_worked_on",
    }
)
