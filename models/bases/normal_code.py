"""The abstract story of one code of independent standard normal coordinates."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, Self

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["NormalCode"]


class NormalCode(GenerativeStory):
    r"""Abstract: a code z of independent standard normals, with an encoder and a decoder.

    .. math:: z \sim \mathcal N(0, I)

    Implementing one: define ``model``, ``guide`` and ``objective``. Where data are observed one by
    one as p(x | z) and inferred by q(z | x), start from :class:`IsotropicVAE`, which defines the
    first two.

    Args:
        encoder: ``encoder(x)`` is q(z | x), a distribution with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z), a distribution over one observation.
        latent_dim: Number of coordinates of z.
    """

    latents = ("z",)
    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(self, encoder: nn.Module, decoder: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any
    ) -> Self:
        """Build the story for ``data``, with a fresh Gaussian encoder and a fresh decoder.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the decoder.
            latent_dim: Number of coordinates of z.
            **hyper: Further arguments of the story.
        """
        encoder = Gaussian(networks.encoder(2 * latent_dim))
        decoder = networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, **hyper)

    def prior(self) -> TorchDistribution:
        """p(z) = N(0, I)."""
        return dist.Normal(self.zeros, 1.0).to_event(1)

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""
