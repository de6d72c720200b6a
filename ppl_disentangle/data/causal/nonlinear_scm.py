"""A structural causal model of random networks with additive noise."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies
from ppl_disentangle.data.causal.dataset import Graph
from ppl_disentangle.data.causal.scm import NoiseDistribution, SyntheticSCM
from ppl_disentangle.graphs import as_dag, parents

__all__ = ["NonlinearSCM"]


class NonlinearSCM(SyntheticSCM):
    r"""A structural causal model whose nodes are random functions of their parents plus noise.

    .. math:: z_i = \frac{2}{\sqrt h}\, v_i^\top \tanh(W_i z_{\text{parents}(i)} + b_i) + s \varepsilon_i

    with h hidden units and independent standard normal v, W and b. A root equals its noise.

    Args:
        graph: Causal graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` accepts.
        num_data: Number of units.
        hidden: Number h of hidden units.
        scale: Scale s of the noise of nodes with parents.
        noise: Distribution of the noise; see :class:`~ppl_disentangle.data.SyntheticSCM`.
        seed: Seed of networks, units and random map.
        observation_shape: Shape of an observation; see :class:`~ppl_disentangle.data.SyntheticSCM`.
        name: Short name for tables and run folders.

    Example:
        >>> scm = NonlinearSCM("a -> b -> c; a -> c", num_data=100, observation_shape=(24,))
        >>> values, x = scm.counterfactual(torch.arange(5), {"b": 1.0})
        >>> values.shape, x.shape
        (torch.Size([5, 3]), torch.Size([5, 24]))
    """

    def __init__(
        self,
        graph: Graph,
        *,
        num_data: int,
        hidden: int = 16,
        scale: float = 0.5,
        noise: NoiseDistribution = "normal",
        seed: int = 0,
        observation_shape: tuple[int, ...] | None = None,
        name: str = "nonlinear_scm",
    ) -> None:
        dag = as_dag(graph)
        generator = torch.Generator().manual_seed(seed)
        self.scale = scale
        # The rows of a network's matrix: weights of each parent, bias, weights of the output.
        self._networks = {}
        for node in dag:
            num_rows = len(parents(dag, node)) + 2
            self._networks[node] = DeviceCopies(torch.randn(num_rows, hidden, generator=generator))
        super().__init__(
            dag,
            num_data=num_data,
            noise=noise,
            generator=generator,
            observation_shape=observation_shape,
            name=name,
        )

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """The network of the node plus its noise."""
        if not parent_values:
            return noise
        *weights, bias, output = self._networks[node].on(noise.device)
        inputs = zip(parent_values.values(), weights, strict=True)
        hidden = bias + sum(column[:, None] * weight for column, weight in inputs)
        signal = (2 / math.sqrt(len(bias))) * (hidden.tanh() * output).sum(-1)
        return signal + self.scale * noise
