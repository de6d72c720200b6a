"""VaDE, variational deep embedding [Jiang et al., 2017]: a mixture for a prior."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["VaDE"]


class VaDE(GenerativeStory):
    r"""A code that comes in clusters, which are learned.

    .. math:: c \sim \operatorname{Categorical}(\pi), \quad z \mid c \sim \mathcal N(\mu_c, \operatorname{diag}
       \sigma_c^2), \quad x \mid z \sim p(x \mid z)

    The cluster is summed out of the prior: p(z) is a mixture. The paper's bound has q(c | x) besides, whose best value
    is what :meth:`clusters` returns; there both bounds agree. With a decoder that is piecewise linear and one-to-one,
    such as of leaky ReLUs, the code is known up to an affine map, without labels [2].

    - Story: above.
    - Guide: q(z | x), the encoder's.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; its weight rises at first, as clusters that start
      together do not part otherwise. The paper starts from an autoencoder and a mixture fitted to its codes instead.
    - Data: observations alone.
    - For: kinds of data that are not labelled.

    Args:
        encoder: ``encoder(x)`` is q(z | x).
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: number of coordinates of z.
        num_clusters: number of values of c; 10 in the paper, for digits.
        beta: weight of the divergence of the code.
        warm_up: steps over which it rises from 0; a choice of ours.

    References:
        [1] Jiang et al., 2017. https://arxiv.org/abs/1611.05148
        [2] Kivva et al., 2022. https://arxiv.org/abs/2206.10044

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> story = VaDE(Gaussian(nn.Linear(6, 4)), Bernoulli(nn.Linear(2, 6)), 2, num_clusters=3)
        >>> story.clusters(torch.zeros(5, 6)).shape
        torch.Size([5, 3])
    """

    latents = ("z",)
    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        num_clusters: int = 10,
        beta: Weight = 1.0,
        warm_up: int = 1000,
    ) -> None:
        super().__init__()
        if num_clusters < 1:
            raise ValueError(f"expected num_clusters >= 1, got {num_clusters}")
        self.encoder, self.decoder, self.latent_dim = encoder, decoder, latent_dim
        self.logits = nn.Parameter(torch.zeros(num_clusters))
        self.locs = nn.Parameter(torch.randn(num_clusters, latent_dim))
        self.log_scales = nn.Parameter(torch.zeros(num_clusters, latent_dim))
        self.beta, self.warm_up = beta, warm_up

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`."""
        return cls(
            Gaussian(networks.encoder(2 * latent_dim)),
            networks.decoder(latent_dim),
            latent_dim,
            **hyper,
        )

    def prior(self) -> dist.MixtureSameFamily:
        """p(z)."""
        components = dist.Normal(self.locs, self.log_scales.exp()).to_event(1)
        return dist.MixtureSameFamily(dist.Categorical(logits=self.logits), components)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))

    def clusters(self, x: Tensor, *, num_samples: int = 10) -> Tensor:
        r"""Probabilities of the clusters of each datum, :math:`\mathbb E_{q(z \mid x)} p(c \mid z)`: ``(batch, c)``."""
        z, prior = self.encoder(x).sample((num_samples,)), self.prior()
        logits = (
            prior.component_distribution.log_prob(z[..., None, :])
            + prior.mixture_distribution.logits
        )
        return logits.softmax(-1).mean(0)

    def objective(self) -> BetaELBO:
        """The evidence lower bound, its divergence from one draw of the code."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
