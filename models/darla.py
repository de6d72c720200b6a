"""DARLA's perceptual beta-VAE [Higgins et al., 2017]: compares images by features, not pixels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO, fit
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.normal_code import NormalCode
from ppl_disentangle.models.denoising_autoencoder import DenoisingAutoencoder
from ppl_disentangle.networks import Networks

__all__ = ["DARLA"]


class DARLA(NormalCode):
    r"""Learns factors that transfer to new looks, by comparing images by features, not pixels.

    .. math:: z \sim \mathcal N(0, I), \quad
       p(x \mid z) \propto e^{-\frac12 \lVert J(x) - J(\hat x(z)) \rVert^2}, \qquad
       \mathbb E \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    The features J are the code of a denoising autoencoder, which is trained first and then kept
    fixed. The code z need not represent anything that J leaves out. The density is a density of
    features, up to a constant: ``elbo_per_datum`` is in nats of features, not of pixels.

    - Story, guide: Above; a draw of x is its mean.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: images or vectors, without labels. :meth:`training_data` first trains the features; in
      Python, pass a trained autoencoder.
    - For: codes that remain useful for images that look different from the training data. This is
      the first of the three stages of [1]; the agents of the other two are not in this library. In
      ``tests/models/test_darla.py``, a predictor of positions lost less accuracy on new
      combinations of colours than with the codes of a beta-VAE of pixels.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is a distribution whose mean is the image.
        latent_dim: Number of coordinates of z.
        features: Autoencoder whose encoder is J; its parameters no longer learn.
        beta: Weight of the divergence. The default is not from [1].
        warm_up: Number of steps over which the weight rises from 0.
        feature_steps: Number of steps by which :meth:`training_data` trains the features.

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
        self.beta = beta
        self.warm_up = warm_up
        self.feature_steps = feature_steps

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
        """Build the story for ``data``, with fresh networks and features that are not trained yet.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder, the decoder and both networks of the features.
            latent_dim: Number of coordinates of z.
            feature_dim: Number of features.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: The data have missing values.
        """
        if data.has_missing:
            raise ValueError(
                f"{cls.__name__} compares features of whole observations, so that missing values"
                " cannot be left out: impute them first, or choose another story"
            )
        features = DenoisingAutoencoder.for_data(data, networks, latent_dim=feature_dim)
        encoder = Gaussian(networks.encoder(2 * latent_dim))
        decoder = networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, features, **hyper)

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data; trains the features on them first."""
        fit(self.features.requires_grad_(True), data, steps=self.feature_steps, progress=False)
        self.features.requires_grad_(False)
        return data

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.likelihood(z), obs=x)

    def likelihood(self, z: Tensor) -> NormalInFeatures:
        """p(x | z), a normal of the features of the image that z decodes to."""
        pixels = self.decoder(z)
        return NormalInFeatures(pixels.mean, self.features.encoder, pixels.event_dim)

    def guide(self, x: Tensor) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))

    def objective(self) -> BetaELBO:
        """The bound in nats of the features, its divergence weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


class NormalInFeatures(TorchDistribution):
    """Images whose log density falls with the squared distance of their features to an image's.

    Draws are the image itself.

    Args:
        image: The image at the centre, ``(*batch, *event)``.
        features: Maps images ``(num, *event)`` to features ``(num, feature_dim)``.
        event_dim: Number of dimensions of an image.
    """

    has_rsample = True
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, image: Tensor, features: Callable[[Tensor], Tensor], event_dim: int) -> None:
        self.image = image
        self.features = features
        batch_dim = image.dim() - event_dim
        super().__init__(image.shape[:batch_dim], image.shape[batch_dim:], validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Images of any values."""
        return constraints.independent(constraints.real, self.event_dim)

    @property
    def mean(self) -> Tensor:
        """The image at the centre."""
        return self.image

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> NormalInFeatures:
        """The same distribution for other batch dimensions."""
        image = self.image.expand(*batch_shape, *self.event_shape)
        return NormalInFeatures(image, self.features, self.event_dim)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """The image at the centre, for each draw."""
        return self.image.expand(*sample_shape, *self.image.shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Minus half the squared distance of the features, of shape ``(*batch,)``."""
        difference = self._features_of(value) - self._features_of(self.image)
        return -0.5 * difference.square().sum(-1)

    def _features_of(self, image: Tensor) -> Tensor:
        """Features of images with any batch dimensions, ``(*batch, feature_dim)``."""
        batch_shape = image.shape[: image.dim() - self.event_dim]
        features = self.features(image.reshape(-1, *self.event_shape))
        return features.reshape(*batch_shape, -1)
