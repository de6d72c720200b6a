"""The story that most of the zoo shares: z ~ N(0, I), x ~ p(x | z)."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["IsotropicVAE"]


class IsotropicVAE(GenerativeStory):
    r"""One code z of independent standard normals. Abstract: subclasses add the objective.

    .. math:: z \sim \mathcal N(0, I), \quad x \mid z \sim p(x \mid z), \quad q(z \mid x)

    Implementing an isotropic story: define ``objective``, and ``__init__`` where it has weights to keep.

    Args:
        encoder: ``encoder(x)`` is q(z | x), a distribution with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z), a distribution with events of the shape of one observation.
        latent_dim: number of coordinates of z.

    References:
        [1] Kingma & Welling, 2014. https://arxiv.org/abs/1312.6114
    """

    latents = ("z",)
    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any
    ) -> Self:
        """A story with fresh networks; see :func:`~ppl_disentangle.zoo.build`."""
        return cls(
            Gaussian(networks.encoder(2 * latent_dim)),
            networks.decoder(latent_dim),
            latent_dim,
            **hyper,
        )

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z) = N(z; 0, I) p(x | z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""
