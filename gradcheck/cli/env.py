"""``gradcheck env``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

import gradcheck
from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "accelerate",
    "safetensors",
    "tokenizers",
    "huggingface_hub",
    "trl",
    "triton",
    "numpy",
    "rich",
    "typer",
)
Debug = Annotated[bool, typer.Option("--debug", help="The traceback of an error.")]


@command
def env(debug: Debug = False) -> ExitStatus:  # noqa: ARG001 (read by command)
    """Print versions and device facts, for a bug report."""
    from gradcheck.cli.output import print_text

    facts = [*_versions(), *_devices()]
    width = max(len(name) for name, _ in facts) + 2
    print_text("\n".join(f"{name:<{width}}{value}" for name, value in facts))
    return ExitStatus.HEALTHY


def _versions() -> Iterator[tuple[str, str]]:
    import importlib.metadata  # these two cost a tenth of the help page's time
    import platform

    yield "gradcheck", gradcheck.__version__
    yield "python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "platform", platform.platform()
    for package in PACKAGES:
        found = importlib.metadata.distributions(name=package)
        yield package, next((str(one.version) for one in found), "not installed")


def _devices() -> Iterator[tuple[str, str]]:
    try:
        import torch  # seconds
    except (ImportError, OSError) as error:
        yield "torch import", f"fails: {error}"
        return
    yield "cpu threads", str(torch.get_num_threads())
    yield "torch cuda", str(torch.version.cuda or torch.version.hip or "built without")
    if not torch.cuda.is_available():
        yield "gpu", "none"
        return
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        memory = f"{facts.total_memory / 2**30:.0f} GiB, capability {facts.major}.{facts.minor}"
        yield f"gpu {index}", f"{facts.name}, {memory}"
