"""The denoising autoencoder [Vincent et al., 2008]: a code of what was hidden, too."""

from __future__ import annotations

from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.networks import Networks

__all__ = ["DenoisingAutoencoder"]


class DenoisingAutoencoder(IsotropicVAE):
    r"""The isotropic story with a point as code, read from data a part of which is hidden.

    .. math:: q(z \mid x) = \delta_{f(m \odot x)}, \quad m_i \sim \operatorname{Bernoulli}(1 - \rho), \qquad
       \mathbb E \log p(x \mid f(m \odot x))

    What is hidden can only be told from the rest by what data are like: the code becomes one of that, which
    :class:`~ppl_disentangle.models.DARLA` compares images by. The representation of x is the code of all of it.

    - Story: as of :class:`IsotropicVAE`, its prior without weight.
    - Guide: above.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 0 of the divergence.
    - Data: observations alone.
    - For: features to compare observations by.

    Args:
        encoder: ``encoder(x)`` is the code f(x), ``(batch, latent_dim)``.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        hidden: rho, the share of the values that are hidden; a choice of ours.

    Raises:
        ValueError: a share that is not in [0, 1).

    References:
        [1] Vincent et al., 2008. https://doi.org/10.1145/1390156.1390294
    """

    def __init__(
        self, encoder: nn.Module, decoder: nn.Module, latent_dim: int, *, hidden: float = 0.25
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        if not 0 <= hidden < 1:
            raise ValueError(f"expected a share 0 <= hidden < 1, got {hidden}")
        self.hidden = hidden

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 100, **hyper: Any
    ) -> Self:
        """A story with fresh networks; see :func:`~ppl_disentangle.zoo.build`."""
        return cls(networks.encoder(latent_dim), networks.decoder(latent_dim), latent_dim, **hyper)

    def guide(self, x: Tensor) -> None:
        """The code of what is left of x."""
        seen = torch.rand_like(x) >= self.hidden
        with self.data_plate(x):
            pyro.sample("z", dist.Delta(self.encoder(x * seen), event_dim=1))

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """The code of all of x."""
        return {"z": dist.Delta(self.encoder(x), event_dim=1)}

    def objective(self) -> BetaELBO:
        """The log likelihood."""
        return BetaELBO(0.0)
