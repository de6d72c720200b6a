"""The objective of Mathieu et al.: observations with a swapped style must look like their group."""

from __future__ import annotations

from typing import Any, ClassVar

from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.elbo.critics import TwoPlayerELBO, player_loss
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import elbo_terms
from ppl_disentangle.sites import data_of, deterministic_sites

__all__ = ["SwapELBO"]


class SwapELBO(TwoPlayerELBO):
    r"""The bound of groups, and a critic that recognises members with a swapped style [1].

    .. math:: \min_{p, q} \max_\ell\; -\mathcal L + \lambda\, \bigl(\mathbb E \log \sigma(\ell(x_{g1}, x_{g2}))
       + \mathbb E \log (1 - \sigma(\ell(x_{g1}, \tilde x_g)))\bigr)

    :math:`\mathcal L` is the beta-weighted evidence lower bound. :math:`\tilde x_g` is generated
    with the content of group g and the style of another group; the guide states it as the auxiliary
    site ``"swapped"``, of shape ``(batch, *event)``. The critic sees it beside a member of g: it
    would recognise the pair if the style carried content of its group. Without that site, as for
    single observations, the objective is the bound alone.

    Terms: ``"log_likelihood"``, ``"kl"``, ``"swapped"`` (minus the non-saturating loss of the pair
    in the game, not part of the bound) and ``"critic"`` (minus its loss on both kinds of pairs).

    Args:
        critic: A module from two observations, each of shape ``(batch, *event)``, to one logit per
            pair, such as :class:`~ppl_disentangle.inference.JointCritic`.
        beta: Weight of the divergences.
        weight: Weight lambda of the game.
        **options: Further options of
            :class:`~ppl_disentangle.inference.elbo.critics.TwoPlayerELBO`; see there.

    Raises:
        ValueError: The loss is unknown, or a weight is negative.

    References:
        [1] Mathieu et al., 2016. https://arxiv.org/abs/1611.03383
    """

    penalties: ClassVar[tuple[str, ...]] = ("swapped",)

    def __init__(
        self,
        critic: nn.Module,
        beta: Weight = 1.0,
        weight: Weight = 1.0,
        **options: Any,
    ) -> None:
        super().__init__({"kl": beta, "swapped": weight}, critic, **options)

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The terms of the bound in nats, and the negative losses of the game."""
        bound = elbo_terms(model_trace, guide_trace)
        site = deterministic_sites(guide_trace).get("swapped")
        if site is None:
            return bound
        groups = data_of(model_trace)  # (batch, member, *event)
        first = groups[:, 0]
        second = groups[:, 1]
        swapped = site.value
        on_real, on_swapped = self.critic_loss([first, second], [first, swapped])
        pair_loss = player_loss(self.game, self.frozen_logits(first, swapped), real=True)
        return bound | {
            "swapped": -site.total(pair_loss),
            "critic": -site.total(on_real + on_swapped),
        }
