"""Synthetic structural causal models on any graph: random graphs, standard noise, and your own equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

import networkx as nx
import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.causal.mixing import RandomMap
from ppl_disentangle.graphs import as_dag, parents

__all__ = ["EquationSCM", "NoiseDistribution", "SyntheticSCM", "random_dag"]

NoiseDistribution: TypeAlias = Literal["normal", "laplace", "uniform"]

#: Mean and standard deviation of each law of the noise.
NOISE_MOMENTS: dict[str, tuple[float, float]] = {
    "normal": (0.0, 1.0),
    "laplace": (0.0, math.sqrt(2)),
    "uniform": (0.5, math.sqrt(1 / 12)),
}


def random_dag(num_nodes: int, *, expected_degree: float, seed: int) -> nx.DiGraph:
    """An Erdős–Rényi graph, directed along a random order of its nodes ``x1``, ``x2``, ….

    Args:
        num_nodes: number of nodes.
        expected_degree: expected number of neighbours of a node, at most ``num_nodes - 1``.
        seed: of the order and of the edges, each of which is drawn with the same probability.

    Raises:
        ValueError: an expected degree that no graph of so many nodes has.

    Example:
        >>> random_dag(3, expected_degree=2, seed=0).number_of_edges()
        3
    """
    if not 0 <= expected_degree <= num_nodes - 1:
        raise ValueError(
            f"expected 0 <= expected_degree <= num_nodes - 1, got {expected_degree} with {num_nodes} nodes"
        )
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_nodes, generator=generator)
    drawn = torch.rand(num_nodes, num_nodes, generator=generator) < expected_degree / max(
        num_nodes - 1, 1
    )
    adjacency = torch.zeros(num_nodes, num_nodes)
    adjacency[order[:, None], order] = drawn.triu(1).float()
    return as_dag(adjacency.numpy(), nodes=[f"x{k + 1}" for k in range(num_nodes)])


class SyntheticSCM(CausalDataset):
    """A causal data set with independent standard noise, observed as it is or through a fixed random network.

    Implementing one: define :meth:`mechanism`.

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes.
        num_data: number of units.
        noise: N(0, 1), Laplace(0, 1), or uniform on (0, 1).
        generator: draws the units, then the mixing.
        observation_shape: shape of an observation by
            :class:`~ppl_disentangle.data.causal.mixing.RandomMap`; ``None``: the values
            of the nodes are the observation.
        name: a short name for tables and run folders.
    """

    def __init__(
        self,
        graph: Any,
        *,
        num_data: int,
        noise: NoiseDistribution,
        generator: torch.Generator,
        observation_shape: tuple[int, ...] | None,
        name: str,
    ) -> None:
        if noise not in NOISE_MOMENTS:
            raise ValueError(f"expected noise to be one of {list(NOISE_MOMENTS)}, got {noise!r}")
        dag = as_dag(graph)
        uniform = torch.rand(len(dag), num_data, generator=generator, dtype=torch.float64).clamp(
            1e-6, 1 - 1e-6
        )
        drawn = dict(zip(sorted(dag), _quantile(noise, uniform), strict=True))
        super().__init__(dag, drawn, name=name, observation_shape=observation_shape or (len(dag),))
        self.noise_distribution = noise
        self.mixing: RandomMap | None = None
        if observation_shape is not None:
            mean, scale = self.values.mean(0), self.values.std(0, correction=0)
            self.mixing = RandomMap(mean, scale, observation_shape, generator)

    def render_values(self, values: Tensor) -> Tensor:
        """Observations of values ``(batch, nodes)``, in float32."""
        return values if self.mixing is None else self.mixing(values)


class EquationSCM(SyntheticSCM):
    """A model of your own equations.

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes.
        equations: for a node, ``equation(noise, *parents)`` with the parents by name, on vectors; a root without one is
            its noise.
        num_data: number of units.
        noise: as in :class:`SyntheticSCM`.
        seed: of units and mixing.
        observation_shape: as in :class:`SyntheticSCM`.
        name: as in :class:`SyntheticSCM`.

    Raises:
        KeyError: an equation of no node, or a node with parents and no equation.

    Example:
        >>> scm = EquationSCM("x -> y", {"y": lambda noise, x: x**2 + noise}, num_data=100)
        >>> y, y_if_x_were_3 = scm.values[0, 1], scm.intervene(torch.tensor([0]), {"x": 3.0})[0, 1]
        >>> torch.isclose(y_if_x_were_3 - y, 9 - scm.values[0, 0] ** 2)
        tensor(True)
    """

    def __init__(
        self,
        graph: Any,
        equations: Mapping[str, Callable[..., Tensor]],
        *,
        num_data: int,
        noise: NoiseDistribution = "normal",
        seed: int = 0,
        observation_shape: tuple[int, ...] | None = None,
        name: str = "scm",
    ) -> None:
        dag = as_dag(graph)
        for node in equations:
            if node not in dag:
                raise KeyError(f"no node named {node!r}; the graph has {list(dag)}")
        for node in dag:
            if node not in equations and parents(dag, node):
                raise KeyError(
                    f"expected an equation of {node!r}, which has the parents {parents(dag, node)}"
                )
        self.equations = dict(equations)
        generator = torch.Generator().manual_seed(seed)
        super().__init__(
            dag,
            num_data=num_data,
            noise=noise,
            generator=generator,
            observation_shape=observation_shape,
            name=name,
        )

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """The equation of the node."""
        return (
            self.equations[node](noise, *parent_values.values())
            if node in self.equations
            else noise
        )


def _quantile(law: NoiseDistribution, uniform: Tensor) -> Tensor:
    """Standard variables of a law from uniform ones."""
    if law == "normal":
        return torch.special.ndtri(uniform)
    if law == "laplace":
        return -(uniform - 0.5).sign() * torch.log1p(-2 * (uniform - 0.5).abs())
    return uniform
