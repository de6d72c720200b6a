"""ML-VAE [Bouchacourt et al., 2018]: a content that a group shares, and a style of each member."""

from __future__ import annotations

import pyro.distributions as dist
from pyro.distributions import TorchDistribution
from torch import nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.content_style import ContentStyleVAE

__all__ = ["MLVAE", "product_of_members"]


class MLVAE(ContentStyleVAE):
    r"""Groups that share a content, which all members tell together.

    .. math:: q(c_g \mid x_{g\cdot}) \propto \prod_m q(c \mid x_{gm})

    - Story: as of :class:`~ppl_disentangle.models.ContentStyleVAE`; one content a group, and one divergence of it.
    - Guide: above, a product of normals, and q(s | x).
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: groups.
    - For: data that are known to be alike in something, such as pictures of one person.

    Args:
        encoder: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        decoder: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        event_dim: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        beta: weight of the divergences; 1 in [1].
        warm_up: steps over which the weight rises from 0.

    Raises:
        ValueError: an encoder of other groups.

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
    ) -> None:
        super().__init__(encoder, decoder, event_dim=event_dim)
        self.beta, self.warm_up = beta, warm_up

    def content_of_group(self, members: dist.Normal) -> TorchDistribution:
        """The normalised product over the members."""
        return product_of_members(members)

    def objective(self) -> BetaELBO:
        """The evidence lower bound of groups."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


def product_of_members(posteriors: dist.Normal) -> TorchDistribution:
    """The normalised product over the members."""
    precision = posteriors.scale.square().reciprocal()
    total = precision.sum(0)
    return dist.Normal((precision * posteriors.loc).sum(0) / total, total.rsqrt()).to_event(1)
