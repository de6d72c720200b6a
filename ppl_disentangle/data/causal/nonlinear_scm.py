"""A structural causal model of random networks with additive noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies
from ppl_disentangle.data.causal.scm import NoiseDistribution, SyntheticSCM
from ppl_disentangle.graphs import as_dag, parents

__all__ = ["NonlinearSCM"]


class NonlinearSCM(SyntheticSCM):
    r"""Nodes that are random functions of their parents, with additive noise; roots are their noise.

    .. math:: z_i = \frac{2}{\sqrt h}\, v_i^\top \tanh(W_i z_{\text{parents}(i)} + b_i) + s \varepsilon_i

    with h hidden units and independent standard normal v, W and b.

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes.
        num_data: number of units.
        hidden: number h of hidden units.
        scale: the scale s of the noise of nodes with parents.
        noise: as in :class:`~ppl_disentangle.data.SyntheticSCM`.
        seed: of networks, units and mixing.
        observation_shape: as in :class:`~ppl_disentangle.data.SyntheticSCM`.
        name: as in :class:`~ppl_disentangle.data.SyntheticSCM`.

    Example:
        >>> scm = NonlinearSCM("a -> b -> c; a -> c", num_data=100, observation_shape=(24,))
        >>> values, x = scm.counterfactual(torch.arange(5), {"b": 1.0})
        >>> values.shape, x.shape
        (torch.Size([5, 3]), torch.Size([5, 24]))
    """

    def __init__(
        self,
        graph: Any,
        *,
        num_data: int,
        hidden: int = 16,
        scale: float = 0.5,
        noise: NoiseDistribution = "normal",
        seed: int = 0,
        observation_shape: tuple[int, ...] | None = None,
        name: str = "nonlinear_scm",
    ) -> None:
        dag, generator = as_dag(graph), torch.Generator().manual_seed(seed)
        self.scale = scale
        # Each network in one matrix: weights of the parents, bias, weight of the output.
        self._networks = {
            node: DeviceCopies(
                torch.randn(len(parents(dag, node)) + 2, hidden, generator=generator)
            )
            for node in dag
        }
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
        hidden = bias + sum(
            column[:, None] * weight
            for column, weight in zip(parent_values.values(), weights, strict=True)
        )
        return (2 / math.sqrt(len(bias))) * (hidden.tanh() * output).sum(-1) + self.scale * noise
