"""The abstract story that most papers of the zoo share: z ~ N(0, I), x ~ p(x | z)."""

from __future__ import annotations

import pyro
from torch import Tensor

from ppl_disentangle.models.bases.normal_code import NormalCode

__all__ = ["IsotropicVAE"]


class IsotropicVAE(NormalCode):
    r"""Abstract: one code z of independent standard normals for each observation.

    .. math:: z \sim \mathcal N(0, I), \quad x \mid z \sim p(x \mid z), \quad q(z \mid x)

    The papers that share this story differ in their objective.

    Implementing one: define ``objective``, and ``__init__`` if the objective has weights.

    Args:
        encoder: ``encoder(x)`` is q(z | x), a distribution with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z), a distribution over one observation.
        latent_dim: Number of coordinates of z.

    References:
        [1] Kingma & Welling, 2014. https://arxiv.org/abs/1312.6114
    """

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z) = N(z; 0, I) p(x | z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x))
