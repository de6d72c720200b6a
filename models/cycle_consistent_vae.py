"""The cycle-consistent VAE [Jha et al., 2018]: a style that is read back whatever content it was drawn with."""

from __future__ import annotations

import pyro
import torch
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.content_style import ContentStyleVAE

__all__ = ["CycleConsistentVAE"]


class CycleConsistentVAE(ContentStyleVAE):
    r"""Groups that share a content, whose styles are read back from whatever they are drawn with.

    .. math:: \mathcal L - \lambda\, \mathbb E_{s \sim \mathcal N(0, I)}
       \lVert \mu_s(x(c_g, s)) - \mu_s(x(c_h, s)) \rVert_1

    The forward cycle is the bound. The reverse cycle draws a style with the contents of two groups g and h and reads it
    back, by the style's posterior mean, from either image: it must not tell which content it was. The encoder alone
    learns by it. There is no adversary.

    - Story, guide: as of :class:`~ppl_disentangle.models.ContentStyleVAE`. Contents are points without a prior in [1].
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; the cycle is a ``pyro.factor`` of the guide.
    - Data: groups.
    - For: styles without a trace of the content, where the divergences weigh too little to keep it out.

    Args:
        encoder: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        decoder: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        event_dim: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        cycle: lambda, in nats per unit of distance; a choice of ours.
        beta: weight of the divergences.

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
    ) -> None:
        super().__init__(encoder, decoder, event_dim=event_dim)
        self.cycle, self.beta = cycle, beta

    def state(self, content: Tensor, style: Tensor) -> None:
        """How far styles of the prior are from being read back."""
        pyro.factor("cycle", self.apart(content, torch.randn_like(style[0])), has_rsample=True)

    def apart(self, content: Tensor, style: Tensor) -> Tensor:
        """Distances of what is read of each style in a row, drawn with its own content and with that before."""
        codes = torch.cat([torch.cat([c, style], -1) for c in (content, content.roll(1, 0))])
        read = self.encoder(self.decoder(codes).mean.detach())["style"].mean
        own, other = read.chunk(2)
        return (own - other).abs().sum(-1)

    def objective(self) -> BetaELBO:
        """The bound less the distances of the reverse cycle."""
        return BetaELBO(self.beta, factors={"cycle": self.cycle})
