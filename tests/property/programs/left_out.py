"""Kinds of statements that the programs do not hold, and why."""

LEFT_OUT: frozenset[str] = frozenset(
    {
        # where several numbers left torch and one of them came back worked on, all of their lines are named
        "metric_that_is_dropped",
    }
)
