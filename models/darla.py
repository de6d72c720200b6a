"""DARLA's perceptual beta-VAE [Higgins et al., 2017]: images are compared by features, not by pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO, fit
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.models.denoising_autoencoder import DenoisingAutoencoder
from ppl_disentangle.networks import Networks

__all__ = ["DARLA"]


class DARLA(IsotropicVAE):
    r"""The isotropic story whose likelihood is a normal of features J.

    .. math:: z \sim \mathcal N(0, I), \quad p(x \mid z) \propto e^{-\frac12 \lVert J(x) - J(\hat x(z)) \rVert^2},
       \qquad \mathbb E \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    J is the code of a denoising autoencoder, learned before and then held: what it leaves out of an image needs no
    code. The density is that of features, up to a constant; ``elbo_per_datum`` is in its nats, which pixels do not
    have.

    - Story, guide: as of :class:`IsotropicVAE`; a draw of x is its mean.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: observations alone. :meth:`training_data` teaches the features first; in Python, give taught ones.
    - For: codes that serve where images look different from those that were learned from, the first of the three stages
      of [1]; agents are no part of this library. Where colours met that had not met before, what was learned of places
      before held better than with the codes of a beta-VAE of pixels (``tests/models/test_darla.py``
      prints what either loses).

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`; its mean is the image.
        latent_dim: as in :class:`IsotropicVAE`.
        features: what J is the encoder of; it no longer learns.
        beta: weight of the divergence; a choice of ours.
        warm_up: steps over which it rises from 0.
        feature_steps: steps of teaching the features in :meth:`training_data`.

    References:
        [1] Higgins et al., 2017. https://arxiv.org/abs/1707.08475
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        features: DenoisingAutoencoder,
        *,
        beta: Weight = 1.0,
        warm_up: int = 0,
        feature_steps: int = 2000,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.features = features.requires_grad_(False)
        self.beta, self.warm_up, self.feature_steps = beta, warm_up, feature_steps

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        latent_dim: int = 10,
        feature_dim: int = 100,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks, whose features are taught by :meth:`training_data`."""
        features = DenoisingAutoencoder.for_data(data, networks, latent_dim=feature_dim)
        encoder, decoder = Gaussian(networks.encoder(2 * latent_dim)), networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, features, **hyper)

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data, after the features have learned to complete them."""
        fit(self.features.requires_grad_(True), data, steps=self.feature_steps, progress=False)
        self.features.requires_grad_(False)
        return data

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.likelihood(z), obs=x)

    def likelihood(self, z: Tensor) -> ByFeatures:
        """p(x | z)."""
        pixels = self.decoder(z)
        return ByFeatures(pixels.mean, self.features.encoder, pixels.event_dim)

    def objective(self) -> BetaELBO:
        """The bound in nats of the features, its divergence weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


class ByFeatures(TorchDistribution):
    """An image, from which others differ by as much as their features do; draws are the image itself.

    Args:
        image: ``(*batch, *event)``.
        features: from ``(num, *event)`` to ``(num, feature_dim)``.
        event_dim: number of dimensions of an image.
    """

    has_rsample = True
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, image: Tensor, features: Callable[[Tensor], Tensor], event_dim: int) -> None:
        self.image, self.features = image, features
        batch = image.dim() - event_dim
        super().__init__(image.shape[:batch], image.shape[batch:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Images of any values."""
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def mean(self) -> Tensor:
        """The image."""
        return self.image

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> ByFeatures:
        """The same for other batch dimensions."""
        return ByFeatures(
            self.image.expand(*batch_shape, *self.event_shape), self.features, self.event_dim
        )

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The image."""
        return self.image.expand(*sample_shape, *self.image.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus half the squared distance of the features, of shape ``(*batch,)``."""
        return -0.5 * (self._of(value) - self._of(self.image)).square().sum(-1)

    def _of(self, image: Tensor) -> Tensor:
        batch = image.shape[: image.dim() - self.event_dim]
        return self.features(image.reshape(-1, *self.event_shape)).reshape(*batch, -1)
