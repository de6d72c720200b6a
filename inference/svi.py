"""Stochastic variational inference: one loop for every story, objective and optimiser."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import pyro
import torch
import xarray as xr
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.optim import Optimizer
from tqdm import tqdm

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference.batches import Batches
from ppl_disentangle.inference.beta import BetaELBO
from ppl_disentangle.inference.bounds import evidence
from ppl_disentangle.inference.decomposed import DecomposedELBO
from ppl_disentangle.inference.state import History, TrainingState
from ppl_disentangle.sites import data_plate, first_non_finite, observed_sites, paired_traces
from ppl_disentangle.story import GenerativeStory, Pair, fork_randomness, parameters_stay_local, story_of

__all__ = ["NonFiniteError", "TrainingInterrupted", "fit"]

CHUNK_STEPS, CHUNK_SECONDS = 100, 0.5


class NonFiniteError(ArithmeticError):
    """A term became NaN or infinite. The story has the weights from before that step.

    Attributes:
        step: the step at which it happened, from 0.
        site: the first site whose value or log density is not finite; ``None`` if only the loss is not.
        term: the first term that is not finite.
    """

    def __init__(self, step: int, site: str | None, term: str) -> None:
        where = f"site {site!r}" if site else "no single site (the terms alone)"
        super().__init__(
            f"step {step}: the term {term!r} is not finite, first at {where}; the story has its weights from before"
            " that step. Lower the learning rate, check the data, or warm the weights up"
        )
        self.step, self.site, self.term = step, site, term


class TrainingInterrupted(KeyboardInterrupt):
    """Ctrl-C, taken at the end of a step.

    Attributes:
        step: number of steps taken.
        checkpoint: the file that was written, if any.
    """

    def __init__(self, step: int, checkpoint: Path | None) -> None:
        super().__init__(f"stopped after {step} steps" + (f"; saved {checkpoint}" if checkpoint else ""))
        self.step, self.checkpoint = step, checkpoint


def fit(
    story: GenerativeStory,
    data: FactorDataset,
    *,
    steps: int,
    objective: ELBO | None = None,
    batch_size: int = 64,
    lr: float = 1e-3,
    optimizer: Callable[..., Optimizer] | None = None,
    seed: int = 0,
    device: str | torch.device = "auto",
    precision: Literal["float32", "bfloat16"] = "float32",
    held_out: FactorDataset | None = None,
    evaluate_every: int = 1000,
    patience: int | None = None,
    checkpoint: str | Path | None = None,
    checkpoint_every: int = 1000,
    resume: bool = False,
    progress: bool = True,
    validate_steps: int = 3,
) -> xr.Dataset:
    """Fit ``story`` to ``data`` in place.

    The same seed gives the same weights bit for bit on one kind of CPU and number of threads. Neither the caller's
    random state nor Pyro's parameter store is touched.

    Args:
        story: a story, or anything with a ``model`` and a ``guide``.
        data: the observations.
        steps: number of steps in all, those of a resumed run included.
        objective: any Pyro ELBO; by default the story's own, else the evidence lower bound.
        batch_size: data per step.
        lr: learning rate.
        optimizer: ``optimizer(parameters, lr=lr)``, such as ``torch.optim.SGD``; by default fused Adam.
        seed: of the order of the data and of the draws.
        device: ``"auto"`` is CUDA where there is one.
        precision: ``"bfloat16"`` runs the networks in bfloat16 and channels-last; distributions stay in float32.
        held_out: data for a held-out bound, all of them every ``evaluate_every`` steps.
        evaluate_every: steps between two held-out bounds.
        patience: stop after so many held-out bounds without a better one, and keep the best weights.
        checkpoint: a file to save to every ``checkpoint_every`` steps and at the end.
        checkpoint_every: steps between two checkpoints.
        resume: go on from ``checkpoint`` if it exists; the result is that of an uninterrupted run bit for bit.
        progress: show a bar with the terms.
        validate_steps: number of first steps under Pyro's validation.

    Returns:
        ``loss`` and the objective's terms over ``step``, in nats per datum; with ``held_out`` also ``held_out_elbo``,
        ``held_out_log_likelihood`` and ``held_out_kl`` over ``held_out_step``.

    Raises:
        NonFiniteError: a term became NaN or infinite.
        TrainingInterrupted: Ctrl-C.
        FileExistsError: ``checkpoint`` exists and ``resume`` is false.
        ValueError: an argument, or a checkpoint of a run with other settings.
    """
    if steps < 1:
        raise ValueError(f"expected steps >= 1, got {steps}")
    if patience is not None and held_out is None:
        raise ValueError("patience needs held_out data to judge by")
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and path.exists() and not resume:
        raise FileExistsError(f"{path} exists; pass resume=True to go on from it, or another path")
    device = resolve_device(device)
    batches = Batches(data, batch_size, seed=seed, device=device)
    own = story_of(story)
    with fork_randomness(), parameters_stay_local():
        torch.manual_seed(seed)
        trainer = _Trainer(own, objective or own.objective() or BetaELBO(1.0), batches, precision)
        trainer.prepare(optimizer or _adam, lr)
        state = trainer.state(steps, {"seed": seed, "lr": lr, "data": data.name, "num_data": len(data)})
        if path is not None and path.exists():
            state.load(path)
        judge = None if held_out is None else _Judge(own, held_out, evaluate_every, patience, seed)
        with tqdm(total=steps, initial=state.step, unit="step", disable=not progress, dynamic_ncols=True) as bar:
            _run(trainer, state, steps, judge, path, checkpoint_every, validate_steps, bar)
    if isinstance(own, Pair) and own is not story:
        own.publish()
    return state.dataset().assign_attrs(device=str(device), settings=json.dumps(state.settings))


def resolve_device(device: str | torch.device) -> torch.device:
    """``"auto"`` as the best device at hand, anything else as it is."""
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def _adam(parameters: list[nn.Parameter], lr: float) -> Optimizer:
    return torch.optim.Adam(parameters, lr=lr, fused=True)


class _Trainer:
    """One training step, the same at every step: no value is read on the host, no shape changes."""

    def __init__(self, story: GenerativeStory, objective: ELBO, batches: Batches, precision: str) -> None:
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"expected precision 'float32' or 'bfloat16', got {precision!r}")
        self.story, self.objective, self.batches, self.precision = story, objective, batches, precision
        self.device = batches.device
        story.to(self.device)
        story.num_data = len(batches.data)
        if precision == "bfloat16":
            story.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(objective, DecomposedELBO):
            objective.to(self.device)
            if objective.num_data not in (None, len(batches.data)):
                raise ValueError(f"the objective has num_data={objective.num_data}, the data are {len(batches.data)}")
            objective.num_data = len(batches.data)

    def prepare(self, optimizer: Callable[..., Optimizer], lr: float) -> None:
        """Run the pair once, so that all of its parameters exist; draws no random numbers."""
        x = self.batches(0)
        if not torch.isfinite(x).all():
            raise NonFiniteError(0, "x", "observations")
        with fork_randomness(), torch.no_grad(), pyro.validation_enabled(True):
            model_trace = self._first_trace(x)
            plate = data_plate(observed_sites(model_trace).values())
            self.bound = self.objective(self.story.model, self.story.guide)
            self.bound(x)
        self.per_datum = 1 / (len(x) if plate is None else plate.full_size)
        parameters = list({id(p): p for m in (self.story, self.bound) for p in m.parameters()}.values())
        self.optimizer = optimizer([p for p in parameters if p.requires_grad], lr=lr)

    def _first_trace(self, x: Tensor) -> Trace:
        try:
            return paired_traces(self.story.model, self.story.guide, (x,), {})[0]
        except (RuntimeError, TypeError) as error:
            shape = tuple(x.shape)
            raise ValueError(f"the story does not take a batch of observations of shape {shape}: {error}") from error

    def state(self, steps: int, settings: dict[str, Any]) -> TrainingState:
        """The state before the first step."""
        settings |= {
            "story": type(self.story).__name__,
            "objective": repr(self.objective)
            if isinstance(self.objective, nn.Module)
            else type(self.objective).__name__,
            "optimizer": type(self.optimizer).__name__,
            "batch_size": self.batches.batch_size,
            "precision": self.precision,
        }
        return TrainingState(self.story, self.objective, self.optimizer, History(steps, self.device), settings)

    def step(self, step: int, history: History | None) -> None:
        """Take one step; record it in ``history``."""
        x = self.batches(step)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
            loss = self.bound(x)
        (loss * self.per_datum).backward()
        self.optimizer.step()
        if history is not None:
            history.record(step, loss.detach(), getattr(self.objective, "last_terms", {}), self.per_datum)

    def diagnose(self, step: int) -> str | None:
        """The site at which ``step`` ceases to be finite, from the state before it."""
        with torch.no_grad():
            traces = paired_traces(self.story.model, self.story.guide, (self.batches(step),), {})
            return first_non_finite(*traces)


class _Judge:
    """The held-out bound, and whether it still gets better."""

    def __init__(
        self, story: GenerativeStory, data: FactorDataset, every: int, patience: int | None, seed: int
    ) -> None:
        self.story, self.data, self.every, self.patience, self.seed = story, data, every, patience, seed

    def __call__(self, state: TrainingState) -> bool:
        """Evaluate if it is time; true if training should stop."""
        if state.step % self.every:
            return False
        means = evidence(self.story, self.data, seed=self.seed).sum("code").mean()
        before = [row[1] for row in state.held_out]
        state.held_out.append([state.step, *(float(means[k]) for k in ("elbo", "log_likelihood", "kl"))])
        if self.patience is None:
            return False
        if not before or state.held_out[-1][1] > max(before):
            state.best = {k: v.detach().clone() for k, v in self.story.state_dict().items()}
            return False
        scores = [row[1] for row in state.held_out]
        return len(scores) - 1 - scores.index(max(scores)) >= self.patience


def _run(
    trainer: _Trainer,
    state: TrainingState,
    steps: int,
    judge: _Judge | None,
    path: Path | None,
    checkpoint_every: int,
    validate_steps: int,
    bar: Any,
) -> None:
    with _interrupts() as interrupted:
        stop = False
        while state.step < steps and not stop:
            boundaries = [steps, _next(state.step, checkpoint_every)] + (
                [_next(state.step, judge.every)] if judge else []
            )
            validate = state.step < validate_steps
            _chunk(trainer, state, min(boundaries + ([validate_steps] if validate else [])), validate, path)
            _show(bar, state)
            stop = judge is not None and judge(state)
            if path is not None and (state.step % checkpoint_every == 0 or interrupted or stop or state.step == steps):
                state.save(path)
            if interrupted:
                raise TrainingInterrupted(state.step, path)
    if state.best:
        trainer.story.load_state_dict(state.best)


def _chunk(trainer: _Trainer, state: TrainingState, end: int, validate: bool, path: Path | None) -> None:
    """Take steps up to ``end`` or until it is time to look at them; go back if one was not finite."""
    start, before, clock = state.step, state.snapshot(), time.monotonic()
    try:
        with pyro.validation_enabled(validate):
            while state.step < min(end, start + CHUNK_STEPS) and time.monotonic() - clock < CHUNK_SECONDS:
                trainer.step(state.step, state.history)
                state.step += 1
    except ValueError as error:  # Pyro's validation, perhaps of what is just not finite
        site = _go_back(trainer, state, before, state.step, path)
        if site is None:
            raise
        raise NonFiniteError(state.step, site, "loss") from error
    finite = np.isfinite(state.history.rows(start, state.step))
    if not finite.all():
        bad = start + int(np.argmin(finite.all(1)))
        terms = [n for n, ok in zip(state.history.names, finite[bad - start], strict=True) if not ok]
        raise NonFiniteError(bad, _go_back(trainer, state, before, bad, path), terms[-1])


def _go_back(
    trainer: _Trainer, state: TrainingState, before: tuple[dict[str, Any], dict[str, Any]], bad: int, path: Path | None
) -> str | None:
    """Restore the state before the step ``bad`` by way of ``before``, and save it; returns the site that goes wrong."""
    state.restore(*before)
    with pyro.validation_enabled(False):
        for step in range(state.step, bad):
            trainer.step(step, None)
        state.step = bad
        if path is not None:
            state.save(path)
        return trainer.diagnose(bad)


def _next(step: int, every: int) -> int:
    return (step // every + 1) * every


def _show(bar: Any, state: TrainingState) -> None:
    last = state.history.rows(state.step - 1, state.step)[0]
    bar.set_postfix({n: f"{v:.2f}" for n, v in zip(state.history.names, last, strict=True)}, refresh=False)
    bar.update(state.step - bar.n)


@contextmanager
def _interrupts() -> Iterator[list[int]]:
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
