"""The cycle-consistent VAE [Jha et al., 2018]: a style is read back whatever its content."""

from __future__ import annotations

from collections.abc import Sequence

import pyro
import torch
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.content_style import ContentStyleVAE

__all__ = ["CycleConsistentVAE"]


class CycleConsistentVAE(ContentStyleVAE):
    r"""Separates style from the content of a group by reading styles back from generated images.

    .. math:: \mathcal L - \lambda\, \mathbb E_{s \sim \mathcal N(0, I)}
       \lVert \mu_s(x(c_g, s)) - \mu_s(x(c_h, s)) \rVert_1

    The forward cycle is the bound L. The reverse cycle generates images of one style s with the
    contents of two groups g and h, and reads the posterior mean of the style from both: the two
    readings must agree. Only the encoder learns from the reverse cycle.

    - Story, guide: As in :class:`~ppl_disentangle.models.ContentStyleVAE`. In [1] contents are
      points without a prior.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; the reverse cycle is a
      ``pyro.factor`` of the guide.
    - Data: groups that share some factors.
    - For: styles without a trace of the content, where the divergences are weighted too little to
      keep it out.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"style"``.
        decoder: ``decoder(h)`` is p(x | c, s), for h the content followed by the style.
        event_dim: Number of dimensions of one observation; groups have one dimension more.
        cycle: Weight lambda of the reverse cycle, in nats per unit of distance. The default is not
            from [1].
        beta: Weight of the divergences.
        shared: Names of the factors that groups of training data share; by default the first.

    References:
        [1] Jha et al., 2018. https://arxiv.org/abs/1804.10469
    """

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        *,
        event_dim: int = 3,
        cycle: Weight = 10.0,
        beta: Weight = 1.0,
        shared: Sequence[str] = (),
    ) -> None:
        super().__init__(encoder, decoder, event_dim=event_dim, shared=shared)
        self.cycle = cycle
        self.beta = beta

    def extend_guide(self, content: Tensor, style: Tensor) -> None:
        """State how much two readings of the same style differ, for styles from the prior."""
        style_of_prior = torch.randn_like(style[0])
        distance = self.reading_distance(content, style_of_prior)
        pyro.factor("cycle", distance, has_rsample=True)

    def reading_distance(self, content: Tensor, style: Tensor) -> Tensor:
        """Distance between styles read from images with the same style and different contents.

        Args:
            content: Contents of the groups, ``(batch, dim)``. The other content of a group is the
                content of the group before it.
            style: One style for each group, ``(batch, dim)``.
        """
        other_content = content.roll(1, 0)
        codes = torch.cat(
            [torch.cat([content, style], -1), torch.cat([other_content, style], -1)]
        )  # (2 * batch, dim)
        images = self.decoder(codes).mean.detach()
        own, other = self.encoder(images)["style"].mean.chunk(2)
        return (own - other).abs().sum(-1)

    def objective(self) -> BetaELBO:
        """The bound less the distances of the reverse cycle."""
        return BetaELBO(self.beta, factors={"cycle": self.cycle})
