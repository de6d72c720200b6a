"""Ada-GVAE and Ada-ML-VAE [Locatello et al., 2020]: finding the factors that a pair shares."""

from __future__ import annotations

from typing import Literal, get_args

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import kl_divergence

from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.pairs import PairVAE

__all__ = ["AdaGVAE"]

Average = Literal["arithmetic", "product"]


class AdaGVAE(PairVAE):
    r"""Learns factors from pairs of observations that share all but a few unknown factors.

    .. math:: \delta_i = \operatorname{KL}(q(z_i \mid x) \,\|\, q(z_i \mid x')), \quad
       \hat q(z_i \mid x, x') = \begin{cases} a(q(z_i \mid x), q(z_i \mid x'))
       & \delta_i < \tfrac12 (\max_j \delta_j + \min_j \delta_j) \\
       q(z_i \mid x) & \text{else} \end{cases}

    A coordinate whose two posteriors are close counts as shared, and both members of the pair get
    the average a of the two.

    - Story: As in :class:`~ppl_disentangle.models.IsotropicVAE`, for each member of a pair.
    - Guide: The posteriors above; of a single observation, q(z | x).
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; each member counts as a datum.
    - Data: pairs of observations that share most factors, ``(batch, 2, *event)``, such as
      :func:`~ppl_disentangle.data.pairs` draws. Single observations are taken as they are.
    - For: data that come in pairs between which little changes, such as frames of a video. The
      assignment of factors to coordinates is then identified up to a permutation and a function of
      each coordinate.

    Args:
        encoder: ``encoder(x)`` is q(z | x), a normal with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        event_dim: Number of dimensions of one observation; pairs have one dimension more.
        average: ``"arithmetic"`` averages means and variances (Ada-GVAE). ``"product"`` is the
            normalised product of both, with its variance doubled as in the authors' code
            (Ada-ML-VAE).
        beta: Weight of the divergence; from 1 to 16 in the paper.
        warm_up: Number of steps over which the weight rises from 0.

    Raises:
        ValueError: ``average`` has another value; when called, groups are not pairs.

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
            choices = " or ".join(map(repr, get_args(Average)))
            raise ValueError(f"expected average {choices}, got {average!r}")
        self.average = average
        self.beta = beta
        self.warm_up = warm_up

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z) of every member."""
        if x is not None and self.is_pairs(x):
            x = x.flatten(0, 1)
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", self.prior())
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x) of every member, averaged where a pair shares it."""
        are_pairs = self.is_pairs(x)
        members = x.flatten(0, 1) if are_pairs else x
        posterior = self.encoder(members)
        if are_pairs:
            posterior = self.averaged(posterior)
        with self.data_plate(members):
            pyro.sample("z", posterior)

    def averaged(self, posterior: TorchDistribution) -> TorchDistribution:
        """Average the posteriors of pairs in the coordinates that a pair shares.

        Args:
            posterior: q(z | x) of all members, of batch shape ``(2 * pairs,)``; the members of a
                pair follow each other.
        """
        normal = posterior.base_dist
        loc = normal.loc.unflatten(0, (-1, 2))  # (pairs, 2, dim)
        variance = normal.scale.square().unflatten(0, (-1, 2))
        is_shared = _is_shared(loc, variance)
        average_loc, average_variance = self._average(loc, variance)
        loc = torch.where(is_shared, average_loc, loc)
        scale = torch.where(is_shared, average_variance, variance).sqrt()
        return dist.Normal(loc.flatten(0, 1), scale.flatten(0, 1)).to_event(1)

    def _average(self, loc: Tensor, variance: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of the average over each pair, ``(pairs, 1, dim)``."""
        if self.average == "arithmetic":
            return loc.mean(1, keepdim=True), variance.mean(1, keepdim=True)
        product_variance = 2 / (1 / variance).sum(1, keepdim=True)
        product_loc = 0.5 * product_variance * (loc / variance).sum(1, keepdim=True)
        return product_loc, product_variance

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


def _is_shared(loc: Tensor, variance: Tensor) -> Tensor:
    """Whether each coordinate of a pair counts as shared, ``(pairs, 1, dim)``.

    It does if the divergence between its two posteriors is nearer to the smallest divergence of
    the pair than to the largest.
    """
    first = dist.Normal(loc[:, 0], variance[:, 0].sqrt())
    second = dist.Normal(loc[:, 1], variance[:, 1].sqrt())
    divergence = kl_divergence(first, second)
    smallest = divergence.amin(-1, keepdim=True)
    largest = divergence.amax(-1, keepdim=True)
    is_shared = divergence < 0.5 * (largest + smallest)
    return is_shared[:, None]
