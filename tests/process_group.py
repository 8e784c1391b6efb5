"""Process groups over gloo and without a port: of one, and of two processes of their own."""

import subprocess
import sys
from pathlib import Path

import torch.distributed as dist

_JOIN = """
import sys

import torch
import torch.distributed as dist

rank = int(sys.argv[1])
dist.init_process_group("gloo", store=dist.FileStore(sys.argv[2], 2), rank=rank, world_size=2)
"""
_LEAVE = """
dist.barrier()
dist.destroy_process_group()
"""


def joined() -> None:
    """Afterwards the default group is there; it lasts as long as the process."""
    if not dist.is_initialized():
        dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def said_by_two(step: str, folder: Path) -> list[str]:
    """The last line that ``step`` prints in each of two processes of one group."""
    file = folder / "step.py"
    file.write_text(_JOIN + step + _LEAVE, "utf-8")
    ranks = [
        subprocess.Popen(
            [sys.executable, str(file), str(rank), str(folder / "store")],
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[0].strip() for process in ranks]
    return [text.splitlines()[-1] for text in said]  # gloo says before that it is connected
