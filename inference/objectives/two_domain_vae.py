"""The objective of stories of two domains: a critic must not tell the domain by what the domains share."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.elbo.critics import TwoPlayerELBO, player_loss
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import elbo_terms
from ppl_disentangle.sites import deterministic_sites, latent_sites

__all__ = ["DomainELBO"]


class DomainELBO(TwoPlayerELBO):
    r"""The bound, against a critic that tells two domains d by one of the latents c [1].

    .. math:: \min_{p, q} \max_\ell\; -\mathcal L + \lambda\, \mathbb E \bigl[ d \log \sigma(\ell(c))
       + (1 - d) \log (1 - \sigma(\ell(c))) \bigr]

    The guide states d as the auxiliary site ``"domain_of"``, 0 or 1, of shape ``(batch,)``; without, the batch has the
    bound alone.

    Terms: ``"log_likelihood"``, ``"kl"``, ``"told_apart"`` (minus what the pair loses to the critic, whose labels it
    wants swapped, no part of the bound) and ``"critic"`` (minus the critic's loss).

    Avoids: no port was read.

    Args:
        critic: a module from c, ``(batch, dim)``, to one logit each.
        latent: the name of c.
        beta: weight of the divergences.
        weight: lambda.
        **options: of the game and its critic, as in :class:`~ppl_disentangle.inference.elbo.critics.TwoPlayerELBO`.

    Raises:
        ValueError: another loss, or a negative weight; when called, a pair without that latent.

    References:
        [1] Lee et al., 2018. https://arxiv.org/abs/1808.00948 (equation 1)
    """

    penalties: ClassVar[tuple[str, ...]] = ("told_apart",)
    reads_data: ClassVar[bool] = False

    def __init__(
        self,
        critic: nn.Module,
        latent: str,
        beta: Weight = 1.0,
        weight: Weight = 1.0,
        **options: Any,
    ) -> None:
        super().__init__({"kl": beta, "told_apart": weight}, critic, **options)
        self.latent = latent

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The bound in nats, what the pair loses to the critic, and what the critic learns by."""
        terms = elbo_terms(model_trace, guide_trace)
        domain = deterministic_sites(guide_trace).get("domain_of")
        if domain is None:
            return terms
        found = [q for q, _ in latent_sites(model_trace, guide_trace) if q.name == self.latent]
        if not found:
            raise ValueError(
                f"expected a latent {self.latent!r} that is to tell nothing of the domain"
            )
        latents, second = Latents(found), domain.value > 0.5
        code = latents.draws()
        if_second, if_first = self.critic_loss([code], [code])
        logits = self.judge(code)
        as_first, as_second = (player_loss(self.game, logits, real=real) for real in (False, True))
        return terms | {
            "told_apart": -latents.total(torch.where(second, as_first, as_second)),
            "critic": -latents.total(torch.where(second, if_second, if_first)),
        }
