"""The objective of adversarial swapping: what is drawn with another's style must pass for one of the group."""

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
    r"""The bound of groups, against a critic that tells pairs of one group from pairs with a swapped member [1].

    .. math:: \min_{p, q} \max_\ell\; -\mathcal L + \lambda\, \bigl(\mathbb E \log \sigma(\ell(x_{g1}, x_{g2}))
       + \mathbb E \log (1 - \sigma(\ell(x_{g1}, \tilde x_g)))\bigr)

    The guide states :math:`\tilde x_g`, drawn with the content of group g and the style of another, as the auxiliary
    site ``"swapped"``, of shape ``(batch, *event)``. The critic sees it beside a member of g: it must not differ in
    what the group shares, which it would if the style told of it. A guide that states none has the bound
    alone, as that of single observations.

    Terms: ``"log_likelihood"``, ``"kl"``, ``"swapped"`` (minus what the pair loses to the critic, the non-saturating
    loss, no part of the bound) and ``"critic"`` (minus its loss for both kinds of pairs).

    Avoids: no port was read.

    Args:
        critic: a module from two observations, each ``(batch, *event)``, to one logit each, such as
            :class:`~ppl_disentangle.inference.JointCritic`.
        beta: weight of the divergences.
        weight: lambda.
        **options: of the game and its critic, as in :class:`~ppl_disentangle.inference.elbo.critics.TwoPlayerELBO`.

    Raises:
        ValueError: another loss, or a negative weight.

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
        """The bound in nats, what the pair loses to the critic, and what the critic learns by."""
        bound = elbo_terms(model_trace, guide_trace)
        stated = deterministic_sites(guide_trace).get("swapped")
        if stated is None:
            return bound
        x = data_of(model_trace)
        first, second, swapped = x[:, 0], x[:, 1], stated.value
        by_real, by_swapped = self.critic_loss([first, second], [first, swapped])
        return bound | {
            "swapped": -stated.total(player_loss(self.game, self.judge(first, swapped), real=True)),
            "critic": -stated.total(by_real + by_swapped),
        }
