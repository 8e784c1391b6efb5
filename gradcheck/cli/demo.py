"""``gradcheck demo``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gradcheck.cli.command import command
from gradcheck.cli.exit_status import ExitStatus
from gradcheck.cli.options import RunOptions
from gradcheck.cli.progress import progress
from gradcheck.errors import DiagnosticError

if TYPE_CHECKING:
    from gradcheck.reports.outcome import FixReport
    from gradcheck.reports.report import Report

BROKEN_TITLE = "1. Broken: reentrant checkpointing, and nothing asks the inputs for a gradient"
REPAIRED_TITLE = "2. Repaired: what gradcheck fix does to the same model"
NEXT = """\
Next, on a model of your own:
  gradcheck inspect path/to/model     4-bit with a new LoRA, as a QLoRA run does
  gradcheck inspect path/to/adapter   a PEFT adapter on its base model
  gradcheck inspect train.py:make     your function that returns model, batch
  gradcheck fix path/to/model         what repairs it, tried and proved
  gradcheck rule                      all that is looked for
"""


@command
def demo(run: RunOptions) -> ExitStatus:
    """Show a broken QLoRA step and its repair, offline.

    The model is a tiny random 4-bit Llama; nothing is written.
    """
    from gradcheck.cli.output import print_text, render_options, show

    width = min(render_options(run).width, 80)
    broken, repaired = _reports(run)
    print_text(f"{BROKEN_TITLE}\n{'─' * width}")
    show(broken, run)
    _expect(not broken.healthy, "the broken set-up was found healthy")
    print_text(f"\n{REPAIRED_TITLE}\n{'─' * width}")
    show(repaired, run)
    _expect(repaired.healthy, "the repaired set-up was found broken")
    print_text(f"\n{NEXT}")
    return ExitStatus.HEALTHY


def _reports(run: RunOptions) -> tuple[Report, FixReport]:
    from gradcheck.settings import Settings

    with progress(run) as show:
        show("importing torch")
        from gradcheck.loading.demo import demo_subject  # torch and transformers: seconds
        from gradcheck.pipeline import fix_subject, inspect_subject

        show("building a tiny 4-bit Llama")
        subject = demo_subject(broken=True)
        broken = inspect_subject(subject, Settings(), progress=show)[1]
        return broken, fix_subject(subject, Settings(), progress=show)


def _expect(condition: bool, problem: str) -> None:
    if not condition:
        raise DiagnosticError(
            f"the demo did not end as it should: {problem}; please report it with the output of `gradcheck env`"
        )
