"""The objective of ALI and BiGAN: a critic compares encoded data with generated samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pyro.poutine import Trace
from torch import Tensor, nn

from ppl_disentangle.inference.elbo.critics import Game, TwoPlayerELBO, player_loss
from ppl_disentangle.inference.elbo.generated import (
    generated_latents,
    generated_traces,
    real_and_generated,
)
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.sites import Site

__all__ = ["BidirectionalELBO"]


class BidirectionalELBO(TwoPlayerELBO):
    r"""Adversarially learned inference: a critic distinguishes q(x, z) from p(x, z) [1, 2].

    .. math:: \min_{p, q} \max_\ell \; \mathbb E_{q(x) q(z \mid x)} \log \sigma(\ell(x, z))
       + \mathbb E_{p(z) p(x \mid z)} \log(1 - \sigma(\ell(x, z)))

    q(x) is the distribution of the data and :math:`\sigma` the logistic function. The optimal
    critic is :math:`\ell = \log q(x, z) / p(x, z)`; its mean over the data and the draws of the
    guide is KL(q(x, z) || p(x, z)) in nats. The model must return x. Its likelihood is sampled but
    never scored, so it may be ``Delta``, as may the latents of the guide [2]. Latents that the
    guide lacks are noise, and are integrated out.

    Terms: ``"encoder"`` and ``"generator"`` (minus the loss of each, with the critic's labels
    swapped) and ``"critic"`` (minus its loss on both kinds of pairs). None of them bounds log p(x).

    Args:
        critic: A module from data of shape ``(batch, …)`` and latents of shape ``(batch, dim)`` to
            one logit per datum, such as :class:`~ppl_disentangle.inference.JointCritic`.
        loss: Loss of the game; see
            :func:`~ppl_disentangle.inference.elbo.critics.verdict_loss`.
        gradient_penalty: Weight of the penalty on the critic's gradient: of WGAN-GP for
            ``"wasserstein"``, else R1. Zero leaves it out.
        critic_options: Options of the critic's optimiser, such as ``{"lr": 1e-4}``. By default it
            has the options of the pair.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`, except
            ``vectorize_particles``; see there.

    Raises:
        ValueError: The loss is unknown, or particles are vectorised.

    References:
        [1] Dumoulin et al., 2017. https://arxiv.org/abs/1606.00704
        [2] Donahue et al., 2017. https://arxiv.org/abs/1605.09782

    Example:
        >>> from ppl_disentangle.inference.objectives.ali import BidirectionalELBO
        >>> from ppl_disentangle.inference.elbo.critics import JointCritic
        >>> elbo = BidirectionalELBO(JointCritic(64, 10, hidden=32))
    """

    def __init__(
        self,
        critic: nn.Module,
        *,
        loss: Game = "logistic",
        gradient_penalty: float = 0.0,
        critic_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(
            {},
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
        """The negative losses of encoder, generator and critic."""
        real, generated = real_and_generated(model_trace)
        sites = generated_latents(model_trace, guide_trace)
        _check_reparameterised([q for q, _ in sites])
        latents = Latents([q for q, _ in sites])
        encoded_pair = (real, latents.draws())
        generated_pair = (generated, Latents([p for _, p in sites]).draws())
        on_encoded, on_generated = self.critic_loss(encoded_pair, generated_pair)
        encoder_loss = player_loss(self.game, self.frozen_logits(*encoded_pair), real=False)
        generator_loss = player_loss(self.game, self.frozen_logits(*generated_pair), real=True)
        return {
            "encoder": -latents.total(encoder_loss),
            "generator": -latents.total(generator_loss),
            "critic": -latents.total(on_encoded + on_generated),
        }

    def _get_trace(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        return generated_traces(model, guide, *args, read_back=False, **kwargs)


def _check_reparameterised(sites: Iterable[Site]) -> None:
    """Refuse latents of the encoder that pass no gradient."""
    for site in sites:
        if not site.fn.has_rsample:
            raise ValueError(
                f"latent {site.name!r} is drawn from {type(site.fn).__name__}, which is not"
                " reparameterised: the encoder would not learn; use a relaxed distribution, or Delta"
            )
