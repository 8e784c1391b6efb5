"""One recording session: acquires the instruments, runs the step, makes the Trace, lets go of everything."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import replace
from typing import Any

import torch

from gradcheck.core.lapse import own_failure
from gradcheck.errors import DiagnosticError, RecordingError
from gradcheck.internals.sharding import Gathered, settled, sharded
from gradcheck.internals.tensors import without_function_modes
from gradcheck.reading.parameters import ASSUMED_LEARNING_RATE
from gradcheck.reading.second_look import is_worth_a_second_look
from gradcheck.recording import adapters, surroundings
from gradcheck.recording.anomaly import with_forward_line
from gradcheck.recording.arrivals import Arrivals
from gradcheck.recording.collectives import Collectives
from gradcheck.recording.collector import collector_paused
from gradcheck.recording.dataflow import DataFlow
from gradcheck.recording.embeddings import grown_embeddings, untied_embeddings
from gradcheck.recording.functions import Functions, is_watched
from gradcheck.recording.gathering import GatheredCopies
from gradcheck.recording.grip import Grip
from gradcheck.recording.hidden import HiddenLeaves
from gradcheck.recording.inventory import Inventory
from gradcheck.recording.ledger import Ledger
from gradcheck.recording.loss import LossRows, step_loss
from gradcheck.recording.modules import ModuleStack
from gradcheck.recording.numbers.instruments import Numbers
from gradcheck.recording.observers import Observers, nobody
from gradcheck.recording.parallel import reducing, wrapping_unseen
from gradcheck.recording.parameters import (
    parameters_after,
    parameters_before,
)
from gradcheck.recording.plain import plain_error
from gradcheck.recording.preserve import Preserved, seed_everything
from gradcheck.recording.raising import Raised, failure_row, forget_frames, raised, refuse
from gradcheck.recording.shapes import shape_of
from gradcheck.recording.source import caller
from gradcheck.recording.stance import eager
from gradcheck.recording.switches import Switches
from gradcheck.recording.tensors import PlainAccess, tensors_in
from gradcheck.recording.threads import followed
from gradcheck.recording.unseen import Beneath, announced
from gradcheck.settings import Settings
from gradcheck.subject import Subject
from gradcheck.trace.events import Failure, Loss, Stage, Wrapper
from gradcheck.trace.model import Parameter
from gradcheck.trace.rows import NONE
from gradcheck.trace.trace import Trace


def record(subject: Subject, settings: Settings) -> Trace:
    """Runs one forward and one backward of ``subject`` and records them; everything is left as it was.

    A step that raises is run once more without any instrument: only what it raises then as well is its own.

    Raises:
        RecordingError: where another session is running, or memory ran out.
        OwnFailure: where an instrument failed, or the step raises only while it is recorded.
        BatchError: where the step gives nothing that could be a loss.
    """
    with sharded(subject.model) as gathered:
        trace, unseen = _recorded(subject, settings, gathered, closer=False)
        if is_worth_a_second_look(trace, unseen):
            with suppress(RecordingError):  # then what was seen at first has to do
                trace, _ = _recorded(subject, settings, gathered, closer=True)
    return trace


def _recorded(
    subject: Subject, settings: Settings, gathered: tuple[Gathered, ...], *, closer: bool
) -> tuple[Trace, frozenset[int]]:
    """The Trace, and its values of unknown origin; ``closer``: with the operators that C++ calls by itself."""
    with PlainAccess():
        inventory = Inventory(subject.model, gathered)
        _refuse_lazy(inventory)
        preserved = Preserved(inventory, subject)
        session = Session(subject, settings, inventory, preserved=preserved, closer=closer)
    with collector_paused(), preserved.kept(), settled(subject.model):
        seed_everything(settings.seed)
        with session.recording():
            session.run_step()
        session.look_at_functions()
        preserved.step_raised = session.raised is not None
        written = preserved.written
        trace = session.trace()
    if session.grip.lapse is not None:
        raise own_failure(session.grip.lapse)
    if session.raised is not None and trace.failure is not None:
        if trace.wrappers:  # a DistributedDataParallel listens at the parameters until it is gone
            gc.collect()
        plain = plain_error(subject, settings, trace.failure.stage, written)
        if not session.raised.alike(plain):
            raise own_failure(session.raised.lapse)
        trace = with_forward_line(subject, settings, trace, written)
    return replace(trace, left_behind=preserved.left_behind), session.unseen


class Session:
    """The instruments of one recording, and what they found."""

    def __init__(
        self,
        subject: Subject,
        settings: Settings,
        inventory: Inventory,
        *,
        preserved: Preserved | None = None,
        backward_done: Callable[[torch.Tensor], None] = nobody,
        backward_raised: Callable[[Exception], None] = nobody,
        closer: bool = False,
    ) -> None:
        self._subject = subject
        self._closer = closer
        self._settings = settings
        self._inventory = inventory
        self._preserved = preserved
        self.grip = Grip()
        self._ledger = Ledger()
        observers = Observers(
            before_write=preserved.before_write if preserved is not None else nobody,
            leaf_met=self._leaf_met,
            module_wrapped=self._wrapped,
            backward_done=backward_done,
            backward_raised=backward_raised,
        )
        self._modules = ModuleStack(inventory, self.grip, observers)
        self._switches = Switches(self._ledger, self._modules, self.grip)
        self._numbers = Numbers(
            self._ledger,
            self._modules,
            readable=subject.fake_mode is None,
            put_back=preserved is not None,
        )
        self.flow = DataFlow(
            self._ledger, self._modules, self._switches, self.grip, observers, self._numbers
        )
        self._losses = LossRows(self.flow)
        self._functions = Functions(self._ledger, self.flow)
        self._collectives = Collectives(self.flow)
        self._arrivals = Arrivals(self.grip)
        self._copies = GatheredCopies(subject.model, self._ledger, self.grip)
        self._hidden = HiddenLeaves(inventory, subject.optimizer)
        self._wrappers: list[Wrapper] = []
        self._failure: Failure | None = None
        self.raised: Raised | None = None
        """What the step ended with, where it raised."""
        self._loss: Loss | None = None
        self._backward_ran = False
        self._describe()

    def _describe(self) -> None:
        """What is known before the step."""
        inventory, optimizer = self._inventory, self._subject.optimizer
        self._training = [getattr(module, "training", True) for _, module in inventory.modules]
        self._wrappers += reducing(inventory)
        self._optimizer = surroundings.optimizer_row(optimizer, inventory)
        rates = self._optimizer.learning_rates if self._optimizer is not None else ()
        heads = surroundings.task_heads(inventory)
        self._untied = untied_embeddings(inventory)
        self._grown = grown_embeddings(inventory)
        rate = max(rates, default=ASSUMED_LEARNING_RATE)
        self._before = parameters_before(inventory, rate, heads)
        self._layers = adapters.adapter_layers(inventory, adapters.adapter_names(inventory))
        self._configs = adapters.adapter_configs(inventory, self._layers)
        self._environment = surroundings.environment(inventory)
        self._input_grad_hooks = adapters.input_grad_hooks(inventory)
        self._at_work = adapters.LayersAtWork(inventory)
        self._modules.on_enter_of.update(self._at_work.observers())

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Acquires every instrument, for the length of the body."""
        if is_watched():
            raise RecordingError(
                "another recording is running in this process; finish it first, one step at a time"
            )
        self._introduce_parameters()
        self._switches.begin()
        with ExitStack() as stack:
            stack.callback(self.grip.let_go)  # a thread that the step began may go on
            stack.callback(self._ledger.release)
            stack.callback(self.flow.departures.release)
            stack.enter_context(self._subject.without_weights())
            stack.enter_context(eager())
            stack.enter_context(self._switches.watching_inference_mode())
            stack.enter_context(self._functions.watching())
            stack.enter_context(self._numbers.watching())
            stack.enter_context(announced())
            stack.enter_context(self._collectives.watching())
            stack.enter_context(wrapping_unseen())
            stack.enter_context(self._copies.watching(self._inventory))
            stack.enter_context(self._arrivals.watching(row.tensor for row in self._before))
            beneath = Beneath if self._closer else nullcontext
            stack.enter_context(followed(self.flow, beneath))
            stack.enter_context(self._modules)
            stack.enter_context(beneath())
            stack.enter_context(self.flow)
            yield

    def _leaf_met(self, leaf: torch.Tensor, seen: torch.Tensor, frame: int) -> None:
        self._hidden.met(leaf, seen, frame, self._modules.current)
        if self._preserved is not None:
            self._preserved.reached(leaf)

    def _introduce_parameters(self) -> None:
        for index, row in enumerate(self._before):
            value = self._ledger.add_value(row.tensor, NONE)
            self._ledger.parameter_of[value] = index
            if row.zero:
                self._ledger.zero.add(value)
        for tensor in (*self._inventory.buffers, *tensors_in(dict(self._subject.batch))):
            if self._ledger.known(tensor) is None:
                self._ledger.add_value(tensor, NONE)
        first = {index: value for value, index in self._ledger.parameter_of.items()}
        for layer in self._layers:
            for parameter in layer.base_parameters:
                self.flow.noted.guard(first[parameter], layer.module)

    def _wrapped(self, parent: torch.nn.Module) -> None:
        wrapper = Wrapper(
            type=f"{type(parent).__module__}.{type(parent).__qualname__}",
            frame=self._ledger.lines.nearest(caller()),
        )
        self._wrappers.append(wrapper)

    @property
    def unseen(self) -> frozenset[int]:
        """Values that came from nowhere, or were written by something that no function mode sees."""
        return frozenset(self._ledger.unseen)

    def run_step(self) -> None:
        """The forward, the loss and the backward of the subject."""
        with self._observed():
            self._run()

    def look_at_functions(self) -> None:
        """Asks the custom functions of the step, after it, whether their backward is right."""
        if self.raised is None:
            self._numbers.backwards.look(self._ledger.regions)

    def _run(self) -> None:
        try:
            output = step_loss(self._subject)
        except Exception as error:
            self._failed("forward", error)
            return
        try:
            self._loss = self._losses.row(output)
        except DiagnosticError:
            raise
        except Exception as error:
            self.grip.lost(error)
        if not self.grip.held:
            return
        if self._losses.had_its_own_backward(output, self._held()):
            self._backward_ran = True
            self._loss = self._losses.differentiated(self._loss)
        elif isinstance(output, torch.Tensor):
            self._modules.moves_on("backward")
            try:
                output.backward()
                self._backward_ran = True
            except Exception as error:
                self._failed("backward", error)

    def _held(self) -> Iterator[torch.Tensor | None]:
        """The gradient of each parameter."""
        for index, row in enumerate(self._before):
            yield self._arrivals.held_by(index, row.tensor)

    @contextmanager
    def _observed(self) -> Iterator[None]:
        """The subject's observer, where there is one, is told of the step that the body runs."""
        observer = self._subject.observer
        if observer is None:
            yield
            return
        observer.begins(self._trace())
        self._modules.on_move = observer.at
        self._modules.moves_on("forward")
        try:
            yield
        finally:
            self._modules.on_move = None
            observer.ends()

    def backward_done(self, loss: torch.Tensor) -> None:
        """The user's own backward of ``loss`` has run."""
        self._loss = self._losses.row(loss)
        self._backward_ran = True

    def failed(self, error: Exception) -> None:
        """The user's own step raised ``error``."""
        roots = self.flow.backward_roots
        if roots:
            self._loss = self._losses.row(roots[-1])
        self._failed("backward" if roots else "forward", error)

    def _failed(self, stage: Stage, error: Exception) -> None:
        refuse(error)
        self.raised = raised(error)
        if self._loss is None and self.flow.backward_of:
            self._loss = self._losses.earlier(self.flow.backward_of[-1])
        self._failure = failure_row(error, stage, self.flow)
        forget_frames(error)

    @property
    def backward_ran(self) -> bool:
        """Whether a backward has run."""
        return self._backward_ran

    def step_trace(self, optimizer: torch.optim.Optimizer, others: Collection[int]) -> Trace:
        """The Trace of a step that ``optimizer`` ends, of all the losses that a backward began at.

        Args:
            optimizer: it is about to step.
            others: ``id`` of each parameter that another optimizer moves. None of them is forgotten, and one that has
                no gradient waits for that one's step.
        """
        with without_function_modes():
            waiting = {i for i, row in enumerate(self._before) if id(row.tensor) in others}
            row = surroundings.optimizer_row(optimizer, self._inventory)
            if row is not None:
                held = tuple(sorted({*row.parameters, *waiting}))
                self._optimizer = replace(row, parameters=held)
            if self._loss is not None:
                self._loss = self._losses.together(self._loss)
            with collector_paused():
                trace = replace(self._trace(), hidden_leaves=self._hidden.rows(others))
        rows = enumerate(trace.parameters)
        return replace(trace, parameters=tuple(_idle(p) if i in waiting else p for i, p in rows))

    @property
    def has_other_parameters(self) -> bool:
        """Whether other parameters train than when the recording began."""
        return any(row.tensor.requires_grad is not row.requires_grad for row in self._before)

    def next_step(self) -> None:
        """An optimizer has stepped, and the recording goes on: another one waits for what was computed before."""
        self._arrivals.begin_again(row.tensor for row in self._before)
        self.flow.next_step()
        self._loss, self._backward_ran = None, False

    def trace(self) -> Trace:
        """The Trace of what was recorded; afterwards the session holds no tensor and no module."""
        with collector_paused(), without_function_modes():
            trace = self._trace()
        self.release()
        return trace

    def release(self) -> None:
        """Forgets tensors and modules."""
        self._modules.release()
        self._inventory.release()
        self._at_work.release()
        self._hidden.release()
        self._before.clear()

    def _trace(self) -> Trace:
        ledger, flow = self._ledger, self.flow
        return Trace(
            environment=self._environment,
            setup=self._subject.setup,
            seed=self._settings.seed,
            modules=surroundings.module_rows(
                self._inventory, self._modules.num_calls, self._layers, self._training
            ),
            parameters=parameters_after(self._before, self._arrivals),
            frames=ledger.lines.rows(),
            values=ledger.value_rows(),
            calls=tuple(ledger.calls),
            regions=ledger.region_rows(),
            switches=tuple(ledger.switches),
            loss=self._loss,
            backward_ran=self._backward_ran,
            failure=self._failure,
            batch=_batch_rows(self._subject.batch),
            adapters=self._configs,
            adapter_layers=self._at_work.settled(self._layers),
            optimizer=self._optimizer,
            labels=tuple(flow.noted.labels),
            mutations=tuple(flow.noted.mutations),
            gradient_requests=tuple(flow.noted.requests),
            parameter_reads=tuple(flow.noted.reads),
            wrappers=tuple(self._wrappers),
            redraws=self._numbers.draws.rows(),
            repeats=self._numbers.reruns.repeats.rows(),
            wrong_backwards=self._numbers.backwards.found,
            overwrites=tuple(self._numbers.overwrites.found),
            padding_rows=tuple(self._numbers.padding.found),
            hidden_leaves=self._hidden.rows(),
            untied=self._untied,
            grown=self._grown,
            weightless=self._subject.fake_mode is not None,
            input_grad_hooks=self._input_grad_hooks,
            num_backwards=flow.num_backwards,
            first_backward=flow.first_backward,
        )


def _refuse_lazy(inventory: Inventory) -> None:
    """Parameters without a shape get one in the first forward, which cannot be taken back."""
    is_lazy = torch.nn.parameter.is_lazy
    names = [name for name, parameter in inventory.parameters if is_lazy(parameter)]
    if names or any(map(is_lazy, inventory.buffers)):
        what = f"{names[0]} of the model is" if names else "a buffer of the model is"
        raise RecordingError(
            f"{what} lazy: it has no shape before the first forward, which cannot be undone; run the model once, "
            "model(**batch), then inspect it"
        )


def _idle(row: Parameter) -> Parameter:
    """A parameter that had no gradient to wait for, as if it were frozen."""
    if row.gradient != "missing":
        return row
    return replace(row, requires_grad=False, requires_grad_after=False, gradient="frozen")


def _batch_rows(batch: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    return tuple(
        (str(key), shape_of(tensor), str(tensor.dtype).removeprefix("torch."))
        for key, value in batch.items()
        for tensor in tensors_in(value)
    )
