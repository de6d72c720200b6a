"""SlowVAE [Klindt et al., 2021]: of two frames, few factors changed much."""

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
        encoder: as in :class:`PairVAE`, as are the next three.
        decoder: p(x | z).
        latent_dim: number of coordinates of z.
        event_dim: number of dimensions of one observation.
        rate: lambda; 6 in the authors' code.
        beta: weight of the divergence of the first code, 1 in [1].
        gamma: weight of that of the steps, 10 in [1].

    Raises:
        ValueError: a rate that is not positive; when called, groups that are no pairs.

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
        self.rate, self.beta, self.gamma = rate, beta, gamma

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, x', z, z'), or p(x, z) of single observations."""
        if x is None or not self.is_pairs(x):
            return super().model(x, batch_size=batch_size)
        with self.data_plate(x):
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            z_next = pyro.sample("z_next", dist.Laplace(z, 1 / self.rate).to_event(1))
            x_first = pyro.sample("x", self.decoder(z), obs=x[:, 0])
            x_next = pyro.sample("x_next", self.decoder(z_next), obs=x[:, 1])
            return torch.stack([x_first, x_next], 1)

    def guide(self, x: Tensor) -> None:
        """q(z | x) q(z' | x')."""
        if not self.is_pairs(x):
            super().guide(x)
            return
        with self.data_plate(x):
            pyro.sample("z", self.encoder(x[:, 0]))
            pyro.sample("z_next", self.encoder(x[:, 1]))

    def objective(self) -> BetaELBO:
        """The bound with a weight for the first code, and one for the steps."""
        return BetaELBO({"z": self.beta, "z_next": self.gamma}, may_lack=["z_next"])
