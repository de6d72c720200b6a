"""The smallest intervention that brings an outcome to a target, found by gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy.typing as npt
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.actions import LateValue, resolve
from ppl_disentangle.causal.branching import Branch
from ppl_disentangle.causal.counterfactuals import abduct, predict
from ppl_disentangle.causal.interventions import checked_actions, intervenable
from ppl_disentangle.causal.population import data_of_worlds
from ppl_disentangle.causal.worlds import worlds
from ppl_disentangle.conditions import conditions_of_model, one_batch
from ppl_disentangle.decoding import observed_layout
from ppl_disentangle.observed import Layout
from ppl_disentangle.pairs import story_of
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["smallest_intervention"]


def smallest_intervention(
    story: Any,
    x: Any,
    nodes: Sequence[str],
    outcome: str | Callable[[Tensor], Tensor],
    target: float,
    *,
    scales: Mapping[str, float] | None = None,
    num_samples: int | None = None,
    steps: int = 50,
    tolerance: float = 1e-4,
    seed: int = 0,
    **conditions: Any,
) -> xr.Dataset:
    r"""Find the smallest change of some nodes of each unit that brings an outcome to a target.

    .. math:: \min_v \sum_i \left(\frac{v_i - z_i}{s_i}\right)^2 \quad \text{such that} \quad
       Y_{\mathrm{do}(z := v)}(u) = y

    for unit u with factual nodes z, scales s, target y and outcome Y. Each step solves this for the
    outcome linearised around the last solution, and is shortened if it leads away from the target.
    In a linear story the first step is the answer; in others the result is a local minimum.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``, that is differentiable
            from the nodes to the outcome.
        x: Units, as float observations ``(batch, *event)``.
        nodes: Nodes (or latents, or coordinates) that may be set, continuous and with one
            coordinate each.
        outcome: A node with one coordinate, or a function from data ``(num, *event)`` to
            ``(num,)``.
        target: The target y.
        scales: Scale s of each node, the unit in which its change is measured; 1 for nodes that are
            not named.
        num_samples: Number of draws of the latents of each unit, over which the outcome is
            averaged; by default, ``None``, the posterior means of the latents take their place.
        steps: Number of steps.
        tolerance: Largest distance from the target that counts as reached.
        seed: Seed of the random draws.
        **conditions: Conditions that the story's guide or model takes for each unit, such as
            ``labels``.

    Returns:
        ``value`` and ``factual`` over ``data`` and ``node``; ``outcome``, ``factual_outcome``,
        ``distance`` (the root of the minimum) and ``reached`` over ``data``.

    Raises:
        KeyError: The story has no such node, or a scale is given for a node that may not be set.
        ValueError: A node has several coordinates, the outcome does not depend on any of the nodes,
            or the target needs a value outside of the support of a node.

    Example:
        >>> from ppl_disentangle.causal import StructuralPrior
        >>> from ppl_disentangle.causal.mechanisms import LinearGaussian
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.models import CausalVAE
        >>> prior = StructuralPrior("light -> shadow; angle -> shadow", LinearGaussian)
        >>> story = CausalVAE(prior, Gaussian(nn.Linear(6, 6)), GaussianLearnedScale(nn.Linear(3, 6)))
        >>> result = smallest_intervention(story, torch.rand(2, 6), ["light", "angle"], "shadow", 0.1)
        >>> result["outcome"].values.round(3)
        array([0.1, 0.1], dtype=float32)
    """
    story = story_of(story)
    unknown = [name for name in scales or {} if name not in nodes]
    if unknown:
        raise KeyError(f"a scale for {unknown[0]!r}, which is not among the nodes {list(nodes)}")
    with evaluating(story, seed=seed) as device, torch.enable_grad():
        x, conditions, rows = one_batch(story, x, device, conditions)
        problem = _Problem(story, x, nodes, outcome, num_samples, conditions)
        scale = problem.factual.new_tensor([(scales or {}).get(name, 1.0) for name in nodes])
        change, reached_outcome = _shortest(problem, scale, target, steps)
        problem.check(problem.factual + change * scale)
    arrays = {
        "value": problem.factual + change * scale,
        "factual": problem.factual,
        "outcome": reached_outcome,
        "factual_outcome": problem.factual_outcome,
        "distance": change.norm(dim=-1),
        "reached": (reached_outcome - target).abs() <= tolerance,
    }
    return _dataset(arrays, nodes, rows).assign_attrs(
        target=target, rung="counterfactual", seed=seed
    )


def _dataset(
    arrays: Mapping[str, Tensor], nodes: Sequence[str], rows: npt.NDArray[Any]
) -> xr.Dataset:
    dims = ("data", "node")
    variables = {
        name: (dims[: array.dim()], array.detach().cpu().numpy()) for name, array in arrays.items()
    }
    return xr.Dataset(variables, {"node": list(nodes), "data": rows})


class _Problem:
    """The outcome of each unit as a function of the values that its nodes are set to.

    Attributes:
        factual: The factual values of the nodes, ``(batch, node)``.
        factual_outcome: The factual outcome, ``(batch,)``.
    """

    def __init__(
        self,
        story: GenerativeStory,
        x: Tensor,
        nodes: Sequence[str],
        outcome: str | Callable[[Tensor], Tensor],
        num_samples: int | None,
        conditions: Mapping[str, Any],
    ) -> None:
        self.story = story
        self.x = x
        self.outcome = outcome
        self.conditions = conditions
        self.names = nodes
        self.sites = intervenable(story, conditions)
        told = conditions_of_model(story, conditions)
        self.layout = observed_layout(story, x, told) if callable(outcome) else Layout(None, {})
        # The actions read these values when the model runs: each call sets others in the same worlds.
        self.values = x.new_zeros(len(x), len(nodes))
        actions = {name: _Column(self, column) for column, name in enumerate(nodes)}
        self.worlds = worlds(story, [{}, actions], **conditions)
        with torch.no_grad():
            self.latents = abduct(self.worlds, x, num_samples, conditions)
            branch = self._predict()
            values = branch.broadcast()
            self.factual = torch.stack([self._scalar(name, values)[0] for name in nodes], -1)
            self.factual_outcome = self._outcome(branch)[0]

    def __call__(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The outcomes ``(batch,)`` for values ``(batch, node)``, and their gradients."""
        self.values = values.detach().requires_grad_()
        outcome = self._outcome(self._predict())[1]
        if not outcome.requires_grad:
            return outcome, torch.zeros_like(values)
        (gradient,) = torch.autograd.grad(outcome.sum(), self.values, materialize_grads=True)
        return outcome.detach(), gradient

    def check(self, values: Tensor) -> None:
        """Refuse a solution that sets a node to a value it cannot have."""
        by_node = dict(zip(self.names, values.detach().unbind(-1), strict=True))
        checked_actions(self.story, by_node, self.sites, self.conditions)

    def _predict(self) -> Branch:
        until = () if callable(self.outcome) else tuple(self.sites)
        return predict(self.worlds, self.latents, self.x, conditions=self.conditions, until=until)

    def _scalar(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """A node of one coordinate, on average over draws, ``(world, batch)``."""
        site, index = resolve(self.story, name, self.sites)
        value = values[site] if index is None else values[site][..., index]
        if value.dim() > 3 and value.shape[3:] != (1,):
            raise ValueError(
                f"expected a node of one coordinate, got {name!r} of shape {tuple(value.shape[3:])}"
            )
        return value.reshape(value.shape[:3]).mean(1)  # (world, draw, batch) -> (world, batch)

    def _outcome(self, branch: Branch) -> Tensor:
        """The outcome, ``(world, batch)``."""
        values = branch.broadcast()
        if not callable(self.outcome):
            return self._scalar(self.outcome, values)
        data = data_of_worlds(self.x, self.layout, values)  # (world, draw, batch, *event)
        return self.outcome(data.flatten(0, 2)).reshape(data.shape[:3]).mean(1)


class _Column(LateValue):
    """Sets a node to its column of the values of a problem."""

    def __init__(self, problem: _Problem, column: int) -> None:
        self.problem = problem
        self.column = column

    def __call__(self, natural: Tensor) -> Tensor:
        """The value of each unit."""
        value = self.problem.values[:, self.column]
        # natural: (draw, batch) for a scalar or coordinate, (draw, batch, 1) for a node of one coordinate
        return (value if natural.dim() == 2 else value[:, None]).expand_as(natural)


def _shortest(problem: _Problem, scale: Tensor, target: float, steps: int) -> tuple[Tensor, Tensor]:
    """The smallest change in units of ``scale``, ``(batch, node)``, and the outcome.

    The method is sequential quadratic programming. A step is shortened until the exact penalty
    function, half the squared distance plus twice the Lagrange multiplier times the distance from
    the target, does not grow.
    """
    change = torch.zeros_like(problem.factual)
    step_size = torch.ones_like(problem.factual[:, :1])
    outcome, gradient = problem(problem.factual)
    if not (gradient != 0).any():
        raise ValueError(
            "the outcome does not depend on the nodes: is there a path from them to it?"
        )
    for _ in range(steps):
        solution, multiplier = _linearised_solution(change, outcome, gradient * scale, target)
        candidate = change + step_size * (solution - change)
        new_outcome, new_gradient = problem(problem.factual + candidate * scale)
        old_cost = _penalty(change, outcome, multiplier, target)
        better = _penalty(candidate, new_outcome, multiplier, target) <= old_cost  # (batch, 1)
        step_size = torch.where(better, (2 * step_size).clamp(max=1.0), step_size / 2)
        change = torch.where(better, candidate, change)
        gradient = torch.where(better, new_gradient, gradient)
        outcome = torch.where(better[:, 0], new_outcome, outcome)
    return change, outcome


def _linearised_solution(
    change: Tensor, outcome: Tensor, slope: Tensor, target: float
) -> tuple[Tensor, Tensor]:
    """The smallest change if the outcome is linear around ``change``, and its multiplier.

    The Lagrange multiplier has shape ``(batch, 1)``. Units whose outcome has no slope keep their
    change.
    """
    steepness = slope.square().sum(-1, keepdim=True)
    missing = target - outcome[:, None] + (slope * change).sum(-1, keepdim=True)
    multiplier = torch.where(steepness > 0, missing / steepness, 0.0)
    return torch.where(steepness > 0, multiplier * slope, change), multiplier


def _penalty(change: Tensor, outcome: Tensor, multiplier: Tensor, target: float) -> Tensor:
    distance_from_target = (outcome - target).abs()[:, None]
    half_square = change.square().sum(-1, keepdim=True) / 2
    return half_square + 2 * multiplier.abs() * distance_from_target
