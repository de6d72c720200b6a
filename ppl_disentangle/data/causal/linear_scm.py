"""A linear structural causal model, whose laws under interventions are known in closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.causal.scm import NOISE_MOMENTS, NoiseDistribution, SyntheticSCM
from ppl_disentangle.graphs import as_dag

__all__ = ["LinearSCM"]


class LinearSCM(SyntheticSCM):
    r"""Nodes that are linear in their parents, with noise of their own.

    .. math:: z_i = a_i + \sum_{j \in \text{parents}(i)} w_{ji} z_j + s_i \varepsilon_i

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes.
        num_data: number of units.
        weights: w of each edge ``(parent, child)``; by default drawn uniformly from [0.5, 2], with random signs.
        offsets: a, by node; 0 for those that are not named.
        scales: s, by node; 1 for those that are not named.
        noise: as in :class:`~ppl_disentangle.data.SyntheticSCM`.
        seed: of weights, units and mixing.
        observation_shape: as in :class:`~ppl_disentangle.data.SyntheticSCM`.
        name: as in :class:`~ppl_disentangle.data.SyntheticSCM`.

    Raises:
        KeyError: a weight of no edge, an edge without a weight, an offset or a scale of no node.

    Example:
        >>> scm = LinearSCM("x -> y", num_data=100, weights={("x", "y"): 3.0})
        >>> mean, covariance = scm.moments({"x": 2.0})
        >>> mean.tolist(), covariance.tolist()
        ([2.0, 6.0], [[0.0, 0.0], [0.0, 1.0]])
    """

    def __init__(
        self,
        graph: Any,
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
        dag, generator = as_dag(graph), torch.Generator().manual_seed(seed)
        size, coin = torch.rand(2, dag.number_of_edges(), generator=generator)
        drawn = dict(
            zip(dag.edges, ((0.5 + 1.5 * size) * (2 * (coin < 0.5) - 1)).tolist(), strict=True)
        )
        self.weights = drawn if weights is None else dict(weights)
        if self.weights.keys() != drawn.keys():
            edge = sorted(self.weights.keys() ^ drawn.keys())[0]
            raise KeyError(
                f"expected a weight for each edge in {list(dag.edges)} and no other, but see {edge}"
            )
        self.offsets, self.scales = dict(offsets or {}), dict(scales or {})
        for node in (*self.offsets, *self.scales):
            if node not in dag:
                raise KeyError(f"no node named {node!r}; the graph has {list(dag)}")
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
        r"""Mean ``(nodes,)`` and covariance ``(nodes, nodes)`` of all nodes under do(node := value), in float64.

        .. math:: E z = (I - W^\top)^{-1} m, \qquad \text{Cov}\, z = (I - W^\top)^{-1} D^2 (I - W)^{-1}

        with the mean m and the standard deviation D of :math:`a + s \varepsilon`; for a node that is set, m is the
        value, and D and the weights of its parents are 0. With normal noise the law is the normal one.

        Raises:
            KeyError: no such node.
        """
        do = do or {}
        for node in do:
            if node not in self.names:
                raise KeyError(f"no node named {node!r}; the graph has {list(self.names)}")
        position = {node: k for k, node in enumerate(self.names)}
        loc, scale = NOISE_MOMENTS[self.noise_distribution]
        incoming = torch.zeros(len(position), len(position), dtype=torch.float64)
        for (parent, child), weight in self.weights.items():
            incoming[position[child], position[parent]] = 0.0 if child in do else weight
        own = [(self.offsets.get(node, 0.0), self.scales.get(node, 1.0)) for node in self.names]
        mean = [do.get(node, a + s * loc) for node, (a, s) in zip(self.names, own, strict=True)]
        deviation = [
            0.0 if node in do else s * scale for node, (_, s) in zip(self.names, own, strict=True)
        ]
        total = torch.linalg.inv(torch.eye(len(position), dtype=torch.float64) - incoming)
        factor = total * total.new_tensor(deviation)
        return total @ total.new_tensor(mean), factor @ factor.T
