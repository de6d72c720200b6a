"""One training step, taken eagerly or by a graph."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.amp import autocast

from ppl_disentangle.conditions import programs
from ppl_disentangle.inference.distributed.processes import (
    all_reduce_mean,
    data_parallel,
    gathered,
    num_processes,
)
from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.training.any_objective import (
    Objective,
    check_objective,
    check_statistics,
    computes_own_gradients,
    loss_with_gradients,
    settle,
)
from ppl_disentangle.inference.training.batches import Batches
from ppl_disentangle.inference.training.capture import (
    NotCapturedError,
    StepGraph,
    short_message,
)
from ppl_disentangle.inference.training.errors import NonFiniteError, taking_batch
from ppl_disentangle.inference.training.objective_attributes import last_terms, optimizer_options
from ppl_disentangle.inference.training.optimizers import Optimisation, OptimiserSettings
from ppl_disentangle.inference.training.scale import check_scale, naming_scale
from ppl_disentangle.inference.training.state import History, TrainingState
from ppl_disentangle.missing import for_missing
from ppl_disentangle.pairs import Pair
from ppl_disentangle.sites import data_plate, first_non_finite, observed_sites, paired_traces
from ppl_disentangle.story import GenerativeStory, fork_randomness, not_training

__all__ = ["Trainer"]

COMPILED_TOLERANCE = 1e-4
"""Relative error of compiled steps, and absolute error of their loss in nats per datum."""
COMPILED_TOLERANCE_STEPS = 4
"""Absolute error of a weight after two compiled steps, as a multiple of the learning rate."""


def _is_finite(x: Tensor, may_have_missing: bool) -> bool:
    """Whether observations are finite; NaN is not, unless it stands for missing values."""
    return not x.isinf().any() if may_have_missing else bool(torch.isfinite(x).all())


class Trainer:
    """Takes training steps; no step reads a value on the host or changes a shape.

    The constructor moves the story to the device of the batches and runs it once, so that all of
    its parameters exist. That draws no random numbers.

    Args:
        story: The story, which is trained in place.
        objective: Its objective.
        batches: The batches of all steps.
        precision: ``"float32"`` or ``"bfloat16"``.
        optimiser: The optimiser, its schedule, and the clipping of gradients.

    Attributes:
        bound: The loss of one batch as a module.
        per_datum: Factor that turns the loss of a batch into nats per datum.
        graph: The graph by which steps are taken; ``None`` for eager steps.

    Raises:
        NonFiniteError: The first batch has NaN or infinite observations.
        ValueError: An argument is wrong, or the story does not take the observations.
    """

    def __init__(
        self,
        story: GenerativeStory,
        objective: Objective,
        batches: Batches,
        *,
        precision: str = "float32",
        optimiser: OptimiserSettings | None = None,
    ) -> None:
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f"expected precision 'float32' or 'bfloat16', got {precision!r}")
        self.story = story
        self.objective = objective
        self.batches = batches
        self.precision = precision
        self.device = batches.device
        self.graph: StepGraph | None = None
        self._prepare_story()
        self._asked = for_missing(story, batches.data)
        self._prepare_objective()
        with naming_scale(batches.data):
            self.bound, self.per_datum = self._first_bound()
        groups = self._parameter_groups()
        self.learned = [parameter for group in groups for parameter in group["params"]]
        if not groups[0]["params"]:
            raise ValueError(
                f"{story.title} has no parameter to learn: state them with pyro.param, pyro.module"
                " or as parameters of the module, with requires_grad"
            )
        names = self.story.pyro_names()
        self.optimisation = Optimisation(optimiser or OptimiserSettings(), groups, names)
        self.optimizer = self.optimisation.optimizer
        self._gradient_scale = 1.0 if self.optimisation.takes_sums else self.per_datum
        self._loss = data_parallel(self.bound, self.story)
        # Gradients are averaged over the processes. Our objectives compute the loss of the whole
        # batch in each; the loss of a part of the batch counts by the size of that part.
        self._of_whole_batch = isinstance(objective, DecomposedELBO)
        share_of_part = num_processes() * len(batches.index(0)) / batches.batch_size
        self._share = 1.0 if self._of_whole_batch else share_of_part

    def _prepare_story(self) -> None:
        self.story.to(device=self.device, dtype=self.batches.dtype)
        self.story.num_data = len(self.batches.data)
        if self.precision == "bfloat16":
            self.story.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _prepare_objective(self) -> None:
        objective = self.objective
        num_data = len(self.batches.data)
        if not isinstance(objective, DecomposedELBO):
            return
        if objective.reads_data and self.batches.data.has_missing:
            raise ValueError(
                f"{type(objective).__name__} compares the observations themselves, so that missing"
                " values cannot be left out: impute them first, or choose another objective"
            )
        if objective.num_data not in (None, num_data):
            raise ValueError(
                f"the objective has num_data={objective.num_data}, the data are {num_data}"
            )
        objective.to(device=self.device, dtype=self.batches.dtype)
        objective.num_data = num_data
        if num_processes() > 1:
            objective.part_sizes = self.batches.sizes

    def _first_bound(self) -> tuple[nn.Module, float]:
        """The loss of a batch as a module, with all parameters, and one over the data it is of.

        Running statistics of the story do not change.
        """
        x, conditions = self.batches.at(self.batches.index(0))
        if not _is_finite(x, self.batches.data.has_missing):
            raise NonFiniteError(0, "x", "observations")
        check_objective(self.objective, conditions)
        check_statistics(self.objective, self.story)
        with (
            fork_randomness(),
            torch.no_grad(),
            pyro.validation_enabled(True),
            not_training(self.story),
        ):
            trace = self._first_trace(x, conditions)
            check_scale(self.batches.data, x, observed_sites(trace).values())
            self._check_parameters()
            self._check_order()
            self.story.to(dtype=self.batches.dtype)  # of parameters that the first run made
            return self._settled_bound(x, conditions), 1 / self._num_data_of(trace, x)

    def _settled_bound(self, x: Tensor, conditions: Mapping[str, Tensor]) -> nn.Module:
        """The loss as a module, after the first run of guide and objective, which makes parameters."""
        # Jit objectives trace a pair anew that is not the very same.
        self._programs = model, guide = programs(self._asked, conditions)
        if isinstance(self.objective, DecomposedELBO):
            bound = self.objective(model, guide)
            bound(x, **conditions)
            return bound
        settle(self.objective, model, guide, x, conditions)
        if isinstance(self.objective, ELBO):
            return self.objective(model, guide)
        return nn.Module()  # the objective computes the gradients of a step itself

    def _num_data_of(self, trace: Trace, x: Tensor) -> int:
        """Number of data that the loss of a batch is of."""
        observed = observed_sites(trace).values()
        full_sizes = {p.full_size for site in observed for p in site.plates if p.size == len(x)}
        if len(full_sizes) == 1:
            return full_sizes.pop()
        plate = data_plate(observed)
        return len(x) if plate is None else plate.full_size

    def _check_parameters(self) -> None:
        """Refuse parameters that only Pyro's store has: no step would change them."""
        known = set(map(id, self.story.parameters()))
        for name, value in pyro.get_param_store().named_parameters():
            if id(value) not in known:
                raise ValueError(
                    f"{self.story.title} states pyro.param({name!r}), which is no parameter of the"
                    " module and would not be trained: make it an nn.Parameter, or pass its model"
                    " and guide to as_story"
                )

    def _check_order(self) -> None:
        """Refuse to shuffle the data of a guide that has one value for each datum."""
        story = self.story
        if isinstance(story, Pair) and story.fixed_size is not None and self.batches.shuffled:
            raise ValueError(
                f"the guide of {story.title} has one value for each datum: make it for all data"
                " first, as_story(model, guide, example=x)"
            )

    def _first_trace(self, x: Tensor, conditions: Mapping[str, Tensor]) -> Trace:
        """A trace of the model, after the guide has run."""
        model, guide = programs(self._asked, conditions)
        with taking_batch(x, conditions):
            guide(x, **conditions)
            return poutine.trace(model).get_trace(x, **conditions)

    def _parameter_groups(self) -> list[dict[str, Any]]:
        """Parameters of the pair, and in a group apart the objective's, such as a critic's."""
        parameters = (*self.story.parameters(), *self.bound.parameters())
        pair = {id(parameter): parameter for parameter in parameters if parameter.requires_grad}
        of_objective = self.objective.parameters() if isinstance(self.objective, nn.Module) else ()
        critics = [pair.pop(id(parameter)) for parameter in of_objective if id(parameter) in pair]
        groups: list[dict[str, Any]] = [{"params": list(pair.values())}]
        if critics:
            groups.append({"params": critics, **optimizer_options(self.objective)})
        return groups

    def state(self, steps: int, settings: Mapping[str, Any]) -> TrainingState:
        """The state before the first of ``steps`` steps, with further settings of the run."""
        is_module = isinstance(self.objective, nn.Module)
        scheduler = self.optimisation.scheduler
        all_settings = {
            **settings,
            "story": type(self.story).__name__,
            "objective": repr(self.objective) if is_module else type(self.objective).__name__,
            "optimizer": type(self.optimizer).__name__,
            "scheduler": None if scheduler is None else type(scheduler).__name__,
            "batch_size": self.batches.batch_size,
            "precision": self.precision,
        }
        history = History(steps, self.device, self.batches.dtype)
        return TrainingState(
            self.story, self.objective, self.optimizer, history, all_settings, scheduler=scheduler
        )

    def step(self, step: int, history: History | None) -> None:
        """Take the step of that number, and record it in ``history`` if there is one."""
        if self.graph is None:
            self._eager_step(step, history)
        else:
            self._graph_step(self.graph, step, history)

    def _eager_step(self, step: int, history: History | None) -> None:
        x, conditions = self.batches.at(self.batches.index(step))
        for parameter in self.learned:
            parameter.grad = None
        if computes_own_gradients(self.objective):
            loss, terms = self._own_gradients(x, conditions)
        else:
            loss, terms = self._gradients(x, conditions)
        self.optimisation.step()
        if history is not None:
            history.record(step, self._loss_of_whole_batch(loss), terms, self.per_datum)

    def _gradients(
        self, x: Tensor, conditions: Mapping[str, Tensor]
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss and terms of a batch, whose gradients are left in the parameters."""
        with self._autocast():
            loss = self._loss(x, **conditions)
        # Scaling the gradient of the loss costs less than scaling the loss.
        loss.backward(loss.new_full((), self._gradient_scale * self._share))
        return loss.detach(), last_terms(self.objective)

    def _own_gradients(
        self, x: Tensor, conditions: Mapping[str, Tensor]
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The same for an objective that computes the gradients itself."""
        with self._autocast():
            loss, terms = loss_with_gradients(self.objective, *self._programs, x, conditions)
        for parameter in self.learned:
            if parameter.grad is not None:
                parameter.grad.mul_(self._gradient_scale)
        return loss, terms

    def _graph_step(self, graph: StepGraph, step: int, history: History | None) -> None:
        record = graph(self.batches.index(step))
        if not graph.updates:
            self.optimisation.step()
        if history is not None:
            history.write(step, graph.names, record)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "float32":
            return nullcontext()
        return autocast(self.device.type, torch.bfloat16)

    def _loss_of_whole_batch(self, loss: Tensor) -> Tensor:
        return loss if self._of_whole_batch else all_reduce_mean(loss * self._share)

    def capture(self, state: TrainingState, *, compiler: bool, batch_inside: bool) -> None:
        """Take steps by a graph from now on, provided that it takes two of them as eager steps do.

        Args:
            state: The present state, which stays as it is.
            compiler: Whether inductor compiles the graph.
            batch_inside: Whether the graph makes the batch, too.

        Raises:
            NotCapturedError: The step cannot be traced or compiled, or the graph gives another
                result.
        """
        if computes_own_gradients(self.objective):
            name = type(self.objective).__name__
            raise NotCapturedError(f"{name} computes its gradients itself")
        graph = StepGraph(
            self.bound,
            self.per_datum,
            self.batches.at,
            self.batches.index(state.step),
            self.optimizer,
            batch_inside=batch_inside,
            precision=self.precision,
            compiler=compiler,
            gradient_scale=self._gradient_scale,
            updates=compiler and not self.optimisation.clips,
        )
        try:
            with warnings.catch_warnings(action="ignore"):  # kernels warn at their first call
                eager = self._after_two_steps(state, None)
                captured = self._after_two_steps(state, graph)
        except Exception as error:  # the kernels' errors are of many types
            raise NotCapturedError(short_message(error)) from error
        self._check_agreement(eager, captured, exactly=not compiler)
        self.optimizer.zero_grad(set_to_none=True)
        self.graph = graph

    def _after_two_steps(self, state: TrainingState, graph: StepGraph | None) -> dict[str, Tensor]:
        """All tensors after two more steps, and their losses and terms as ``"loss"``."""
        start = state.snapshot()
        history = History(state.step + 2, self.device)
        self.graph = graph
        try:
            with pyro.validation_enabled(False):
                for step in range(state.step, state.step + 2):
                    self.step(step, history)
            tensors, _ = state.snapshot()
            return {"loss": history.values[state.step :]} | tensors
        finally:
            self.graph = None
            state.restore(*start)

    def _check_agreement(
        self, eager: Mapping[str, Tensor], captured: Mapping[str, Tensor], *, exactly: bool
    ) -> None:
        """Refuse a graph that gives other tensors than eager steps."""
        # Where a gradient is zero but for rounding, Adam makes whole steps of the rounding.
        lr = max(float(group["lr"]) for group in self.optimizer.param_groups)
        rtol = 0.0 if exactly else COMPILED_TOLERANCE
        for name, expected in eager.items():
            of_compiled = COMPILED_TOLERANCE if name == "loss" else COMPILED_TOLERANCE_STEPS * lr
            atol = 0.0 if exactly else of_compiled
            value = captured[name].double()
            if not torch.allclose(expected.double(), value, rtol=rtol, atol=atol, equal_nan=True):
                raise NotCapturedError(f"the graph gives another {name}")

    def diagnose(self, step: int) -> str | None:
        """The first site that is not finite in ``step``, from the state before that step."""
        with torch.no_grad():
            x, conditions = self.batches.at(self.batches.index(step))
            traces = paired_traces(
                *programs(self._asked, conditions), (x,), conditions, reparameterised=False
            )
            sites = gathered(first_non_finite(*traces))
        return next(filter(None, sites), None)
