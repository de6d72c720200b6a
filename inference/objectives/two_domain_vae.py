"""The objective of two-domain stories: a critic must not recognise the domain by its content."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.elbo.critics import TwoPlayerELBO, player_loss
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import elbo_terms
from ppl_disentangle.sites import Site, deterministic_sites, latent_sites

__all__ = ["DomainELBO"]


class DomainELBO(TwoPlayerELBO):
    r"""The evidence lower bound, and a critic that predicts the domain d from a latent c [1].

    .. math:: \min_{p, q} \max_\ell\; -\mathcal L + \lambda\, \mathbb E \bigl[ d \log \sigma(\ell(c))
       + (1 - d) \log (1 - \sigma(\ell(c))) \bigr]

    :math:`\mathcal L` is the beta-weighted evidence lower bound, c the content that both domains
    share. The guide states d as the auxiliary site ``"domain_of"``, 0 or 1, of shape ``(batch,)``;
    without that site, the objective is the bound alone.

    Terms: ``"log_likelihood"``, ``"kl"``, ``"domain_confusion"`` (minus the loss of the guide in the
    game, where it wants the critic to predict the other domain; not part of the bound) and
    ``"critic"`` (minus the loss of the critic).

    Args:
        critic: A module from c, of shape ``(batch, dim)``, to one logit per datum.
        latent: Name of the latent c.
        beta: Weight of the divergences.
        weight: Weight lambda of the game.
        **options: Further options of
            :class:`~ppl_disentangle.inference.elbo.critics.TwoPlayerELBO`; see there.

    Raises:
        ValueError: The loss is unknown, or a weight is negative; at the first call, the pair has no
            latent of that name.

    References:
        [1] Lee et al., 2018. https://arxiv.org/abs/1808.00948 (equation 1)
    """

    penalties: ClassVar[tuple[str, ...]] = ("domain_confusion",)
    reads_data: ClassVar[bool] = False

    def __init__(
        self,
        critic: nn.Module,
        latent: str,
        beta: Weight = 1.0,
        weight: Weight = 1.0,
        **options: Any,
    ) -> None:
        super().__init__({"kl": beta, "domain_confusion": weight}, critic, **options)
        self.latent = latent

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The terms of the bound in nats, and the negative losses of the game."""
        terms = elbo_terms(model_trace, guide_trace)
        domain = deterministic_sites(guide_trace).get("domain_of")
        if domain is None:
            return terms
        latents = Latents([self._content(model_trace, guide_trace)])
        guide_loss, critic_loss = self._play(latents.draws(), domain.value > 0.5)
        return terms | {
            "domain_confusion": -latents.total(guide_loss),
            "critic": -latents.total(critic_loss),
        }

    def _play(self, content: Tensor, is_second: Tensor) -> tuple[Tensor, Tensor]:
        """Losses of the guide and of the critic, each of shape ``(batch,)``."""
        # The loss on every datum as if it were of either domain; "real" stands for the second.
        if_second, if_first = self.critic_loss([content], [content])
        logits = self.frozen_logits(content)
        as_first = player_loss(self.game, logits, real=False)
        as_second = player_loss(self.game, logits, real=True)
        guide_loss = torch.where(is_second, as_first, as_second)
        critic_loss = torch.where(is_second, if_second, if_first)
        return guide_loss, critic_loss

    def _content(self, model_trace: Trace, guide_trace: Trace) -> Site:
        """The guide's site of the content."""
        for q, _ in latent_sites(model_trace, guide_trace):
            if q.name == self.latent:
                return q
        raise ValueError(f"expected a latent {self.latent!r}, the content that both domains share")
