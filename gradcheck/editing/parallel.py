"""Makes DistributedDataParallel again where what trains below it has changed."""

import sys

import torch

from gradcheck.errors import EditError
from gradcheck.internals.modules import CHILDREN

OPTIONS = (
    "device_ids",
    "output_device",
    "dim",
    "broadcast_buffers",
    "process_group",
    "gradient_as_bucket_view",
    "find_unused_parameters",
    "static_graph",
)
"""Arguments that DistributedDataParallel keeps under their names (torch/nn/parallel/distributed.py, 2.4 to 2.13)."""


def wrap_anew(model: torch.nn.Module) -> None:
    """Lets each DistributedDataParallel sort the parameters that train now into its buckets.

    It does so once, when it is made, and waits for the gradient of each of them after every backward.

    Raises:
        EditError: where other processes would have to do the same at the same time.
    """
    if "torch.nn.parallel.distributed" not in sys.modules:
        return
    for module in model.modules():
        if isinstance(module, torch.nn.parallel.DistributedDataParallel):
            _make_again(module)


def _make_again(parallel: torch.nn.parallel.DistributedDataParallel) -> None:
    num_processes = torch.distributed.get_world_size(parallel.process_group)
    if num_processes > 1:
        raise EditError(
            f"DistributedDataParallel of {num_processes} processes has to be made again: change the model before"
        )
    own = vars(parallel)
    options = {name: own[name] for name in OPTIONS if name in own}
    fresh = torch.nn.parallel.DistributedDataParallel(own[CHILDREN]["module"], **options)
    kept = {name for name in vars(torch.nn.Module()) if name in own}
    own.update({name: value for name, value in vars(fresh).items() if name not in kept})
