"""Data and pure functions, standard library only."""
