"""VaDE, variational deep embedding [Jiang et al., 2017]: the prior is a mixture."""

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
    r"""Finds clusters in data without labels, as the components of a learned mixture prior.

    .. math:: c \sim \operatorname{Categorical}(\pi), \quad
       z \mid c \sim \mathcal N(\mu_c, \operatorname{diag} \sigma_c^2), \quad
       x \mid z \sim p(x \mid z)

    The cluster c is summed out of the prior, so p(z) is a mixture. The bound of the paper has
    q(c | x) besides; for its best value, which :meth:`clusters` returns, the two bounds are equal.
    If the decoder is piecewise linear and one-to-one, as with leaky ReLUs, the code is identified
    up to an affine map without labels [2].

    - Story: Above.
    - Guide: q(z | x).
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`. Its weight rises from 0 at first;
      otherwise clusters that start close together do not separate. The paper instead starts from an
      autoencoder and a mixture fitted to its codes.
    - Data: images or vectors, without labels.
    - For: data that come in kinds which are not labelled.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        num_clusters: Number of clusters; 10 in the paper, for digits.
        beta: Weight of the divergence of the code.
        warm_up: Number of steps over which the weight rises from 0. The default is not from the
            paper.

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
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.logits = nn.Parameter(torch.zeros(num_clusters))
        self.locs = nn.Parameter(torch.randn(num_clusters, latent_dim))
        self.log_scales = nn.Parameter(torch.zeros(num_clusters, latent_dim))
        self.beta = beta
        self.warm_up = warm_up

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any
    ) -> Self:
        """Build the story for ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the decoder.
            latent_dim: Number of coordinates of z.
            **hyper: Further arguments of the story.
        """
        encoder = Gaussian(networks.encoder(2 * latent_dim))
        decoder = networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, **hyper)

    def prior(self) -> dist.MixtureSameFamily:
        """p(z), a mixture with one component per cluster."""
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
        r"""Probabilities of the clusters of each datum, of shape ``(batch, num_clusters)``.

        They are estimates of :math:`\mathbb E_{q(z \mid x)} p(c \mid z)`.

        Args:
            x: Observations.
            num_samples: Number of draws from q(z | x).
        """
        z = self.encoder(x).sample((num_samples,))
        prior = self.prior()
        # (num_samples, batch, num_clusters): log p(z, c)
        log_likelihood = prior.component_distribution.log_prob(z[..., None, :])
        log_joint = log_likelihood + prior.mixture_distribution.logits
        return log_joint.softmax(-1).mean(0)

    def objective(self) -> BetaELBO:
        """The evidence lower bound; its divergence is estimated from one draw of the code."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
