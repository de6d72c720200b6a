"""Ada-GVAE and Ada-ML-VAE [Locatello et al., 2020]: what pairs share, found out pair by pair."""

from __future__ import annotations

from typing import Literal, get_args

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.pairs import PairVAE

__all__ = ["AdaGVAE"]

Average = Literal["arithmetic", "product"]


class AdaGVAE(PairVAE):
    r"""The isotropic story, told that two observations share all factors but a few, not which.

    .. math:: \delta_i = \operatorname{KL}(q(z_i \mid x) \,\|\, q(z_i \mid x')), \quad
       \hat q(z_i \mid x, x') = \begin{cases} a(q(z_i \mid x), q(z_i \mid x')) & \delta_i < \tfrac12 (\max_j \delta_j +
       \min_j \delta_j) \\ q(z_i \mid x) & \text{else} \end{cases}

    - Story: of each member of a pair, that of :class:`IsotropicVAE`.
    - Guide: above; a is the average. Of single observations, q(z | x).
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`, each member being a datum.
    - Data: pairs ``(batch, 2, *event)``, such as of :func:`~ppl_disentangle.data.pairs`; single observations are taken
      as they are.
    - For: data that come in pairs of which little changed, such as the frames of a video. Which coordinate holds which
      factor is then known up to permutation and a map of each coordinate.

    Args:
        encoder: as in :class:`PairVAE`, as are the next three.
        decoder: p(x | z).
        latent_dim: number of coordinates of z.
        event_dim: number of dimensions of one observation.
        average: ``"arithmetic"``, of means and of variances (Ada-GVAE), or ``"product"``, the normalised product of the
            two, whose variance is doubled as in the authors' code (Ada-ML-VAE).
        beta: weight of the divergence; from 1 to 16 in the paper.
        warm_up: steps over which the weight rises from 0.

    Raises:
        ValueError: another average; when called, groups that are no pairs.

    References:
        [1] Locatello et al., 2020. https://arxiv.org/abs/2002.02886

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> story = AdaGVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4, event_dim=1)
        >>> story.model(torch.zeros(5, 2, 6)).shape
        torch.Size([10, 6])
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        event_dim: int = 3,
        average: Average = "arithmetic",
        beta: Weight = 1.0,
        warm_up: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim, event_dim=event_dim)
        if average not in get_args(Average):
            raise ValueError(
                f"expected average {' or '.join(map(repr, get_args(Average)))}, got {average!r}"
            )
        self.average, self.beta, self.warm_up = average, beta, warm_up

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z) of every member."""
        return super().model(
            x.flatten(0, 1) if x is not None and self.is_pairs(x) else x, batch_size=batch_size
        )

    def guide(self, x: Tensor) -> None:
        """q(z | x) of every member, averaged where the two of a pair share it."""
        if not self.is_pairs(x):
            super().guide(x)
            return
        members = x.flatten(0, 1)
        with self.data_plate(members):
            pyro.sample("z", self.shared(self.encoder(members)))

    def shared(self, posterior: TorchDistribution) -> TorchDistribution:
        """Posteriors of pairs, ``(2 * batch,)``, one after the other, with what is shared averaged."""
        q = posterior.base_dist
        loc, variance = (t.unflatten(0, (-1, 2)) for t in (q.loc, q.scale.square()))
        first, second = (dist.Normal(loc[:, i], variance[:, i].sqrt()) for i in (0, 1))
        distance = torch.distributions.kl_divergence(first, second)
        share = distance < 0.5 * (distance.amax(-1, keepdim=True) + distance.amin(-1, keepdim=True))
        if self.average == "arithmetic":
            mean, spread = loc.mean(1), variance.mean(1)
        else:
            spread = 2 / (1 / variance).sum(1)
            mean = 0.5 * spread * (loc / variance).sum(1)
        share, mean, spread = (t[:, None] for t in (share, mean, spread))
        averaged = dist.Normal(
            torch.where(share, mean, loc), torch.where(share, spread, variance).sqrt()
        )
        return dist.Normal(averaged.loc.flatten(0, 1), averaged.scale.flatten(0, 1)).to_event(1)

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
