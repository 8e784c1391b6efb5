"""``gradcheck demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus
from gradcheck.cli.options import RunOptions
from gradcheck.cli.progress import progress
from gradcheck.errors import DiagnosticError

if TYPE_CHECKING:
    from gradcheck.core.report import Report

BROKEN_TITLE = "1. Broken: reentrant checkpointing, and nothing asks the inputs for a gradient"
HEALTHY_TITLE = "2. Healthy: the same model after enable_input_require_grads()"
NEXT = """\
Next, on a model of your own:
  gradcheck inspect path/to/model       4-bit with a new LoRA, as a QLoRA run does
  gradcheck inspect path/to/adapter     a PEFT adapter on its base model
  gradcheck inspect train.py:make       your function that returns model, batch
  gradcheck rule                        all that is looked for
"""


@command
def demo(run: RunOptions) -> ExitStatus:
    """Show a broken and a healthy QLoRA step, offline.

    The model is a tiny random 4-bit Llama; nothing is written.
    """
    from gradcheck.cli.output import print_text, render_options, show

    width = min(render_options(run).width, 80)
    broken = _report(run, broken=True)
    print_text(f"{BROKEN_TITLE}\n{'─' * width}")
    show(broken, "terminal", run)
    _expect(not broken.healthy, "the broken set-up was found healthy")
    healthy = _report(run, broken=False)
    print_text(f"\n{HEALTHY_TITLE}\n{'─' * width}")
    show(healthy, "terminal", run)
    _expect(healthy.healthy, "the healthy set-up was found broken")
    print_text(f"\n{NEXT}")
    return ExitStatus.HEALTHY


def _report(run: RunOptions, *, broken: bool) -> Report:
    from gradcheck.settings import Settings

    with progress(run) as show:
        show("importing torch")
        from gradcheck.loading.demo import demo_subject  # torch and transformers: seconds
        from gradcheck.pipeline import inspect_subject

        show("building a tiny 4-bit Llama")
        return inspect_subject(demo_subject(broken), Settings(), progress=show)[1]


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise DiagnosticError(
            f"the demo did not end as it should: {problem}; please report it with the output of `gradcheck env`"
        )
