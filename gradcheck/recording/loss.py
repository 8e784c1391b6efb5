"""The loss of a step: how a subject gives it, and its row in the Trace."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch

from gradcheck.errors import BatchError
from gradcheck.internals.tensors import without_function_modes
from gradcheck.recording.dataflow import DataFlow
from gradcheck.recording.tensors import elements_of, is_readable
from gradcheck.subject import Subject
from gradcheck.trace.events import Loss
from gradcheck.trace.rows import NONE, Call


def step_loss(subject: Subject) -> Any:
    """Runs the forward of ``subject``; what it gives as its loss, whatever that is."""
    if subject.loss_fn is not None:
        return subject.loss_fn(subject.model, subject.batch)
    return loss_of(subject.model(**subject.batch))


def loss_of(output: Any) -> Any:
    """The loss in what a model returns: a tensor, ``output.loss``, ``output["loss"]``, or the first of a tuple."""
    if isinstance(output, Mapping):
        return output.get("loss")
    if isinstance(output, torch.Tensor):
        return output
    if getattr(output, "loss", None) is not None:
        return output.loss
    return output[0] if isinstance(output, tuple) and output else None


class LossRows:
    """Makes the row of what came out as the loss."""

    def __init__(self, flow: DataFlow) -> None:
        self._flow = flow

    def had_its_own_backward(self, loss: Any, held: Iterable[torch.Tensor | None]) -> bool:
        """Whether the user's loss function made the gradients itself and gave its loss back for the record.

        By a backward, or by ``torch.autograd.grad`` or ``torch.func``, whose results it put into ``.grad``.

        Args:
            loss: what it gave back.
            held: the gradients that the parameters hold.
        """
        carries = isinstance(loss, torch.Tensor) and loss.requires_grad
        done = self._flow.backward_of
        if done and (not carries or self._flow.ledger.known(loss) in done):
            return True
        return not carries and any(gradient is not None for gradient in held)

    def differentiated(self, loss: Loss | None) -> Loss | None:
        """``loss``, which was given back without a graph, as what the gradients were made of."""
        if loss is None or (loss.is_tensor and self._flow.backward_of):
            return loss
        calls = self._flow.ledger.calls
        asked = [c.inputs[0] for c in calls if c.op == "torch.autograd.grad" and c.inputs]
        value = next(reversed(self._flow.backward_of or asked), NONE)
        maker = self._flow.ledger.maker(value) if value != NONE else NONE
        return replace(
            loss,
            value=value,
            requires_grad=True,
            is_leaf=False,
            is_tensor=True,
            frame=calls[maker].frame if maker != NONE else loss.frame,
        )

    def row(self, output: Any) -> Loss:
        """What came out as the loss."""
        if not isinstance(output, torch.Tensor):
            return self._of_number(output)
        value = self._flow.identities.value_of(output)
        maker = self._flow.ledger.maker(value)
        frame = self._flow.ledger.calls[maker].frame if maker != NONE else NONE
        done = self._flow.backward_of
        if not output.requires_grad and done:
            value = done[-1]
        with without_function_modes():
            single = output.numel() == 1 and is_readable(output) and not output.is_complex()
            number = float(elements_of(output)) if single else None
        own = value in done
        return Loss(
            value=value,
            number=number,
            requires_grad=self._flow.ledger.live[value],
            is_leaf=output.is_leaf and not own,
            is_tensor=True,
            frame=frame,
        )

    def _of_number(self, output: Any) -> Loss:
        if not isinstance(output, (int, float)) or isinstance(output, bool):
            raise BatchError(
                f"the step gave {type(output).__name__} where a loss was expected; give a batch with labels, or a "
                "loss function that returns a scalar tensor"
            )
        found = self._flow.departures.numbers((float(output),))
        value = found[0] if found else NONE
        frame = self._flow.ledger.calls[self._flow.ledger.maker(value)].frame if found else NONE
        return Loss(
            value=value,
            number=float(output) if math.isfinite(output) else None,
            requires_grad=False,
            is_leaf=True,
            is_tensor=False,
            frame=frame,
        )

    def together(self, loss: Loss) -> Loss:
        """``loss``, the last that a backward began at, as the sum of all that one began at in the step."""
        ledger, roots = self._flow.ledger, tuple(dict.fromkeys(self._flow.backward_of))
        if len(roots) < 2:
            return loss
        call = len(ledger.calls)
        value = ledger.add_number(call)
        ledger.live[value] = any(ledger.live[root] for root in roots)
        ledger.calls.append(
            Call("torch.autograd.backward", roots, (value,), loss.frame, NONE, NONE, NONE, "op")
        )
        return replace(loss, value=value)

    def earlier(self, value: int) -> Loss:
        """The loss of a backward that the user's own step ran before it raised."""
        maker = self._flow.ledger.maker(value)
        frame = self._flow.ledger.calls[maker].frame if maker != NONE else NONE
        return Loss(
            value=value,
            number=None,
            requires_grad=self._flow.ledger.live[value],
            is_leaf=False,
            is_tensor=True,
            frame=frame,
        )
