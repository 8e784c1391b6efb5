"""Kinds of statements that the programs do not hold, and why."""

LEFT_OUT: frozenset[str] = frozenset()
