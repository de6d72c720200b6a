"""Linear Gaussian stories: probabilistic PCA [Tipping & Bishop, 1999] and factor analysis."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.columns import check_numbers
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["FactorAnalysis", "LinearGaussian", "ProbabilisticPCA"]


class LinearGaussian(GenerativeStory):
    r"""Abstract: a linear map of standard normals, observed with normal noise.

    .. math:: z \sim \mathcal N(0, I), \quad x \mid z \sim \mathcal N(W z + \mu, \Psi), \quad
       q(z \mid x) = \mathcal N(V (x - \mu), \operatorname{diag} s^2)

    The exact posterior of a linear model has the same covariance for all data. It is diagonal if
    the columns of W are orthogonal in the metric of the noise. The likelihood does not depend on
    the rotation of W, so the bound is exact at its maximum, and a diagonal guide selects the
    principal axes among all rotations [2].

    For data with missing values the guide is the exact posterior given the observed elements, which
    has no further parameters: the bound is the log likelihood for all weights.

    Implementing one: define :meth:`noise_scale`.

    Args:
        shape: Shape of one observation.
        latent_dim: Number of coordinates of z.

    References:
        [1] Tipping & Bishop, 1999. Probabilistic principal component analysis.
            https://doi.org/10.1111/1467-9868.00196
        [2] Lucas et al., 2019. https://arxiv.org/abs/1911.02469
        [3] Ilin & Raiko, 2010. Practical approaches to principal component analysis in the presence
            of missing values. https://jmlr.org/papers/v11/ilin10a.html
    """

    latents = ("z",)

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__()
        size = math.prod(shape)
        if not 0 < latent_dim <= size:
            raise ValueError(
                f"expected 0 < latent_dim <= {size}, the size of an observation, got {latent_dim}"
            )
        self.shape = tuple(shape)
        self.latent_dim = latent_dim
        self.weight = nn.Parameter(0.1 * torch.randn(latent_dim, size))
        self.mean = nn.Parameter(torch.zeros(size))
        self.encoder_weight = nn.Parameter(0.1 * torch.randn(size, latent_dim))
        self.log_scale = nn.Parameter(torch.zeros(latent_dim))

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int | None = None
    ) -> Self:
        """Build the story for ``data``, with its own linear maps.

        Args:
            data: Observations of any kind; of a table, numbers alone.
            networks: Not used.
            latent_dim: Number of coordinates of z; by default 10, or the size of an observation if
                that is less.
        """
        check_numbers(data.columns, cls.__name__)
        size = math.prod(data.observation_shape)
        return cls(data.observation_shape, min(10, size) if latent_dim is None else latent_dim)

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

    def guide(self, x: Tensor, observed: Tensor | None = None) -> None:
        """q(z | x), or the exact p(z | observed elements of x) for data with missing values.

        Args:
            x: Observations ``(batch, *shape)``.
            observed: Which elements are observed, of the shape of x; ``None`` if all are.
        """
        with self.data_plate(x):
            if observed is not None:
                pyro.sample("z", self._exact_posterior(x.flatten(1), observed.flatten(1)))
                return
            loc = (x.flatten(1) - self.mean) @ self.encoder_weight
            pyro.sample("z", dist.Normal(loc, self.log_scale.exp()).to_event(1))

    def _exact_posterior(self, x: Tensor, observed: Tensor) -> TorchDistribution:
        r"""p(z | x_o) = N(m, S) with S^{-1} = I + W_o Psi_o^{-1} W_o^T for each mask o [3]."""
        precisions = observed / self.noise_scale() ** 2  # (batch, size), zero where missing
        weighted = self.weight * precisions[:, None]  # (batch, latent_dim, size)
        identity = torch.eye(self.latent_dim, dtype=x.dtype, device=x.device)
        precision = identity + weighted @ self.weight.T
        shift = weighted @ (x - self.mean)[..., None]
        loc = torch.linalg.solve(precision, shift)[..., 0]
        return dist.MultivariateNormal(loc, precision_matrix=precision)

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(1.0)


class ProbabilisticPCA(LinearGaussian):
    r"""Finds the principal axes of data; its best fit is known in closed form.

    .. math:: \Psi = \sigma^2 I \quad [1]

    The noise of all features has the same scale.

    - Story, guide: As in :class:`~ppl_disentangle.models.LinearGaussian`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 1; :meth:`closed_form`
      sets the parameters to its maximum.
    - Data: images or vectors, without labels.
    - For: comparison with a known answer; coordinates along the principal axes.

    Args:
        shape: Shape of one observation.
        latent_dim: Number of coordinates of z.

    References:
        [1] Tipping & Bishop, 1999. Probabilistic principal component analysis.
            https://doi.org/10.1111/1467-9868.00196

    Example:
        >>> ProbabilisticPCA((6,), 2).model(batch_size=5).shape
        torch.Size([5, 6])
    """

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__(shape, latent_dim)
        self.log_noise = nn.Parameter(torch.zeros(()))

    def noise_scale(self) -> Tensor:
        """The scale of the noise of all features, of shape ``()``."""
        return self.log_noise.exp()

    def closed_form(self, x: Tensor) -> float:
        r"""Set all parameters to the maximum of the likelihood of x [1].

        .. math:: W = U (\Lambda - \sigma^2 I)^{1/2}, \quad
           \sigma^2 = \frac{1}{D - L} \sum_{i > L} \lambda_i

        U and Lambda are the first L principal axes and variances of the D features.

        Returns:
            The log likelihood at the maximum, in nats per datum.

        Raises:
            ValueError: There are as many latents as features, or the data have variance in no more
                than L directions.
        """
        mean, variances, axes = _principal_axes(x.flatten(1).double())
        size = len(variances)
        noise = variances[self.latent_dim :].mean()
        if self.latent_dim == size or noise <= 0:
            raise ValueError(
                f"expected variance beyond the first {self.latent_dim} of {size} principal axes"
            )
        kept_variances = variances[: self.latent_dim]
        self._set_parameters(mean, axes[:, : self.latent_dim], kept_variances, noise)
        log_determinant = kept_variances.log().sum() + (size - self.latent_dim) * noise.log()
        return -0.5 * (size * (math.log(2 * math.pi) + 1) + log_determinant.item())

    def _set_parameters(self, mean: Tensor, axes: Tensor, variances: Tensor, noise: Tensor) -> None:
        """Set story and guide to principal axes with the given variances, and noise beyond them."""
        signal = (variances - noise).sqrt()
        with torch.no_grad():
            self.mean.copy_(mean)
            self.log_noise.copy_(0.5 * noise.log())
            self.weight.copy_((axes * signal).T)
            self.encoder_weight.copy_(axes * signal / variances)
            self.log_scale.copy_(0.5 * (noise / variances).log())


class FactorAnalysis(LinearGaussian):
    r"""Finds common factors of features that are measured with different amounts of noise.

    .. math:: \Psi = \operatorname{diag} \psi \quad [1]

    The noise of each feature has its own scale.

    - Story, guide: As in :class:`~ppl_disentangle.models.LinearGaussian`.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 1.
    - Data: images or vectors, without labels.
    - For: features on different scales or with different noise, which principal components mistake
      for signal.

    Args:
        shape: Shape of one observation.
        latent_dim: Number of coordinates of z.

    References:
        [1] Rubin & Thayer, 1982. EM algorithms for ML factor analysis.
            https://doi.org/10.1007/BF02293851
    """

    def __init__(self, shape: Sequence[int], latent_dim: int) -> None:
        super().__init__(shape, latent_dim)
        self.log_noise = nn.Parameter(torch.zeros(self.mean.shape))

    def noise_scale(self) -> Tensor:
        """The scale of the noise of each feature, of shape ``(size,)``."""
        return self.log_noise.exp()


def _principal_axes(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variances in falling order, and principal axes in columns, of data ``(num, size)``."""
    mean = x.mean(0)
    centred = x - mean
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(x))
    return mean, variances.flip(0), axes.flip(1)
