"""Which random graphs and programs a run looks at, and how many; a run repeats the last one unless told otherwise."""

import os

SEED = int(os.environ.get("GRADCHECK_SEED", "0"))
"""Where they begin."""
NUM_PROGRAMS = int(os.environ.get("GRADCHECK_PROGRAMS", "240"))
"""How many random programs; half as many graphs, and a twelfth in each way to run a backward elsewhere."""
NUM_GRAPHS = NUM_PROGRAMS // 2
TIMEOUT_S = max(300, NUM_PROGRAMS)
