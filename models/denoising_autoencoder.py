"""The denoising autoencoder [Vincent et al., 2008]: a code of images of which a part is hidden."""

from __future__ import annotations

from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.models.bases.normal_code import NormalCode
from ppl_disentangle.networks import Networks

__all__ = ["DenoisingAutoencoder"]


class DenoisingAutoencoder(NormalCode):
    r"""Learns features for comparing observations, by completing observations with hidden values.

    .. math:: q(z \mid x) = \delta_{f(m \odot x)}, \quad
       m_i \sim \operatorname{Bernoulli}(1 - \rho), \qquad \mathbb E \log p(x \mid f(m \odot x))

    Hidden values can only be inferred from the regularities of the data, so the code comes to
    represent these. :class:`~ppl_disentangle.models.DARLA` compares images by such codes. The
    representation of x is the code of x with nothing hidden.

    - Story: As in :class:`~ppl_disentangle.models.IsotropicVAE`; its prior has weight 0.
    - Guide: Above.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with weight 0 of the divergence.
    - Data: images or vectors, without labels.
    - For: features by which observations can be compared.

    Args:
        encoder: Plain network; ``encoder(x)`` is the code f(x), ``(batch, latent_dim)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        hidden: Share rho of the values that are hidden. The default is not from the paper.

    Raises:
        ValueError: The share is not in [0, 1).

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
        """Build the story for ``data``, with a fresh plain encoder and a fresh decoder.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the decoder.
            latent_dim: Number of coordinates of z.
            **hyper: Further arguments of the story.
        """
        return cls(networks.encoder(latent_dim), networks.decoder(latent_dim), latent_dim, **hyper)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """A point at the code of x with a random part hidden."""
        visible = torch.rand_like(x) >= self.hidden
        with self.data_plate(x):
            pyro.sample("z", dist.Delta(self.encoder(x * visible), event_dim=1))

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """A point at the code of x with nothing hidden."""
        check_conditions(self, conditions)
        return {"z": dist.Delta(self.encoder(x), event_dim=1)}

    def objective(self) -> BetaELBO:
        """The log likelihood."""
        return BetaELBO(0.0)
