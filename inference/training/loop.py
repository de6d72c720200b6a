"""Steps in chunks: nothing is read from the device within a chunk, everything is looked at between two."""

from __future__ import annotations

import itertools
import math
import signal
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import pyro

from ppl_disentangle.inference.distributed.processes import gathered, num_processes, rank
from ppl_disentangle.inference.training.capture import NotCapturedError
from ppl_disentangle.inference.training.errors import NonFiniteError, TrainingInterrupted
from ppl_disentangle.inference.training.state import UNDECIDED, TrainingState
from ppl_disentangle.inference.training.trainer import Judge, Trainer

__all__ = ["run"]

CHUNK_STEPS, CHUNK_SECONDS, SHARED_STEPS = 100, 0.5, 20
WORTH_A_GRAPH = 2000
"""Steps from which on tracing, which takes about as long as some hundred steps of a small story, pays."""

Compile = Literal["auto"] | bool


def run(
    trainer: Trainer,
    state: TrainingState,
    steps: int,
    judge: Judge | None,
    path: Path | None,
    checkpoint_every: int,
    validate_steps: int,
    compile: Compile,
    bar: Any,
) -> None:
    """Take steps until there are ``steps`` of them; between chunks see to history, held-out bound and checkpoint."""
    stop = judge is not None and judge.is_out_of_patience(state)
    first = state.step
    with interrupts() as caught:
        while state.step < steps and not stop:
            validate = state.step < validate_steps
            if not validate and state.step > first and state.captured == UNDECIDED:
                _capture(trainer, state, steps, compile, bar)
            ends = [
                steps,
                _next(state.step, checkpoint_every),
                *([_next(state.step, judge.every)] if judge else []),
            ]
            if validate or state.captured == UNDECIDED:
                ends.append(max(validate_steps, first + 1))
            _chunk(trainer, state, min(ends), validate, path)
            _show(bar, state)
            interrupted = any(gathered(bool(caught)))
            if judge is not None:
                judge.evaluate(state)
                stop = judge.is_out_of_patience(state)
            if path is not None and (
                state.step % checkpoint_every == 0 or interrupted or stop or state.step == steps
            ):
                _save(state, path)
            if interrupted:
                raise TrainingInterrupted(state.step, path)
    if state.best:
        trainer.story.load_state_dict(state.best)


def _capture(
    trainer: Trainer, state: TrainingState, steps: int, compile: Compile, bar: Any
) -> None:
    """Take the steps that are left by a graph, where that is asked for or pays; say why if they cannot be."""
    if compile is False or (
        compile == "auto" and (num_processes() > 1 or steps - state.step < WORTH_A_GRAPH)
    ):
        state.captured = "no"
        return
    if num_processes() > 1:
        state.captured, state.not_captured = "no", "several processes take it together"
        warnings.warn(f"the training step runs as it is: {state.not_captured}", stacklevel=4)
        return
    clock, reasons = time.monotonic(), []
    bar.set_description("capturing the step" if compile == "auto" else "compiling the step")
    for compiler, inside in itertools.product(
        (True, False) if compile is True else (False,), (True, False)
    ):
        try:
            trainer.capture(state, compiler=compiler, batch_inside=inside)
        except NotCapturedError as error:
            reasons.append(str(error))
        else:
            state.captured = "compiled" if compiler else "graph"
            break
    else:
        state.captured = "no"
    state.capture_seconds, state.not_captured = (
        time.monotonic() - clock,
        "; ".join(dict.fromkeys(reasons)),
    )
    bar.set_description("")
    if reasons and compile is True:
        how = (
            "runs as a graph that is not compiled" if state.captured == "graph" else "runs as it is"
        )
        warnings.warn(f"the training step {how}: {state.not_captured}", stacklevel=4)


def _chunk(
    trainer: Trainer, state: TrainingState, end: int, validate: bool, path: Path | None
) -> None:
    """Take steps up to ``end`` or until it is time to look at them; go back if one was not finite."""
    start, before, clock = state.step, state.snapshot(), time.monotonic()
    steps, seconds = (
        (CHUNK_STEPS, CHUNK_SECONDS) if num_processes() == 1 else (SHARED_STEPS, math.inf)
    )
    try:
        with pyro.validation_enabled(validate):
            while state.step < min(end, start + steps) and time.monotonic() - clock < seconds:
                trainer.step(state.step, state.history)
                state.step += 1
    except ValueError as error:  # Pyro's validation, perhaps of what is just not finite
        site = None if num_processes() > 1 else _go_back(trainer, state, before, state.step, path)
        if site is None:
            raise
        raise NonFiniteError(state.step, site, "loss") from error
    finite = np.isfinite(state.history.rows(start, state.step))
    if not finite.all():
        bad = start + int(np.argmin(finite.all(1)))
        terms = [
            n for n, ok in zip(state.history.names, finite[bad - start], strict=True) if not ok
        ]
        raise NonFiniteError(bad, _go_back(trainer, state, before, bad, path), terms[-1])


def _go_back(
    trainer: Trainer,
    state: TrainingState,
    before: tuple[dict[str, Any], dict[str, Any]],
    bad: int,
    path: Path | None,
) -> str | None:
    """Restore the state before the step ``bad`` by way of ``before``, and save it; returns the site that goes wrong."""
    state.restore(*before)
    with pyro.validation_enabled(False):
        for step in range(state.step, bad):
            trainer.step(step, None)
        state.step = bad
        if path is not None:
            _save(state, path)
        return trainer.diagnose(bad)


def _save(state: TrainingState, path: Path) -> None:
    """Write a checkpoint; of several processes, which all have the same, the first does."""
    if rank() == 0:
        state.save(path)


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


def _show(bar: Any, state: TrainingState) -> None:
    last = state.history.rows(state.step - 1, state.step)[0]
    bar.set_postfix(
        {n: f"{v:.2f}" for n, v in zip(state.history.names, last, strict=True)}, refresh=False
    )
    bar.update(state.step - bar.n)


@contextmanager
def interrupts() -> Iterator[list[int]]:
    """A list that Ctrl-C fills, so that the step under way is finished first; a second Ctrl-C does not wait."""
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield caught
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
