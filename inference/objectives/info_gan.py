"""The objective of InfoGAN: an adversarial game, and the information of samples about codes."""

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
    r"""A generative adversarial network whose codes can be inferred from its samples [1].

    .. math:: \min_{p, q} \max_\ell V(\ell, p) - \lambda\, \mathbb E_{p(c, x)} \log \frac{q(c \mid x)}{p(c)}

    The model draws codes c and noise, and from both a sample x, which it returns; the likelihood is
    ``Delta`` or another reparameterised distribution. The guide q(c | x) samples the codes alone.
    Codes may be discrete or continuous, in one site or in several. Every term uses data generated
    by the model, as many as the batch holds; the real data only go to the critic, whose logit
    :math:`\ell(x)` distinguishes them from generated samples.

    Terms: ``"generator"`` (minus the non-saturating loss of the generator),
    ``"mutual_information"`` (the lower bound on I(c; x) above, in nats, positive; it cannot exceed
    the entropy of discrete codes) and ``"critic"`` (minus its loss on real and generated data). As
    in [1], H(c) is constant: no gradient passes through log p(c).

    The model has no likelihood, so no choice of weights bounds log p(x): ``elbo_per_datum`` and
    ``held_out`` do not apply.

    Other implementations: PyTorch-GAN applies a softmax to the softmax of q(c | x), so the
    information about ten classes appears limited to 0.84 nats, where log 10 is 2.30. It also draws
    the continuous codes from one distribution for the generator and from another for the
    information.

    Args:
        critic: A module from data to one logit per datum.
        weight: Weight lambda of the mutual information; the authors' code uses 1.
        loss: Loss of the game; see
            :func:`~ppl_disentangle.inference.elbo.critics.verdict_loss`. The variant in [2] is
            ``loss="wasserstein", gradient_penalty=10``, with ``weight=200`` and codes inferred by
            squared error.
        gradient_penalty: Weight of the penalty on the critic's gradient: of WGAN-GP for
            ``"wasserstein"``, else R1. Zero leaves it out.
        critic_options: Options of the critic's optimiser, such as ``{"lr": 1e-4}``. By default it
            has the options of the pair.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`, except
            ``vectorize_particles``; see there.

    Raises:
        ValueError: The loss is unknown, the weight is negative, or particles are vectorised.

    References:
        [1] Chen et al., 2016. https://arxiv.org/abs/1606.03657
        [2] Hsu et al., 2023. https://arxiv.org/abs/2305.18378

    Example:
        >>> from ppl_disentangle.inference.objectives.info_gan import AdversarialMI
        >>> from ppl_disentangle.inference.elbo.critics import critic_network
        >>> elbo = AdversarialMI(critic_network(2, hidden=64, layers=2), critic_options={"lr": 2e-3})
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
                "vectorize_particles does not apply to data that the model generates:"
                " use a larger batch"
            )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The negative losses of generator and critic, and the mutual information in nats."""
        real, generated = real_and_generated(model_trace)
        sites = generated_latents(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        information = torch.stack([_log_prob(q) - _log_prob(p).detach() for q, p in sites]).sum(0)
        on_real, on_generated = self.critic_loss([real], [generated])
        generator_loss = player_loss(self.game, self.frozen_logits(generated), real=True)
        return {
            "generator": -latents.total(generator_loss),
            "mutual_information": latents.total(information),
            "critic": -latents.total(on_real + on_generated),
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
    # A model that generates data has a plate of its own, whose elements stand for no others.
    return site.per_datum(site.log_prob(), plate_of_latents([site]))
