"""Mechanisms that shift and scale their noise: linear, additive, location-scale."""

from __future__ import annotations

import abc
from functools import partial

import pyro.distributions as dist
import torch
from pyro.distributions import Independent, Normal, TorchDistribution
from torch import Tensor, nn
from torch.distributions import Transform
from torch.distributions.transforms import AffineTransform

from ppl_disentangle.causal.mechanisms.base import InvertibleMechanism
from ppl_disentangle.conditionals import unrounded

__all__ = ["AdditiveNoise", "AffineMechanism", "LinearGaussian", "LocationScale"]


class AffineMechanism(InvertibleMechanism):
    r"""A mechanism :math:`z = \mu(\text{parents}) + \sigma(\text{parents})\, \varepsilon`.

    Implementing one: define :meth:`loc_and_scale`.
    """

    @abc.abstractmethod
    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the node, each broadcasting to ``(…, dim)``."""

    def transform(self, parents: Tensor) -> Transform:
        """From noise to value."""
        return AffineTransform(*self._of_coordinates(parents), event_dim=1)

    def conditional(self, parents: Tensor) -> TorchDistribution:
        """p(value | parents), a normal with diagonal covariance."""
        return dist.Normal(*self._of_coordinates(parents)).to_event(1)

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """The distribution of the noise; normal where ``posterior`` is, so that divergences are in closed form."""
        if not (isinstance(posterior, Independent) and isinstance(posterior.base_dist, Normal)):
            return super().pull_back(posterior, parents)
        loc, scale = self.loc_and_scale(parents)
        value = posterior.base_dist
        return dist.Normal((value.loc - loc) / scale, value.scale / scale).to_event(1)

    def _of_coordinates(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of shape ``(…, dim)``: torch counts the scales to find the Jacobian."""
        loc, scale, _ = torch.broadcast_tensors(*self.loc_and_scale(parents), self.zeros)
        return loc, scale


class LinearGaussian(AffineMechanism):
    r"""Linear in its parents, with normal noise: :math:`z = W\,\text{parents} + b + \sigma \varepsilon`.

    A root has only b and :math:`\sigma`, a learned normal.

    Example:
        >>> LinearGaussian(1, 2)(torch.zeros(5, 1), torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(self, dim: int = 1, parent_dim: int = 0) -> None:
        super().__init__(dim, parent_dim)
        self.weight = nn.Parameter(0.1 * torch.randn(dim, parent_dim)) if parent_dim else None
        self.bias, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Linear location, constant scale."""
        if self.weight is None:
            return self.bias, self.log_scale.exp()
        linear = partial(nn.functional.linear, weight=self.weight, bias=self.bias)
        return unrounded(linear, parents.to(self.bias.dtype)), self.log_scale.exp()


class AdditiveNoise(AffineMechanism):
    r"""Any function of its parents, with additive noise [1]: :math:`z = g(\text{parents}) + \sigma \varepsilon`.

    Args:
        dim: as in :class:`Mechanism`.
        parent_dim: as in :class:`Mechanism`.
        hidden: width of the two tanh layers of the MLP g.

    References:
        [1] Hoyer et al., 2008. Nonlinear causal discovery with additive noise models.
        https://papers.nips.cc/paper/3548-nonlinear-causal-discovery-with-additive-noise-models
    """

    def __init__(self, dim: int = 1, parent_dim: int = 0, *, hidden: int = 32) -> None:
        super().__init__(dim, parent_dim)
        self.net = mlp(parent_dim, hidden, dim) if parent_dim else None
        self.bias, self.log_scale = nn.Parameter(torch.zeros(dim)), nn.Parameter(torch.zeros(dim))

    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Location by the network, constant scale."""
        loc = (
            self.bias
            if self.net is None
            else self.bias + unrounded(self.net, parents.to(self.bias.dtype))
        )
        return loc, self.log_scale.exp()


class LocationScale(AffineMechanism):
    r"""Location and scale both functions of the parents, :math:`z = \mu(\text{parents}) + \sigma(\text{parents})
    \varepsilon`, by one MLP.

    Args:
        dim: as in :class:`Mechanism`.
        parent_dim: as in :class:`Mechanism`.
        hidden: width of the two tanh layers.
    """

    def __init__(self, dim: int = 1, parent_dim: int = 0, *, hidden: int = 32) -> None:
        super().__init__(dim, parent_dim)
        self.net = mlp(parent_dim, hidden, 2 * dim) if parent_dim else None
        self.bias = nn.Parameter(torch.zeros(2 * dim))

    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale by the network."""
        loc, log_scale = (
            self.bias
            if self.net is None
            else self.bias + unrounded(self.net, parents.to(self.bias.dtype))
        ).chunk(2, -1)
        return loc, log_scale.exp()


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """Two tanh layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.Tanh(),
        nn.Linear(hidden, hidden),
        nn.Tanh(),
        nn.Linear(hidden, outputs),
    )
