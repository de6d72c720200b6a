"""The smallest intervention that gives an outcome its target, found by the gradient through the intervened story."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.actions import Action, resolve
from ppl_disentangle.causal.counterfactuals import abduct, predict
from ppl_disentangle.causal.interventions import intervenable
from ppl_disentangle.causal.worlds import worlds
from ppl_disentangle.story import evaluating, story_of

__all__ = ["smallest_intervention"]


def smallest_intervention(
    story: Any,
    x: Tensor,
    nodes: Sequence[str],
    outcome: str | Callable[[Tensor], Tensor],
    target: float,
    *,
    scales: Mapping[str, float] | None = None,
    num_samples: int | None = None,
    steps: int = 50,
    tolerance: float = 1e-4,
    seed: int = 0,
    **conditions: Tensor,
) -> xr.Dataset:
    r"""Which change of some nodes of each unit, as small as can be, makes an outcome what is asked for.

    .. math:: \min_v \sum_i \left(\frac{v_i - z_i}{s_i}\right)^2 \quad \text{such that} \quad
       Y_{\mathrm{do}(z := v)}(u) = y

    for unit u with factual nodes z, scales s and target y. Each step solves this for the outcome linearised around the
    last one, shortened where that leads away from the target; in a linear story the first step is the answer. What is
    found is a local minimum.

    Args:
        story: a story, differentiable from the nodes to the outcome.
        x: units as float observations ``(batch, *event)``.
        nodes: nodes (or latents, or coordinates) that may be set, continuous and of one coordinate each.
        outcome: a node of one coordinate, or a function from data ``(num, *event)`` to ``(num,)``.
        target: y.
        scales: s by node, the unit in which its distance is measured; 1 for those that are not named.
        num_samples: draws of the latents of each unit, over which the outcome is averaged; ``None``: one, the latents
            that stand for x.
        steps: number of steps.
        tolerance: how near to the target counts as reached.
        seed: of the draws.
        **conditions: what the story is given with each unit, such as ``labels``.

    Returns:
        ``value`` and ``factual`` over ``data`` and ``node``; ``outcome``, ``factual_outcome``, ``distance`` (the root
        of the minimum) and ``reached`` over ``data``.

    Raises:
        KeyError: no such node.
        ValueError: a node of several coordinates, or one that the outcome does not depend on in any unit.

    Example:
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.causal.mechanisms import LinearGaussian
        >>> from ppl_disentangle.models import CausalVAE
        >>> from ppl_disentangle.causal.structural import StructuralPrior
        >>> prior = StructuralPrior("light -> shadow; angle -> shadow", LinearGaussian)
        >>> story = CausalVAE(prior, Gaussian(nn.Linear(6, 6)), GaussianLearnedScale(nn.Linear(3, 6)))
        >>> found = smallest_intervention(story, torch.rand(2, 6), ["light", "angle"], "shadow", 0.1)
        >>> found["outcome"].values.round(3)
        array([0.1, 0.1], dtype=float32)
    """
    story = story_of(story)
    if unknown := [name for name in scales or {} if name not in nodes]:
        raise KeyError(f"a scale for {unknown[0]!r}, which is not among the nodes {list(nodes)}")
    with evaluating(story, seed=seed) as device, torch.enable_grad():
        x, conditions = x.to(device), {name: value.to(device) for name, value in conditions.items()}
        problem = _Problem(story, x, nodes, outcome, num_samples, conditions)
        scale = problem.factual.new_tensor([(scales or {}).get(name, 1.0) for name in nodes])
        change, reached_outcome = _shortest(problem, scale, target, steps)
    arrays = {
        "value": problem.factual + change * scale,
        "factual": problem.factual,
        "outcome": reached_outcome,
        "factual_outcome": problem.factual_outcome,
        "distance": change.norm(dim=-1),
        "reached": (reached_outcome - target).abs() <= tolerance,
    }
    variables = {
        name: (("data", "node")[: array.dim()], array.detach().cpu().numpy())
        for name, array in arrays.items()
    }
    coordinates = {"node": list(nodes), "data": np.arange(len(x))}
    return xr.Dataset(
        variables, coordinates, {"target": target, "rung": "counterfactual", "seed": seed}
    )


class _Problem:
    """The outcome of each unit as a function of the values that its nodes are set to."""

    def __init__(
        self,
        story: Any,
        x: Tensor,
        nodes: Sequence[str],
        outcome: str | Callable[[Tensor], Tensor],
        num_samples: int | None,
        conditions: Mapping[str, Tensor],
    ) -> None:
        self.x, self.outcome, self.conditions = x, outcome, conditions
        self.sites = intervenable(story)
        self.story, self.values = story, x.new_zeros(len(x), len(nodes))
        self.run = worlds(story, [{}, {name: self._set_to(i) for i, name in enumerate(nodes)}])
        with torch.no_grad():
            self.latents = abduct(
                self.run, x, num_samples=num_samples, evidence={}, conditions=conditions
            )
            values = self._everything()
            self.factual = torch.stack([self._scalar(name, values)[0] for name in nodes], -1)
            self.factual_outcome = self._outcome(values)[0]
        self.values = self.factual

    def __call__(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Outcomes ``(batch,)`` and their gradients ``(batch, node)``."""
        self.values = values.detach().requires_grad_()
        outcome = self._outcome(self._everything())[1]
        if not outcome.requires_grad:
            return outcome, torch.zeros_like(values)
        (gradient,) = torch.autograd.grad(outcome.sum(), self.values, materialize_grads=True)
        return outcome.detach(), gradient

    def _set_to(self, column: int) -> Action:
        def action(natural: Tensor) -> Tensor:
            value = self.values[:, column]
            return (value if natural.dim() == 2 else value[:, None]).expand_as(natural)

        return action

    def _everything(self) -> dict[str, Tensor]:
        until = () if callable(self.outcome) else tuple(self.sites)
        branch = predict(self.run, self.latents, self.x, conditions=self.conditions, until=until)
        self.returned = branch.returned
        return branch.broadcast()

    def _scalar(self, name: str, values: Mapping[str, Tensor]) -> Tensor:
        """A node of one coordinate, on average over draws, ``(world, batch)``."""
        site, index = resolve(self.story, name, self.sites)
        value = values[site] if index is None else values[site][..., index]
        if value.dim() > 3 and value.shape[3:] != (1,):
            raise ValueError(
                f"expected a node of one coordinate, got {name!r} of shape {tuple(value.shape[3:])}"
            )
        return value.reshape(value.shape[:3]).mean(1)

    def _outcome(self, values: Mapping[str, Tensor]) -> Tensor:
        """The outcome, ``(world, batch)``."""
        if not callable(self.outcome):
            return self._scalar(self.outcome, values)
        if self.returned is None:
            raise ValueError(
                "an outcome that is a function of data needs a model that returns its data"
            )
        data = values[self.returned]
        return self.outcome(data.flatten(0, 2)).reshape(data.shape[:3]).mean(1)


