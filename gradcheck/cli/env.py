"""``gradcheck env``."""

import os
from collections.abc import Iterator
from typing import Annotated

import typer

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus
from gradcheck.version import VERSION

PACKAGES = (
    "torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors", "tokenizers",
    "huggingface_hub", "trl", "triton", "numpy", "rich", "typer",
)  # fmt: skip
SWITCHES = (
    "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP",
    "BNB_CUDA_VERSION", "CUDA_LAUNCH_BLOCKING", "CUDA_VISIBLE_DEVICES", "HF_HUB_OFFLINE",
    "OMP_NUM_THREADS", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF",
    "PYTORCH_ENABLE_MPS_FALLBACK", "TORCHDYNAMO_DISABLE", "TRANSFORMERS_OFFLINE", "WORLD_SIZE",
)  # fmt: skip
"""Variables that change how a step runs. None holds a path, a name or a secret: the output goes into public reports."""
MAX_VALUE = 120
Debug = Annotated[bool, typer.Option("--debug", help="The traceback of an error.")]


@command
def env(debug: Debug = False) -> ExitStatus:  # noqa: ARG001 (read by command)
    """Print versions and device facts, for a bug report.

    It holds no path, no name of a user or a machine, and no secret.
    """
    from gradcheck.cli.output import print_text

    facts = [*_versions(), *_devices(), *_switches()]
    width = max(len(name) for name, _ in facts) + 2
    print_text("\n".join(f"{name:<{width}}{value}" for name, value in facts))
    return ExitStatus.HEALTHY


def _versions() -> Iterator[tuple[str, str]]:
    import importlib.metadata  # these two cost a tenth of the help page's time
    import platform

    yield "gradcheck", VERSION
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "platform", platform.platform()
    for package in PACKAGES:
        found = importlib.metadata.distributions(name=package)
        yield package, next((str(one.version) for one in found), "not installed")


def _devices() -> Iterator[tuple[str, str]]:
    try:
        import torch  # seconds
    except (ImportError, OSError) as error:  # its text may hold paths
        yield "torch import", f"fails ({type(error).__name__}): see `python -c 'import torch'`"
        return
    yield "cpu threads", str(torch.get_num_threads())
    yield "torch cuda", str(torch.version.cuda or torch.version.hip or "built without")
    if not torch.cuda.is_available():
        mps = torch.backends.mps.is_available()
        yield "gpu", "Apple's (mps)" if mps else "none"
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        memory = f"{facts.total_memory / 2**30:.0f} GiB, capability {facts.major}.{facts.minor}"
        yield f"gpu {index}", f"{facts.name}, {memory}"


def _switches() -> Iterator[tuple[str, str]]:
    from gradcheck.formats.views.text import clean

    for name in SWITCHES:
        value = os.environ.get(name)
        if value is not None:
            yield name, clean(value, MAX_VALUE)
