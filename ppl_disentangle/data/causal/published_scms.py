"""Small structural causal models of the literature and their equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from ppl_disentangle.data.causal.linear_scm import LinearSCM
from ppl_disentangle.data.causal.scm import EquationSCM, NoiseDistribution, SyntheticSCM

__all__ = ["PUBLISHED_SCMS", "published_scm"]


class _Linear(NamedTuple):
    """Weights by edge, and offsets and noise scales by node, of a linear model."""

    weights: Mapping[tuple[str, str], float]
    offsets: Mapping[str, float]
    scales: Mapping[str, float]


class _Equations(NamedTuple):
    """Graph, equations by node, and noise distribution of a nonlinear model."""

    graph: str
    equations: Mapping[str, Callable[..., Tensor]]
    noise: NoiseDistribution = "normal"


def _backdoor(noise: Tensor, parent: Tensor) -> Tensor:
    """The equation that most nodes of ``"large_backdoor"`` have in common."""
    return softplus(parent + 1) + softplus(0.5 + noise) - 3


def _laplace(loc: Tensor, uniform: Tensor) -> Tensor:
    """A draw from Laplace(loc, 0.6), by its quantile function at ``uniform``."""
    return loc - 0.6 * (uniform - 0.5).sign() * torch.log1p(-2 * (uniform - 0.5).abs())


_LINEAR = {
    "chain3": _Linear({("x1", "x2"): 10, ("x2", "x3"): 0.25}, {}, {"x2": -1, "x3": 2}),
    "chain4": _Linear(
        {("x1", "x2"): 5, ("x2", "x3"): -0.5, ("x3", "x4"): 1}, {}, {"x2": -1, "x3": -1.5}
    ),
    "chain5": _Linear(
        {("x1", "x2"): 10, ("x2", "x3"): 0.25, ("x3", "x4"): 1, ("x4", "x5"): -1},
        {},
        {"x2": -1, "x3": 2},
    ),
    "fork": _Linear(
        {("x1", "x3"): -1.5, ("x2", "x3"): 0.25, ("x3", "x4"): 1},
        {"x2": 2},
        {"x2": -1, "x3": 0.5, "x4": 0.25},
    ),
    "triangle": _Linear(
        {("x1", "x2"): 10, ("x1", "x3"): 1, ("x2", "x3"): 0.5}, {"x1": 1}, {"x2": -1}
    ),
}

_NONLINEAR = {
    "chain3": _Equations(
        "x1 -> x2 -> x3",
        {"x2": lambda u, x1: (x1 / 2).exp() + u / 4, "x3": lambda u, x2: (x2 - 5) ** 3 / 15 + u},
    ),
    "fork": _Equations(
        "x1, x2 -> x3 -> x4",
        {
            "x3": lambda u, x1, x2: 4 * (x1 + x2).sigmoid() - x2**2 + u / 2,
            "x4": lambda u, x3: 20 * (x3 - x3**2 / 2).sigmoid() + u,
        },
    ),
    "triangle": _Equations(
        "x1 -> x2 -> x3; x1 -> x3",
        {
            "x2": lambda u, x1: 2 * x1**2 + u,
            "x3": lambda u, x1, x2: 20 * (x2**2 - x1).sigmoid() + u,
        },
    ),
    "simpson": _Equations(
        "x1 -> x2 -> x3 -> x4; x1 -> x3",
        {
            "x2": lambda u, x1: softplus(1 - x1) + math.sqrt(3 / 20) * u,
            "x3": lambda u, x1, x2: (2 * x2).tanh() + 1.5 * x1 - 1 + u.tanh(),
            "x4": lambda u, x3: (x3 - 4) / 5 + 3 + u / math.sqrt(10),
        },
    ),
    "sym_prod": _Equations(
        "x1 -> x2 -> x3; x1 -> x3; x1 -> x4",
        {
            "x2": lambda u, x1: 2 * (2 * x1).tanh() + u / math.sqrt(10),
            "x3": lambda u, x1, x2: x1 * x2 / 2 + u / math.sqrt(2),
            "x4": lambda u, x1: (1.5 * x1).tanh() + math.sqrt(3 / 10) * u,
        },
    ),
    "large_backdoor": _Equations(
        "x1 -> x2 -> x4 -> x6 -> x8 -> x9; x1 -> x3 -> x5 -> x7 -> x9",
        {
            "x1": lambda u: softplus(1.8 * u) - 1,
            "x2": lambda u, x1: 0.25 * u + 1.5 * _backdoor(torch.zeros_like(u), x1),
            **dict.fromkeys(("x3", "x4", "x5", "x6", "x7"), _backdoor),
            "x8": lambda u, x6: 0.3 * u + softplus(x6 + 1) - 1,
            "x9": lambda u, x7, x8: _laplace(2 - softplus((1.3 * x7 + x8) / 3 + 1), u),
        },
        "uniform",
    ),
}

PUBLISHED_SCMS = (
    *((name, "linear") for name in _LINEAR),
    *((name, "nonlinear") for name in _NONLINEAR),
)
"""Name and kind of each published model."""


def published_scm(
    name: str,
    kind: Literal["linear", "nonlinear"],
    *,
    num_data: int = 25_000,
    seed: int = 0,
    observation_shape: tuple[int, ...] | None = None,
) -> SyntheticSCM:
    r"""A small structural causal model of the literature, with its published equations [1].

    Causal normalizing flows and other methods have been compared on these models. The noise is N(0,
    1) at every node, except in ``"large_backdoor"``, where it is uniform. ``"simpson"``,
    ``"sym_prod"`` and ``"large_backdoor"`` were introduced in CSuite [2], with other noise in the
    first two and, in ``"simpson"``, with the last node :math:`x_4 = 5 \tanh((x_3 - 4) / 5) + 3 +
    \varepsilon_4 / \sqrt{10}`. Like [1], this function leaves the tanh out.

    Args:
        name: Name of a model in ``PUBLISHED_SCMS``.
        kind: ``"linear"``, which returns a :class:`~ppl_disentangle.data.LinearSCM`, or
            ``"nonlinear"``, which returns an :class:`~ppl_disentangle.data.EquationSCM`.
        num_data: Number of units; [1] uses 25,000, 80 % of them for training.
        seed: Seed of units and random map.
        observation_shape: Shape of an observation; see :class:`~ppl_disentangle.data.SyntheticSCM`.

    Raises:
        KeyError: ``PUBLISHED_SCMS`` does not list the model.

    References:
        [1] Javaloy et al., 2023. Causal normalizing flows: from theory to practice.
        https://arxiv.org/abs/2306.05415, equations in https://github.com/psanch21/causal-flows
        [2] Geffner et al., 2022. Deep end-to-end causal inference. https://arxiv.org/abs/2202.02195

    Example:
        >>> published_scm("triangle", "nonlinear").dag.edges
        OutEdgeView([('x1', 'x2'), ('x1', 'x3'), ('x2', 'x3')])
    """
    if (name, kind) not in PUBLISHED_SCMS:
        raise KeyError(f"no published model {(name, kind)}; there are {list(PUBLISHED_SCMS)}")
    full_name = f"{name}_{kind}"
    if kind == "linear":
        linear = _LINEAR[name]
        return LinearSCM(
            "; ".join(f"{parent} -> {child}" for parent, child in linear.weights),
            num_data=num_data,
            weights=linear.weights,
            offsets=linear.offsets,
            scales=linear.scales,
            seed=seed,
            observation_shape=observation_shape,
            name=full_name,
        )
    model = _NONLINEAR[name]
    return EquationSCM(
        model.graph,
        model.equations,
        num_data=num_data,
        noise=model.noise,
        seed=seed,
        observation_shape=observation_shape,
        name=full_name,
    )
