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

    Implementing an affine mechanism: define :meth:`loc_and_scale`, which returns :math:`\mu` and
    :math:`\sigma`.
    """

    @abc.abstractmethod
    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Location and scale of the node; each broadcasts to ``(…, dim)``."""

    def transform(self, parents: Tensor) -> Transform:
        """The transform from noise to value."""
        loc, scale = self._loc_and_scale_by_coordinate(parents)
        return AffineTransform(loc, scale, event_dim=1)

    def conditional(self, parents: Tensor) -> TorchDistribution:
        """p(value | parents), a normal with diagonal covariance."""
        loc, scale = self._loc_and_scale_by_coordinate(parents)
        return dist.Normal(loc, scale).to_event(1)

    def pull_back(self, posterior: TorchDistribution, parents: Tensor) -> TorchDistribution:
        """The distribution of the noise; it is normal if ``posterior`` is normal."""
        if not (isinstance(posterior, Independent) and isinstance(posterior.base_dist, Normal)):
            return super().pull_back(posterior, parents)
        loc, scale = self.loc_and_scale(parents)
        value = posterior.base_dist
        return dist.Normal((value.loc - loc) / scale, value.scale / scale).to_event(1)

    def _loc_and_scale_by_coordinate(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """Both of shape ``(…, dim)``: torch derives the shape of the Jacobian from the scale."""
        loc, scale, _ = torch.broadcast_tensors(*self.loc_and_scale(parents), self.zeros)
        return loc, scale


class LinearGaussian(AffineMechanism):
    r"""A linear function of the parents with normal noise.

    .. math:: z = W\,\text{parents} + b + \sigma \varepsilon

    The weights W, the bias b and the scale :math:`\sigma` are learned. A root has only b and
    :math:`\sigma`.

    Example:
        >>> LinearGaussian(1, 2)(torch.zeros(5, 1), torch.zeros(5, 2)).shape
        torch.Size([5, 1])
    """

    def __init__(self, dim: int = 1, parent_dim: int = 0) -> None:
        super().__init__(dim, parent_dim)
        self.weight = nn.Parameter(0.1 * torch.randn(dim, parent_dim)) if parent_dim else None
        self.bias = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """A linear location and a constant scale."""
        if self.weight is None:
            return self.bias, self.log_scale.exp()
        linear = partial(nn.functional.linear, weight=self.weight, bias=self.bias)
        return unrounded(linear, parents.to(self.bias.dtype)), self.log_scale.exp()


class AdditiveNoise(AffineMechanism):
    r"""A learned function of the parents with additive noise [1].

    .. math:: z = g(\text{parents}) + \sigma \varepsilon

    Args:
        dim: Number of coordinates of the node.
        parent_dim: Number of coordinates of all its parents; 0 for a root.
        hidden: Width of the two tanh layers of the MLP g.

    References:
        [1] Hoyer et al., 2008. Nonlinear causal discovery with additive noise models.
        https://papers.nips.cc/paper/3548-nonlinear-causal-discovery-with-additive-noise-models
    """

    def __init__(self, dim: int = 1, parent_dim: int = 0, *, hidden: int = 32) -> None:
        super().__init__(dim, parent_dim)
        self.net = mlp(parent_dim, hidden, dim) if parent_dim else None
        self.bias = nn.Parameter(torch.zeros(dim))
        self.log_scale = nn.Parameter(torch.zeros(dim))

    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """A location from the network and a constant scale."""
        return output_of(self.net, self.bias, parents), self.log_scale.exp()


class LocationScale(AffineMechanism):
    r"""Location and scale that are functions of the parents, computed by one MLP.

    .. math:: z = \mu(\text{parents}) + \sigma(\text{parents})\, \varepsilon

    Args:
        dim: Number of coordinates of the node.
        parent_dim: Number of coordinates of all its parents; 0 for a root.
        hidden: Width of the two tanh layers of the MLP.
    """

    def __init__(self, dim: int = 1, parent_dim: int = 0, *, hidden: int = 32) -> None:
        super().__init__(dim, parent_dim)
        self.net = mlp(parent_dim, hidden, 2 * dim) if parent_dim else None
        self.bias = nn.Parameter(torch.zeros(2 * dim))

    def loc_and_scale(self, parents: Tensor) -> tuple[Tensor, Tensor]:
        """A location and a scale from the network."""
        loc, log_scale = output_of(self.net, self.bias, parents).chunk(2, -1)
        return loc, log_scale.exp()


def output_of(net: nn.Module | None, bias: Tensor, parents: Tensor) -> Tensor:
    """The output of a network for given parents plus a bias; a root has only the bias."""
    if net is None:
        return bias
    return bias + unrounded(net, parents.to(bias.dtype))


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """A network with two tanh layers."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.Tanh(),
        nn.Linear(hidden, hidden),
        nn.Tanh(),
        nn.Linear(hidden, outputs),
    )
