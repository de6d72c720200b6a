"""Synthetic structural causal models: random graphs, standard noise, and user-defined equations."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal, TypeAlias

import networkx as nx
import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import CausalDataset, Graph
from ppl_disentangle.data.causal.random_map import RandomMap
from ppl_disentangle.graphs import as_dag, parents

__all__ = ["EquationSCM", "NoiseDistribution", "SyntheticSCM", "random_dag"]

NoiseDistribution: TypeAlias = Literal["normal", "laplace", "uniform"]

NOISE_MOMENTS: dict[str, tuple[float, float]] = {
    "normal": (0.0, 1.0),
    "laplace": (0.0, math.sqrt(2)),
    "uniform": (0.5, math.sqrt(1 / 12)),
}
"""Mean and standard deviation of each noise distribution."""


def random_dag(num_nodes: int, *, expected_degree: float, seed: int) -> nx.DiGraph:
    """An Erdős–Rényi graph with nodes ``x1``, ``x2``, …, directed along a random order of them.

    Args:
        num_nodes: Number of nodes.
        expected_degree: Expected number of neighbours of a node, at most ``num_nodes - 1``; all
            edges have the same probability.
        seed: Seed of the order and of the edges.

    Raises:
        ValueError: The expected degree is out of range.

    Example:
        >>> random_dag(3, expected_degree=2, seed=0).number_of_edges()
        3
    """
    most = num_nodes - 1
    if not 0 <= expected_degree <= most:
        got = f"{expected_degree} with {num_nodes} nodes"
        raise ValueError(f"expected 0 <= expected_degree <= num_nodes - 1, got {got}")
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(num_nodes, generator=generator)
    probability = expected_degree / max(most, 1)
    is_edge = torch.rand(num_nodes, num_nodes, generator=generator) < probability
    adjacency = torch.zeros(num_nodes, num_nodes)
    adjacency[order[:, None], order] = is_edge.triu(1).float()  # from earlier to later nodes only
    return as_dag(adjacency.numpy(), nodes=[f"x{k + 1}" for k in range(num_nodes)])


class SyntheticSCM(CausalDataset):
    """A causal data set with independent standard noise, observed directly or through a random map.

    Implementing one: define :meth:`mechanism`.

    Args:
        graph: Causal graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` accepts.
        num_data: Number of units.
        noise: Distribution of the noise: N(0, 1), Laplace(0, 1), or uniform on (0, 1).
        generator: Generator of the units, then of the random map.
        observation_shape: Shape of an observation through a
            :class:`~ppl_disentangle.data.causal.random_map.RandomMap`. With ``None``, the node
            values are the observation.
        name: Short name for tables and run folders.
    """

    def __init__(
        self,
        graph: Graph,
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
        columns = _standard_noise(noise, len(dag), num_data, generator)
        by_node = dict(zip(sorted(dag), columns, strict=True))
        super().__init__(
            dag, by_node, name=name, observation_shape=observation_shape or (len(dag),)
        )
        self.noise_distribution = noise
        self.random_map: RandomMap | None = None
        if observation_shape is not None:
            mean = self.values.mean(0)
            scale = self.values.std(0, correction=0)
            self.random_map = RandomMap(mean, scale, observation_shape, generator)

    def render_values(self, values: Tensor) -> Tensor:
        """Observations of node values ``(batch, nodes)``, in float32."""
        return values if self.random_map is None else self.random_map(values)


class EquationSCM(SyntheticSCM):
    """A structural causal model with user-defined equations.

    Args:
        graph: Causal graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` accepts.
        equations: Function ``equation(noise, *parents)`` of each node, on vectors, with the parents
            in alphabetical order. A root without an equation equals its noise.
        num_data: Number of units.
        noise: Distribution of the noise; see :class:`SyntheticSCM`.
        seed: Seed of units and random map.
        observation_shape: Shape of an observation; see :class:`SyntheticSCM`.
        name: Short name for tables and run folders.

    Raises:
        KeyError: An equation is for a name that is not a node, or a node with parents has no
            equation.

    Example:
        >>> scm = EquationSCM("x -> y", {"y": lambda noise, x: x**2 + noise}, num_data=100)
        >>> y, y_if_x_were_3 = scm.values[0, 1], scm.intervene(torch.tensor([0]), {"x": 3.0})[0, 1]
        >>> torch.isclose(y_if_x_were_3 - y, 9 - scm.values[0, 0] ** 2)
        tensor(True)
    """

    def __init__(
        self,
        graph: Graph,
        equations: Mapping[str, Callable[..., Tensor]],
        *,
        num_data: int,
        noise: NoiseDistribution = "normal",
        seed: int = 0,
        observation_shape: tuple[int, ...] | None = None,
        name: str = "scm",
    ) -> None:
        dag = as_dag(graph)
        check_nodes(dag, equations)
        for node in dag:
            if node not in equations and parents(dag, node):
                raise KeyError(
                    f"expected an equation of {node!r}, which has the parents {parents(dag, node)}"
                )
        self.equations = dict(equations)
        super().__init__(
            dag,
            num_data=num_data,
            noise=noise,
            generator=torch.Generator().manual_seed(seed),
            observation_shape=observation_shape,
            name=name,
        )

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """The equation of the node."""
        if node not in self.equations:
            return noise
        return self.equations[node](noise, *parent_values.values())


def check_nodes(nodes: Collection[str], names: Iterable[str]) -> None:
    """Raise an error if one of ``names`` is not among the nodes of a graph."""
    for name in names:
        if name not in nodes:
            raise KeyError(f"no node named {name!r}; the graph has {list(nodes)}")


def _standard_noise(
    distribution: NoiseDistribution, num_nodes: int, num_data: int, generator: torch.Generator
) -> Tensor:
    """Independent draws from a noise distribution, by its quantile function: ``(nodes, data)``."""
    uniform = torch.rand(num_nodes, num_data, generator=generator, dtype=torch.float64)
    uniform = uniform.clamp(1e-6, 1 - 1e-6)  # the quantiles of 0 and 1 may be infinite
    if distribution == "normal":
        return torch.special.ndtri(uniform)
    if distribution == "laplace":
        return -(uniform - 0.5).sign() * torch.log1p(-2 * (uniform - 0.5).abs())
    return uniform