def _shortest(problem: _Problem, scale: Tensor, target: float, steps: int) -> tuple[Tensor, Tensor]:
    """The change in units of ``scale``, ``(batch, node)``, and the outcome, by sequential quadratic programming.

    A step is shortened until the exact penalty function, half the squared distance plus twice the Lagrange multiplier
    times the distance from the target, does not grow.
    """
    change, rate = torch.zeros_like(problem.factual), torch.ones_like(problem.factual[:, :1])
    outcome, gradient = problem(problem.factual)
    if not (gradient != 0).any():
        raise ValueError(
            "the outcome does not depend on the nodes: is there a path from them to it?"
        )
    for _ in range(steps):
        slope = gradient * scale
        steepness = slope.square().sum(-1, keepdim=True)
        missing = target - outcome[:, None] + (slope * change).sum(-1, keepdim=True)
        multiplier = torch.where(steepness > 0, missing / steepness, 0.0)
        candidate = change + rate * (
            torch.where(steepness > 0, multiplier * slope, change) - change
        )
        new_outcome, new_gradient = problem(problem.factual + candidate * scale)
        costs = [
            w.square().sum(-1, keepdim=True) / 2
            + 2 * multiplier.abs() * (y - target).abs()[:, None]
            for w, y in ((change, outcome), (candidate, new_outcome))
        ]
        better = costs[1] <= costs[0]
        rate = torch.where(better, (2 * rate).clamp(max=1.0), rate / 2)
        change, gradient = (
            torch.where(better, candidate, change),
            torch.where(better, new_gradient, gradient),
        )
        outcome = torch.where(better[:, 0], new_outcome, outcome)
    return change, outcome
