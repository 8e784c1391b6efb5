"""A process group of one, over gloo and without a port."""

import torch.distributed as dist


def joined() -> None:
    """Afterwards the default group is there; it lasts as long as the process."""
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
