"""The training loop: steps in chunks, with checks and checkpoints between two chunks.

Within a chunk nothing is read from the device. Between two chunks the loop looks at the history,
the held-out bound, the checkpoint, and whether someone asked it to stop.
"""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import pyro

from ppl_disentangle._private_names import MissingNameError
from ppl_disentangle.inference.distributed.processes import gathered, num_processes, rank
from ppl_disentangle.inference.training.any_objective import has_value
from ppl_disentangle.inference.training.capture import NotCapturedError
from ppl_disentangle.inference.training.errors import NonFiniteError, TrainingInterrupted
from ppl_disentangle.inference.training.held_out import HeldOutBound
from ppl_disentangle.inference.training.state import Capture, TrainingState
from ppl_disentangle.inference.training.trainer import Trainer

__all__ = ["Compile", "Schedule", "train_loop"]

CHUNK_STEPS = 100
CHUNK_SECONDS = 0.5
SHARED_CHUNK_STEPS = 20
"""Steps of a chunk of several processes, whose clocks must not end their chunks apart."""
MIN_GRAPH_STEPS = 2000
"""Fewest steps for which tracing pays: it takes as long as some hundred steps of a small story."""
CALLERS = 5
"""Number of calls from a warning in :class:`_Loop` up to the caller of ``fit``, as stacklevel."""

Compile = Literal["auto"] | bool
Snapshot = tuple[dict[str, Any], dict[str, Any]]


@dataclass(frozen=True)
class Schedule:
    """Number of steps, and the steps at which training saves, validates and compiles.

    Attributes:
        steps: Number of steps in all.
        checkpoint: File of the checkpoints; ``None`` for no checkpoints.
        checkpoint_every: Number of steps between two checkpoints.
        validate_steps: Number of first steps under Pyro's validation.
        compile: Whether later steps are captured as a graph, and compiled; see ``fit``.
    """

    steps: int
    checkpoint: Path | None = None
    checkpoint_every: int = 1000
    validate_steps: int = 3
    compile: Compile = "auto"


def train_loop(
    trainer: Trainer,
    state: TrainingState,
    schedule: Schedule,
    held_out: HeldOutBound | None,
    bar: Any,
) -> None:
    """Take all steps of ``schedule`` that ``state`` has not taken yet.

    Args:
        trainer: Takes the steps.
        state: The state of training, which is changed.
        schedule: Number of steps, checkpoints, validation and compilation.
        held_out: The held-out bound, if there are held-out data.
        bar: A progress bar, such as ``tqdm`` makes.

    Raises:
        NonFiniteError: A term became NaN or infinite.
        TrainingInterrupted: Ctrl-C.
    """
    _Loop(trainer, state, schedule, held_out, bar).run()


