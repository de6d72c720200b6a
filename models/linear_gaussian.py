"""The linear roots of the field: probabilistic PCA [Tipping & Bishop, 1999] and factor analysis."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["FactorAnalysis", "LinearGaussian", "ProbabilisticPCA"]


class LinearGaussian(GenerativeStory):
    r"""A linear map of standard normals, seen with normal noise. Abstract: subclasses say which noise.

    .. math:: z \sim \mathcal N(0, I), \quad x \mid z \sim \mathcal N(W z + \mu, \Psi), \quad
       q(z \mid x) = \mathcal N(V (x - \mu), \operatorname{diag} s^2)

    The posterior of a linear model has one covariance for all data. It is diagonal where the columns of W are
    orthogonal in the metric of the noise, and the likelihood does not tell W from a rotation of it: the bound is hence
    exact at its maximum, and a diagonal guide picks the principal axes among all rotations [2].

    Implementing one: define :meth:`noise_scale`.

    Args:
        shape: of one observation.
        latent_dim: number of coordinates of z.

    References:
        [1] Tipping & Bishop, 1999. Probabilistic principal component analysis. https://doi.org/10.1111/1467-9868.00196
        [2] Lucas et al., 2019. https://arxiv.org/abs/1911.02469
    """

    latents = ("z",)

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        size = math.prod(shape)
        if not 0 < latent_dim <= size:
            raise ValueError(
                f"expected 0 < latent_dim <= {size}, the size of an observation, got {latent_dim}"
            )
        self.shape, self.latent_dim = tuple(shape), latent_dim
        self.weight = nn.Parameter(0.1 * torch.randn(latent_dim, size))
        self.mean = nn.Parameter(torch.zeros(size))
        self.encoder_weight = nn.Parameter(0.1 * torch.randn(size, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))

    @classmethod
    def for_data(cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.
        It needs no networks.
        """
        return cls(data.observation_shape, latent_dim)

    @abc.abstractmethod
    def noise_scale(self) -> Tensor:
        r""":math:`\Psi^{1/2}`, of shape ``()`` or ``(size,)``."""

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.log_scale), 1.0).to_event(1))
            loc = (z @ self.weight + self.mean).unflatten(-1, self.shape)
            scale = self.noise_scale().expand_as(self.mean).unflatten(-1, self.shape)
            return pyro.sample("x", dist.Normal(loc, scale).to_event(len(self.shape)), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            loc = (x.flatten(1) - self.mean) @ self.encoder_weight
            pyro.sample("z", dist.Normal(loc, self.log_scale.exp()).to_event(1))

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(1.0)


class ProbabilisticPCA(LinearGaussian):
    r"""One scale for the noise of all features, :math:`\Psi = \sigma^2 I` [1].

    - Story, guide: as of :class:`LinearGaussian`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 1; :meth:`closed_form` has its maximum.
    - Data: observations alone.
    - For: the answer that is known, beside any other; coordinates along the principal axes.

    Args:
        shape: as in :class:`LinearGaussian`.
        latent_dim: as in :class:`LinearGaussian`.

    References:
        [1] Tipping & Bishop, 1999. Probabilistic principal component analysis. https://doi.org/10.1111/1467-9868.00196

    Example:
        >>> ProbabilisticPCA((6,), 2).model(batch_size=5).shape
        torch.Size([5, 6])
    """

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__(shape, latent_dim)
        self.log_noise = nn.Parameter(torch.zeros(()))

    def noise_scale(self) -> Tensor:
        """One for all."""
        return self.log_noise.exp()

    def closed_form(self, x: Tensor) -> float:
        r"""Set all parameters to the maximum of the likelihood of x [1]; returns it, in nats per datum.

        .. math:: W = U (\Lambda - \sigma^2 I)^{1/2}, \quad \sigma^2 = \frac{1}{D - L} \sum_{i > L} \lambda_i

        U and Lambda are the L first principal axes and variances of the D features.

        Raises:
            ValueError: as many latents as features, or data of less variance than directions.
        """
        flat, dim = x.flatten(1).double(), self.latent_dim
        mean = flat.mean(0)
        values, axes = torch.linalg.eigh((flat - mean).T @ (flat - mean) / len(x))
        values, axes = values.flip(0), axes.flip(1)
        noise = values[dim:].mean()
        if dim == len(values) or noise <= 0:
            raise ValueError(
                f"expected variance beyond the first {dim} of {len(values)} principal axes"
            )
        signal = (values[:dim] - noise).sqrt()
        with torch.no_grad():
            self.mean.copy_(mean)
            self.log_noise.copy_(0.5 * noise.log())
            self.weight.copy_((axes[:, :dim] * signal).T)
            self.encoder_weight.copy_(axes[:, :dim] * signal / values[:dim])
            self.log_scale.copy_(0.5 * (noise / values[:dim]).log())
        log_determinant = values[:dim].log().sum() + (len(values) - dim) * noise.log()
        return -0.5 * (len(values) * (math.log(2 * math.pi) + 1) + log_determinant.item())


class FactorAnalysis(LinearGaussian):
    r"""A linear story with a scale of its own for the noise of each feature.

    .. math:: \Psi = \operatorname{diag} \psi \quad [1]

    - Story, guide: as of :class:`LinearGaussian`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 1.
    - Data: observations alone.
    - For: features measured in different units or with different noise, which principal components mistake for signal.

    Args:
        shape: as in :class:`LinearGaussian`.
        latent_dim: as in :class:`LinearGaussian`.

    References:
        [1] Rubin & Thayer, 1982. EM algorithms for ML factor analysis. https://doi.org/10.1007/BF02293851
    """

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__(shape, latent_dim)
        self.log_noise = nn.Parameter(torch.zeros(self.mean.shape))

    def noise_scale(self) -> Tensor:
        """One for each feature."""
        return self.log_noise.exp()
