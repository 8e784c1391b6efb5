"""Records the steps of a training as its script makes them: the first in full, the others by a light instrument."""