@dataclass(frozen=True)
class _Loop:
    """The arguments of :func:`train_loop`, and the steps that it consists of."""

    trainer: Trainer
    state: TrainingState
    schedule: Schedule
    held_out: HeldOutBound | None
    bar: Any

    def run(self) -> None:
        state = self.state
        first = state.step
        with interrupts() as caught:
            stop = self._is_out_of_patience()
            while state.step < self.schedule.steps and not stop:
                # Tracing needs the gradients and moments that an eager step leaves.
                if state.capture is None and state.step > first and not self._validates():
                    state.capture = self._capture()
                self._take_chunk(self._next_stop(first))
                self._show()
                interrupted = any(gathered(bool(caught)))
                stop = self._evaluate()
                if interrupted or stop or self._checkpoint_is_due():
                    self._save()
                if interrupted:
                    raise TrainingInterrupted(state.step, self.schedule.checkpoint)
        self._load_best()

    def _load_best(self) -> None:
        """Give the story the weights with the best held-out bound, if they were kept."""
        if self.state.best:
            self.trainer.story.load_state_dict(self.state.best)

    def _is_out_of_patience(self) -> bool:
        return self.held_out is not None and self.held_out.is_out_of_patience(self.state)

    def _evaluate(self) -> bool:
        """Evaluate the held-out bound if it is due; whether training stops."""
        if self.held_out is not None and self.held_out.evaluate(self.state):
            _, bound, *_ = self.state.held_out[-1]
            self.trainer.optimisation.follow(bound)
        return self._is_out_of_patience()

    def _validates(self) -> bool:
        """Whether the next step is under Pyro's validation."""
        return self.state.step < self.schedule.validate_steps

    def _next_stop(self, first: int) -> int:
        """The next step at which something is due; ``first`` is the first step of this run."""
        step = self.state.step
        stops = [self.schedule.steps, _next_multiple(step, self.schedule.checkpoint_every)]
        if self.held_out is not None:
            stops.append(_next_multiple(step, self.held_out.every))
        if self._validates() or self.state.capture is None:
            # One eager step without validation comes before the decision on a graph.
            stops.append(max(self.schedule.validate_steps, first + 1))
        return min(stops)

    def _checkpoint_is_due(self) -> bool:
        step = self.state.step
        return step % self.schedule.checkpoint_every == 0 or step == self.schedule.steps

    def _save(self) -> None:
        """Write a checkpoint, if any; all processes have the same state, and the first writes."""
        if self.schedule.checkpoint is not None and rank() == 0:
            self.state.save(self.schedule.checkpoint)

    def _show(self) -> None:
        """Show the last step's loss and terms."""
        history = self.state.history
        last = history.rows(self.state.step - 1, self.state.step)[0]
        values = zip(history.names, last, strict=True)
        self.bar.set_postfix({name: f"{value:.2f}" for name, value in values}, refresh=False)
        self.bar.update(self.state.step - self.bar.n)

    def _capture(self) -> Capture:
        """Take the remaining steps by a graph where that is asked for or pays; say why not."""
        compile = self.schedule.compile
        remaining = self.schedule.steps - self.state.step
        pays = num_processes() == 1 and remaining >= MIN_GRAPH_STEPS
        if compile is False or (compile == "auto" and not pays):
            return Capture()
        if num_processes() > 1:
            capture = Capture(not_captured="several processes take it together")
            unexpected = True
        else:
            capture, unexpected = self._capture_alone()
        if unexpected:
            runs = "runs as it is"
            if capture.how == "graph":
                runs = "runs as a graph that is not compiled"
            warnings.warn(f"the training step {runs}: {capture.not_captured}", stacklevel=CALLERS)
        return capture

    def _capture_alone(self) -> tuple[Capture, bool]:
        """How a single process takes the remaining steps, and whether to warn about it."""
        is_compiled = self.schedule.compile is True
        start = time.monotonic()
        self.bar.set_description("compiling the step" if is_compiled else "capturing the step")
        how, errors = self._try_captures()
        self.bar.set_description("")
        reasons = dict.fromkeys(map(str, errors))  # each once, in their order
        capture = Capture(how, "; ".join(reasons), time.monotonic() - start)
        torch_has_changed = any(isinstance(e.__cause__, MissingNameError) for e in errors)
        return capture, torch_has_changed or (is_compiled and bool(errors))

    def _try_captures(
        self,
    ) -> tuple[Literal["graph", "compiled", "no"], list[NotCapturedError]]:
        """Capture the step in the fastest way that works; and the errors of faster ways."""
        errors = []
        compilers = (True, False) if self.schedule.compile is True else (False,)
        for compiler, batch_inside in itertools.product(compilers, (True, False)):
            try:
                self.trainer.capture(self.state, compiler=compiler, batch_inside=batch_inside)
            except NotCapturedError as error:
                errors.append(error)
            else:
                return "compiled" if compiler else "graph", errors
        return "no", errors

    def _take_chunk(self, end: int) -> None:
        """Take steps up to ``end``, or fewer; go back if one of them was not finite."""
        start = self.state.step
        before = self.state.snapshot()
        try:
            with pyro.validation_enabled(self._validates()):
                self._take_steps(end)
        except ValueError as error:
            # Pyro's validation may have met a value that is not finite. Of several processes only
            # one may have, and going back would wait for the others.
            alone = num_processes() == 1
            site = self._go_back(before, self.state.step) if alone else None
            if site is None:
                raise
            raise NonFiniteError(self.state.step, site, "loss") from error
        self._check_finite(start, before)

    def _take_steps(self, end: int) -> None:
        """Take steps up to ``end``, or until it is time to look at them."""
        alone = num_processes() == 1
        deadline = time.monotonic() + (CHUNK_SECONDS if alone else math.inf)
        last = min(end, self.state.step + (CHUNK_STEPS if alone else SHARED_CHUNK_STEPS))
        while self.state.step < last and time.monotonic() < deadline:
            self.trainer.step(self.state.step, self.state.history)
            self.state.step += 1

    def _check_finite(self, start: int, before: Snapshot) -> None:
        """Raise if a step since ``start`` was not finite; ``before`` is the state at ``start``."""
        history = self.state.history
        finite = np.isfinite(history.rows(start, self.state.step))  # (steps, names)
        if not has_value(self.trainer.objective):
            finite[:, 0] = True  # the loss
        if finite.all():
            return
        row = int(np.argmin(finite.all(1)))  # the first step that is not finite
        terms = [name for name, ok in zip(history.names, finite[row], strict=True) if not ok]
        step = start + row
        raise NonFiniteError(step, self._go_back(before, step), terms[-1])

    def _go_back(self, before: Snapshot, bad: int) -> str | None:
        """Restore and save the state before the step ``bad``; return the site that goes wrong.

        Args:
            before: A state from which the same steps lead to ``bad`` again.
            bad: The step that is not finite.
        """
        self.state.restore(*before)
        with pyro.validation_enabled(False):
            for step in range(self.state.step, bad):
                self.trainer.step(step, None)
            self.state.step = bad
            self._save()
            return self.trainer.diagnose(bad)


def _next_multiple(step: int, every: int) -> int:
    return (step // every + 1) * every


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that Ctrl-C fills, so that the loop can end its step; a second Ctrl-C ends at once."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught  # Python lets the main thread alone handle signals
        return

    def note(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield caught
    finally:
        signal.signal(signal.SIGINT, before)
