"""SlowVAE [Klindt et al., 2021]: few factors change from one frame to the next."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.pairs import PairVAE

__all__ = ["SlowVAE"]


class SlowVAE(PairVAE):
    r"""Learns factors from pairs of frames between which few factors change.

    .. math:: z \sim \mathcal N(0, I), \quad
       z'_d \mid z_d \sim \operatorname{Laplace}(z_d, 1 / \lambda), \quad
       x \mid z \sim p(x \mid z), \quad x' \mid z' \sim p(x \mid z'), \qquad
       q(z \mid x)\, q(z' \mid x')

    A normal prior leaves the rotation of the code open. Sparse steps fix it, since a rotated code
    would take dense steps.

    - Story, guide: Above; the code of the second frame is the site ``z_next``.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with a weight for each divergence.
      The divergence of the steps is exact for each draw of z.
    - Data: pairs of frames that share most factors, ``(batch, 2, *event)``, such as
      :func:`~ppl_disentangle.data.pairs` draws. Single observations are taken as they are.
    - For: videos whose factors mostly stay the same and sometimes jump.

    Args:
        encoder: ``encoder(x)`` is q(z | x), a normal with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        event_dim: Number of dimensions of one observation; pairs have one dimension more.
        rate: Rate lambda of the steps; 6 in the authors' code.
        beta: Weight of the divergence of the first code; 1 in [1].
        gamma: Weight of the divergence of the steps; 10 in [1].

    Raises:
        ValueError: The rate is not positive; when called, groups are not pairs.

    References:
        [1] Klindt et al., 2021. https://arxiv.org/abs/2007.10930

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> story = SlowVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4, event_dim=1)
        >>> story.model(torch.zeros(5, 2, 6)).shape
        torch.Size([5, 2, 6])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        event_dim: int = 3,
        rate: float = 6.0,
        beta: Weight = 1.0,
        gamma: Weight = 10.0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim, event_dim=event_dim)
        if rate <= 0:
            raise ValueError(f"expected rate > 0, got {rate}")
        self.rate = rate
        self.beta = beta
        self.gamma = gamma

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, x', z, z') of pairs, or p(x, z) of single observations."""
        if x is not None and self.is_pairs(x):
            return self._model_of_pairs(x)
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decoder(z), obs=x)

    def _model_of_pairs(self, x: Tensor) -> Tensor:
        """p(x, x', z, z')."""
        with self.data_plate(x):
            z = pyro.sample("z", self.prior())
            z_next = pyro.sample("z_next", dist.Laplace(z, 1 / self.rate).to_event(1))
            x_first = pyro.sample("x", self.decoder(z), obs=x[:, 0])
            x_next = pyro.sample("x_next", self.decoder(z_next), obs=x[:, 1])
            return torch.stack([x_first, x_next], 1)

    def guide(self, x: Tensor) -> None:
        """q(z | x) q(z' | x') of pairs, or q(z | x) of single observations."""
        with self.data_plate(x):
            if self.is_pairs(x):
                pyro.sample("z", self.encoder(x[:, 0]))
                pyro.sample("z_next", self.encoder(x[:, 1]))
            else:
                pyro.sample("z", self.encoder(x))

    def objective(self) -> BetaELBO:
        """The bound with one weight for the first code and one for the steps."""
        return BetaELBO({"z": self.beta, "z_next": self.gamma}, may_lack=["z_next"])
