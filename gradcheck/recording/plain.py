"""The step run once more without any instrument: what it raises then, it raises by itself."""

from __future__ import annotations

import torch

from gradcheck.internals.sharding import settled
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.loss import step_loss
from gradcheck.recording.preserve import Preserved, seed_everything
from gradcheck.recording.raising import Raised, forget_frames, raised
from gradcheck.recording.stance import eager
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.events import Stage


def plain_error(
    subject: Subject, settings: Settings, stage: Stage, written: list[torch.Tensor]
) -> Raised | None:
    """What the step raises where nobody looks, up to and with ``stage``; everything is left as it was.

    Args:
        subject: as it was when the recorded step began.
        settings: with the seed of the recorded step.
        stage: what the recorded step raised in; backward is only run where that was it.
        written: parameters that the recorded step wrote, which this one will write too.
    """
    preserved = Preserved(Inventory(subject.model), subject)
    with preserved.kept(), settled(subject.model):
        for parameter in written:
            preserved.before_write(parameter)
        seed_everything(settings.seed)
        try:
            with subject.without_weights(), eager():
                loss = step_loss(subject)
                if stage == "backward" and isinstance(loss, torch.Tensor):
                    loss.backward()
        except Exception as error:
            preserved.step_raised = True
            short = raised(error)
            forget_frames(error)
            return short
    return None
