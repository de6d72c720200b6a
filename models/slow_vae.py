"""SlowVAE [Klindt et al., 2021]: of two frames, few factors changed much."""

from __future__ import annotations

from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset, pairs
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.schedules import Weight
from ppl_disentangle.models.isotropic import IsotropicVAE
from ppl_disentangle.network_choice import Networks

__all__ = ["SlowVAE"]


class SlowVAE(IsotropicVAE):
    r"""A code that takes sparse steps from one frame to the next.

    .. math:: z \sim \mathcal N(0, I), \quad z'_d \mid z_d \sim \operatorname{Laplace}(z_d, 1 / \lambda), \quad
       x \mid z \sim p(x \mid z), \quad x' \mid z' \sim p(x \mid z'), \qquad q(z \mid x)\, q(z' \mid x')

    A rotation of the code would make its steps dense: sparse transitions fix what a normal prior leaves open.

    - Story, guide: above; the code of the second frame is the site ``z_next``.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO` with a weight for each divergence; that of the steps is
      exact for each draw of z.
    - Data: pairs of frames ``(batch, 2, *event)``, such as of :func:`~ppl_disentangle.data.pairs`; single observations
      are taken as they are.
    - For: videos, whose factors mostly stay and at times jump.

    Args:
        encoder: ``encoder(x)`` is a normal of event shape ``(latent_dim,)``.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        event_dim: number of dimensions of one observation, by which pairs are told from single ones.
        rate: lambda; 6 in the authors' code.
        beta: weight of the divergence of the first code, 1 in [1].
        gamma: weight of that of the steps, 10 in [1].

    Raises:
        ValueError: a rate that is not positive; when called, groups that are no pairs.

    References:
        [1] Klindt et al., 2021. https://arxiv.org/abs/2007.10930

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
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
        super().__init__(encoder, decoder, latent_dim)
        if rate <= 0:
            raise ValueError(f"expected rate > 0, got {rate}")
        self.event_dim, self.rate, self.beta, self.gamma = event_dim, rate, beta, gamma

    @classmethod
    def for_data(cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 10, **hyper: Any) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Raises:
            ValueError: fewer than two factors, of which none could stay.
        """
        if sum(size > 1 for size in data.factor_sizes) < 2:
            raise ValueError(f"{cls.__name__} needs frames of which a factor stays: {data.name} has not two that vary")
        encoder, decoder = Gaussian(networks.encoder(2 * latent_dim)), networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, event_dim=len(data.observation_shape), **hyper)

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many pairs as there are data, of which a random number of factors changed."""
        return pairs(data, "random")

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, x', z, z'), or p(x, z) of single observations."""
        first, second = (None, None) if x is None else self._frames(x)
        if second is None:
            return super().model(first, batch_size=batch_size)
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            z_next = pyro.sample("z_next", dist.Laplace(z, 1 / self.rate).to_event(1))
            x_first = pyro.sample("x", self.decoder(z), obs=first)
            x_next = pyro.sample("x_next", self.decoder(z_next), obs=second)
            return torch.stack([x_first, x_next], 1)

    def guide(self, x: Tensor) -> None:
        """q(z | x) q(z' | x')."""
        first, second = self._frames(x)
        with self.data_plate(x):
            pyro.sample("z", self.encoder(first))
            if second is not None:
                pyro.sample("z_next", self.encoder(second))

    def _frames(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """First and second frames; of single observations there is no second."""
        if x.dim() < 2 + self.event_dim:
            return x, None
        if x.dim() > 2 + self.event_dim or x.shape[1] != 2:
            event = ", ".join(["…"] * self.event_dim)
            raise ValueError(f"expected pairs (batch, 2, {event}) or single observations, got shape {tuple(x.shape)}")
        return x[:, 0], x[:, 1]

    def objective(self) -> BetaELBO:
        """The bound with a weight for the first code, and one for the steps."""
        return BetaELBO({"z": self.beta, "z_next": self.gamma}, may_lack=["z_next"])
