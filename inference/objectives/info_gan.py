"""InfoGAN's objective: a generator against a critic, and the information that its data keep about its codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.elbo.critics import Game, TwoPlayerELBO, player_loss
from ppl_disentangle.inference.elbo.generated import (
    generated_latents,
    generated_traces,
    real_and_generated,
)
from ppl_disentangle.inference.elbo.latents import Latents, plate_of_latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.sites import Site

__all__ = ["AdversarialMI"]


class AdversarialMI(TwoPlayerELBO):
    r"""A generative adversarial network that keeps its codes readable [1].

    .. math:: \min_{p, q} \max_\ell V(\ell, p) - \lambda\, \mathbb E_{p(c, x)} \log \frac{q(c \mid x)}{p(c)}

    The pair's model draws codes c, noise, and from both x, which it returns: by ``Delta`` or another reparameterised
    likelihood. Its guide q(c | x) samples the codes alone. Codes may be discrete or continuous, in one site or in
    several. Every term is of data that the model draws by itself, as many as the batch has; x itself is only shown to
    the critic, whose logit :math:`\ell(x)` tells it from what is drawn.

    Terms: ``"generator"`` (minus the generator's loss, the non-saturating one), ``"mutual_information"`` (the lower
    bound above of I(c; x), in nats, positive; it cannot exceed the entropy of discrete codes) and ``"critic"`` (minus
    its loss for x and for what is drawn). As [1], it holds H(c) fixed: no gradient passes through log p(c).

    There is no likelihood here, hence no bound on log p(x) at any weights: ``elbo_per_datum`` and ``held_out`` do
    not apply.

    Avoids: a softmax of a softmax as q(c | x), by which the information about ten classes is trained as if it could not
    exceed 0.84 nats, where log 10 is 2.30; continuous codes that are drawn from one distribution for the
    generator and from another for the information (both in PyTorch-GAN).

    Args:
        critic: a module from data to one logit each.
        weight: lambda; the authors' code has 1.
        loss: the game, see :func:`~ppl_disentangle.inference.elbo.critics.verdict_loss`. The variant in [2] is
            ``loss="wasserstein", gradient_penalty=10``, with ``weight=200`` and codes read by squared error.
        gradient_penalty: weight of the penalty on the critic's gradient, WGAN-GP's for ``"wasserstein"``, else R1.
        critic_options: options of the critic's optimiser; by default those of the pair.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`; ``vectorize_particles`` is not for it.

    Raises:
        ValueError: another loss, a negative weight, or vectorised particles.

    Example:
        >>> from ppl_disentangle.inference.objectives.info_gan import AdversarialMI
        >>> from ppl_disentangle.inference.elbo.critics import critic_network
        >>> elbo = AdversarialMI(critic_network(2, hidden=64, layers=2), critic_options={"lr": 2e-3})

    References:
        [1] Chen et al., 2016. https://arxiv.org/abs/1606.03657
        [2] Hsu et al., 2023. https://arxiv.org/abs/2305.18378
    """

    def __init__(
        self,
        critic: nn.Module,
        weight: Weight = 1.0,
        *,
        loss: Game = "logistic",
        gradient_penalty: float = 0.0,
        critic_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            {"mutual_information": weight},
            critic,
            loss=loss,
            gradient_penalty=gradient_penalty,
            critic_options=critic_options,
            **options,
        )
        if self.vectorize_particles:
            raise ValueError(
                "vectorize_particles is not for data that the model draws itself: take a larger batch"
            )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """What the generator gains, the information about the codes in nats, and what the critic learns by."""
        real, dreamt = real_and_generated(model_trace)
        sites = generated_latents(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        information = torch.stack([_log_prob(q) - _log_prob(p).detach() for q, p in sites]).sum(0)
        by_real, by_dreamt = self.critic_loss([real], [dreamt])
        return {
            "generator": -latents.total(player_loss(self.game, self.judge(dreamt), real=True)),
            "mutual_information": latents.total(information),
            "critic": -latents.total(by_real + by_dreamt),
        }

    def _get_trace(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        return generated_traces(model, guide, *args, read_back=True, **kwargs)


def _log_prob(site: Site) -> Tensor:
    """The log density of the codes of each datum, of shape ``(batch,)``."""
    return site.per_datum(site.log_prob(), plate_of_latents([site]))
