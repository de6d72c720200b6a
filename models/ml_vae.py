"""ML-VAE [Bouchacourt et al., 2018]: the members of a group infer its content together."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.content_style import ContentStyleVAE, product_of_members

__all__ = ["MLVAE"]


class MLVAE(ContentStyleVAE):
    r"""Separates the content that a group shares from the style of each member.

    .. math:: q(c_g \mid x_{g\cdot}) \propto \prod_m q(c \mid x_{gm})

    - Story: As in :class:`~ppl_disentangle.models.ContentStyleVAE`, with one content per group
      and therefore one divergence of the content per group.
    - Guide: The content has the product of normals above; the styles have q(s | x).
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: groups that share some factors.
    - For: data that are known to have something in common, such as pictures of one person.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"style"``.
        decoder: ``decoder(h)`` is p(x | c, s), for h the content followed by the style.
        event_dim: Number of dimensions of one observation; groups have one dimension more.
        beta: Weight of the divergences; 1 in [1].
        warm_up: Number of steps over which the weight rises from 0.
        shared: Names of the factors that groups of training data share; by default the first.

    Raises:
        ValueError: The encoder has other groups.

    References:
        [1] Bouchacourt et al., 2018. https://arxiv.org/abs/1705.08841

    Example:
        >>> import torch
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> encoder = Grouped(nn.Linear(6, 10), {"content": 3, "style": 2})
        >>> story = MLVAE(encoder, Bernoulli(nn.Linear(5, 6)), event_dim=1)
        >>> story.model(torch.zeros(8, 4, 6)).shape  # members, then groups
        torch.Size([4, 8, 6])
    """

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        *,
        event_dim: int = 3,
        beta: Weight = 1.0,
        warm_up: int = 0,
        shared: Sequence[str] = (),
    ) -> None:
        super().__init__(encoder, decoder, event_dim=event_dim, shared=shared)
        self.beta = beta
        self.warm_up = warm_up

    def content_of_group(self, members: dist.Normal) -> TorchDistribution:
        """The normalised product of q(c | x) over the members."""
        return product_of_members(members)

    def objective(self) -> BetaELBO:
        """The evidence lower bound of groups."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
