"""A linear structural causal model, whose interventional moments have a closed form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import networkx as nx
import torch
from torch import Tensor

from ppl_disentangle.data.causal.dataset import Graph
from ppl_disentangle.data.causal.scm import (
    NOISE_MOMENTS,
    NoiseDistribution,
    SyntheticSCM,
    check_nodes,
)
from ppl_disentangle.graphs import as_dag

__all__ = ["LinearSCM"]


class LinearSCM(SyntheticSCM):
    r"""A structural causal model with linear mechanisms and independent noise.

    .. math:: z_i = a_i + \sum_{j \in \text{parents}(i)} w_{ji} z_j + s_i \varepsilon_i

    Args:
        graph: Causal graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` accepts.
        num_data: Number of units.
        weights: Weight w of each edge ``(parent, child)``; by default drawn uniformly from [0.5,
            2], with random signs.
        offsets: Offset a by node; 0 for nodes that are not listed.
        scales: Scale s of the noise by node; 1 for nodes that are not listed.
        noise: Distribution of the noise; see :class:`~ppl_disentangle.data.SyntheticSCM`.
        seed: Seed of weights, units and random map.
        observation_shape: Shape of an observation; see :class:`~ppl_disentangle.data.SyntheticSCM`.
        name: Short name for tables and run folders.

    Raises:
        KeyError: The weights do not list exactly the edges, or an offset or a scale is for a name
            that is not a node.

    Example:
        >>> scm = LinearSCM("x -> y", num_data=100, weights={("x", "y"): 3.0})
        >>> mean, covariance = scm.moments({"x": 2.0})
        >>> mean.tolist(), covariance.tolist()
        ([2.0, 6.0], [[0.0, 0.0], [0.0, 1.0]])
    """

    def __init__(
        self,
        graph: Graph,
        *,
        num_data: int,
        weights: Mapping[tuple[str, str], float] | None = None,
        offsets: Mapping[str, float] | None = None,
        scales: Mapping[str, float] | None = None,
        noise: NoiseDistribution = "normal",
        seed: int = 0,
        observation_shape: tuple[int, ...] | None = None,
        name: str = "linear_scm",
    ) -> None:
        dag = as_dag(graph)
        generator = torch.Generator().manual_seed(seed)
        # Drawn even if weights are given, so that the units are the same.
        random_weights = _random_weights(dag, generator)
        self.weights = random_weights if weights is None else dict(weights)
        self.offsets = dict(offsets or {})
        self.scales = dict(scales or {})
        _check_edges(dag, self.weights)
        check_nodes(dag, (*self.offsets, *self.scales))
        super().__init__(
            dag,
            num_data=num_data,
            noise=noise,
            generator=generator,
            observation_shape=observation_shape,
            name=name,
        )

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """The linear equation of the node."""
        value = self.offsets.get(node, 0.0) + self.scales.get(node, 1.0) * noise
        for parent, column in parent_values.items():
            value = value + self.weights[parent, node] * column
        return value

    def moments(self, do: Mapping[str, float] | None = None) -> tuple[Tensor, Tensor]:
        r"""Mean ``(nodes,)`` and covariance ``(nodes, nodes)`` under do(node := value), in float64.

        .. math:: E z = (I - W^\top)^{-1} m, \qquad \text{Cov}\, z = (I - W^\top)^{-1} D^2 (I - W)^{-1}

        with the mean m and the standard deviation D of :math:`a + s \varepsilon`. For a set node, m
        is the value, and D and the weights of the incoming edges are 0. With normal noise, the
        distribution of the nodes is the normal distribution with these moments.

        Args:
            do: Value of each set node; the default intervenes on nothing.

        Raises:
            KeyError: A name is not a node.
        """
        do = do or {}
        check_nodes(self.names, do)
        noise_mean, noise_deviation = NOISE_MOMENTS[self.noise_distribution]
        means = []
        deviations = []
        for node in self.names:
            scale = self.scales.get(node, 1.0)
            natural = self.offsets.get(node, 0.0) + scale * noise_mean
            means.append(do.get(node, natural))
            deviations.append(0.0 if node in do else scale * noise_deviation)
        total = self._total_effects(do)
        factor = total * total.new_tensor(deviations)
        return total @ total.new_tensor(means), factor @ factor.T

    def _total_effects(self, do: Mapping[str, float]) -> Tensor:
        """Total effect of column j on row i, over all directed paths: the inverse of I - W^T."""
        position = {node: k for k, node in enumerate(self.names)}
        incoming = torch.zeros(len(position), len(position), dtype=torch.float64)
        for (parent, child), weight in self.weights.items():
            incoming[position[child], position[parent]] = 0.0 if child in do else weight
        return torch.linalg.inv(torch.eye(len(position), dtype=torch.float64) - incoming)


def _random_weights(dag: nx.DiGraph, generator: torch.Generator) -> dict[tuple[str, str], float]:
    """Weights with absolute values uniform in [0.5, 2] and random signs, by edge."""
    uniform, coin = torch.rand(2, dag.number_of_edges(), generator=generator)
    signs = 2 * (coin < 0.5) - 1
    weights = (0.5 + 1.5 * uniform) * signs
    return dict(zip(dag.edges, weights.tolist(), strict=True))


def _check_edges(dag: nx.DiGraph, edges: Iterable[tuple[str, str]]) -> None:
    """Raise an error unless ``edges`` are the edges of the graph."""
    if differing := set(edges) ^ set(dag.edges):
        edge = min(differing)
        raise KeyError(
            f"expected a weight for each edge in {list(dag.edges)} and no other, but see {edge}"
        )
