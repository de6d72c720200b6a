"""One training step, and the bound by which training may stop."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.amp import autocast
from torch.optim import Optimizer

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference.bounds.per_datum import elbo_per_datum
from ppl_disentangle.inference.distributed.processes import (
    all_reduce_mean,
    broadcast_first,
    data_parallel,
    gathered,
    num_processes,
    rank,
)
from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.inference.training.capture import NotCapturedError, StepGraph, in_short
from ppl_disentangle.inference.training.errors import NonFiniteError
from ppl_disentangle.inference.training.state import History, TrainingState
from ppl_disentangle.inference.training.update import Update
from ppl_disentangle.sites import data_plate, first_non_finite, observed_sites, paired_traces
from ppl_disentangle.story import GenerativeStory, fork_randomness

__all__ = ["Judge", "Trainer", "forgets_num_data", "fused_adam"]


def fused_adam(parameters: list[dict[str, Any]], lr: float) -> Optimizer:
    """Adam, one kernel for all parameters."""
    return torch.optim.Adam(parameters, lr=lr, fused=True)


@contextmanager
def forgets_num_data(objective: ELBO) -> Iterator[None]:
    """Afterwards the objective knows of numbers of data what it knew before, not those of what it was trained on."""
    before = getattr(objective, "num_data", None), getattr(objective, "part_sizes", None)
    try:
        yield
    finally:
        if isinstance(objective, DecomposedELBO):
            objective.num_data, objective.part_sizes = before


class Trainer:
    """One training step, the same at every step: no value is read on the host, no shape changes."""

    def __init__(
        self, story: GenerativeStory, objective: ELBO, batches: Batches, precision: str
    ) -> None:
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"expected precision 'float32' or 'bfloat16', got {precision!r}")
        self.story, self.objective, self.batches, self.precision = (
            story,
            objective,
            batches,
            precision,
        )
        self.device = batches.device
        story.to(self.device)
        story.num_data = len(batches.data)
        if precision == "bfloat16":
            story.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if isinstance(objective, DecomposedELBO):
            objective.to(self.device)
            if objective.num_data not in (None, len(batches.data)):
                raise ValueError(
                    f"the objective has num_data={objective.num_data}, the data are {len(batches.data)}"
                )
            objective.num_data = len(batches.data)
            if num_processes() > 1:
                objective.part_sizes = batches.sizes

    def prepare(self, optimizer: Callable[..., Optimizer], lr: float) -> None:
        """Run the pair once, so that all of its parameters exist; draws no random numbers."""
        x = self.batches(0)
        if not torch.isfinite(x).all():
            raise NonFiniteError(0, "x", "observations")
        with fork_randomness(), torch.no_grad(), pyro.validation_enabled(True):
            conditions = self.batches.conditions(0)
            plate = data_plate(observed_sites(self._first_trace(x, conditions)).values())
            self.bound = self.objective(self.story.model, self.story.guide)
            self.bound(x, **conditions)
        self.per_datum = 1 / (len(x) if plate is None else plate.full_size)
        learned = {
            id(p): p for m in (self.story, self.bound) for p in m.parameters() if p.requires_grad
        }
        own = self.objective.parameters() if isinstance(self.objective, nn.Module) else ()
        critics = [learned.pop(id(p)) for p in own if id(p) in learned]
        groups: list[dict[str, Any]] = [{"params": list(learned.values())}]
        if critics:
            groups.append({"params": critics, **getattr(self.objective, "optimizer_options", {})})
        self.optimizer = optimizer(groups, lr=lr)
        self.learned, self.update = [*learned.values(), *critics], Update(self.optimizer)
        self.graph: StepGraph | None = None
        self.loss, self.whole = (
            data_parallel(self.bound, self.story),
            isinstance(self.objective, DecomposedELBO),
        )
        # what this process's loss counts in the mean over processes
        self.share = 1.0 if self.whole else num_processes() * len(x) / self.batches.batch_size

    def _first_trace(self, x: Tensor, conditions: dict[str, Tensor]) -> Trace:
        try:
            self.story.guide(x, **conditions)
            return poutine.trace(self.story.model).get_trace(x, **conditions)
        except (RuntimeError, TypeError) as error:
            shape = tuple(x.shape)
            told = f" with {', '.join(conditions)}" if conditions else ""
            raise ValueError(
                f"the story does not take a batch of observations of shape {shape}{told}: {error}"
            ) from error

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
        return TrainingState(
            self.story, self.objective, self.optimizer, History(steps, self.device), settings
        )

    def step(self, step: int, history: History | None) -> None:
        """Take one step; record it in ``history``."""
        if self.graph is not None:
            record = self.graph(self.batches.index(step))
            if not self.graph.updates:
                self.update()
            if history is not None:
                history.write(step, self.graph.names, record)
            return
        x, conditions = self.batches(step), self.batches.conditions(step)
        for parameter in self.learned:
            parameter.grad = None
        with (
            autocast(self.device.type, torch.bfloat16)
            if self.precision == "bfloat16"
            else nullcontext()
        ):
            loss = self.loss(x, **conditions)
        loss.backward(loss.new_full((), self.per_datum * self.share))
        self.update()
        if history is not None:
            loss = loss.detach() if self.whole else all_reduce_mean(loss.detach() * self.share)
            history.record(step, loss, getattr(self.objective, "last_terms", {}), self.per_datum)

    def capture(self, state: TrainingState, *, compiler: bool, batch_inside: bool) -> None:
        """Take steps by a graph from now on, if two of them end as two eager steps do; ``state`` stays as it is.

        Raises:
            NotCapturedError: the step cannot be traced or compiled, or the graph gives something else.
        """
        graph = StepGraph(
            self.bound,
            self.per_datum,
            self.batches.at,
            self.batches.index(state.step),
            self.optimizer,
            batch_inside=batch_inside,
            precision=self.precision,
            compiler=compiler,
        )
        try:
            with warnings.catch_warnings(action="ignore"):  # the compiler's
                eager, captured = (self._outcome(state, taken_by) for taken_by in (None, graph))
        except Exception as error:  # the compiler's, of many types
            raise NotCapturedError(in_short(error)) from error
        # Where a gradient is zero but for rounding, Adam makes whole steps of the rounding.
        step = max(float(group["lr"]) for group in self.optimizer.param_groups)
        for name, value in eager.items():
            rtol, atol = (1e-4, 1e-4 if name == "loss" else 4 * step) if compiler else (0.0, 0.0)
            if not torch.allclose(
                value.double(), captured[name].double(), rtol=rtol, atol=atol, equal_nan=True
            ):
                raise NotCapturedError(f"the graph gives another {name}")
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = graph

    def _outcome(self, state: TrainingState, graph: StepGraph | None) -> dict[str, Tensor]:
        """All tensors after two more steps, and what was recorded of them."""
        start, history = state.snapshot(), History(state.step + 2, self.device)
        self.graph = graph
        try:
            with pyro.validation_enabled(False):
                for step in range(state.step, state.step + 2):
                    self.step(step, history)
            return {"loss": history.values[state.step :]} | state.snapshot()[0]
        finally:
            self.graph = None
            state.restore(*start)

    def diagnose(self, step: int) -> str | None:
        """The site at which ``step`` ceases to be finite, from the state before it."""
        with torch.no_grad():
            x, conditions = self.batches(step), self.batches.conditions(step)
            traces = paired_traces(
                self.story.model, self.story.guide, (x,), conditions, reparameterised=False
            )
            return next(filter(None, gathered(first_non_finite(*traces))), None)


class Judge:
    """The held-out bound, and whether it still gets better."""

    def __init__(
        self,
        story: GenerativeStory,
        data: FactorDataset,
        every: int,
        patience: int | None,
        seed: int,
    ) -> None:
        self.story, self.data, self.every, self.patience, self.seed = (
            story,
            data,
            every,
            patience,
            seed,
        )
        if not len(data):
            raise ValueError("expected at least one held-out datum, got none")
        elbo_per_datum(
            story, data.subset(torch.arange(1)), seed=seed
        )  # says what is wrong before training

    def evaluate(self, state: TrainingState) -> None:
        """Note the held-out bound if it is time, and keep the best weights if patience is limited."""
        if state.step % self.every:
            return
        before, row = [row[1] for row in state.held_out], [0.0] * 3
        if rank() == 0:
            means = elbo_per_datum(self.story, self.data, seed=self.seed).sum("code").mean()
            row = [float(means[k]) for k in ("elbo", "log_likelihood", "kl")]
        state.held_out.append([state.step, *broadcast_first(row)])
        if self.patience is not None and state.held_out[-1][1] > max(before, default=-float("inf")):
            state.best = {k: v.detach().clone() for k, v in self.story.state_dict().items()}

    def is_out_of_patience(self, state: TrainingState) -> bool:
        """Whether the bound has not got better for as many evaluations as patience allows."""
        scores = [row[1] for row in state.held_out]
        return (
            self.patience is not None
            and bool(scores)
            and len(scores) - 1 - scores.index(max(scores)) >= self.patience
        )
