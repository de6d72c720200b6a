"""The objective of ALI and BiGAN: encoder and generator as two ways to draw the same pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

__all__ = ["BidirectionalELBO"]


class BidirectionalELBO(TwoPlayerELBO):
    r"""Adversarially learned inference [1, 2]: a critic tells q(x, z) from p(x, z), both sides make that hard.

    .. math:: \min_{p, q} \max_\ell \; \mathbb E_{q(x) q(z \mid x)} \log \sigma(\ell(x, z))
       + \mathbb E_{p(z) p(x \mid z)} \log(1 - \sigma(\ell(x, z)))

    q(x) are the data, :math:`\sigma` the logistic function. The best critic has :math:`\ell = \log q(x, z) / p(x, z)`,
    whose mean over the data and the guide's draws is KL(q(x, z) || p(x, z)) in nats. The model returns x; its
    likelihood is only drawn from, hence may be ``Delta``, as may the guide's latents [2]. Noise that the guide lacks is
    integrated out.

    Avoids: no mistake is known in the port that was read (Keras-GAN).

    Terms: ``"encoder"`` and ``"generator"`` (minus the loss of either, with labels swapped) and ``"critic"`` (minus its
    loss for both kinds of pairs). Nothing here is a bound on log p(x).

    Args:
        critic: a module from data of shape ``(batch, …)`` and latents of shape ``(batch, dim)`` to one logit each, such
            as :class:`~ppl_disentangle.inference.JointCritic`.
        loss: the game, see :func:`~ppl_disentangle.inference.elbo.critics.verdict_loss`.
        gradient_penalty: weight of the penalty on the critic's gradient, WGAN-GP's for ``"wasserstein"``, else R1.
        critic_options: options of the critic's optimiser; by default those of the pair.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`; ``vectorize_particles`` is not for it.

    Raises:
        ValueError: another loss, or vectorised particles.

    Example:
        >>> from ppl_disentangle.inference.objectives.ali import BidirectionalELBO
        >>> from ppl_disentangle.inference.elbo.critics import JointCritic
        >>> elbo = BidirectionalELBO(JointCritic(64, 10, hidden=32))

    References:
        [1] Dumoulin et al., 2017. https://arxiv.org/abs/1606.00704
        [2] Donahue et al., 2017. https://arxiv.org/abs/1605.09782
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
                "vectorize_particles is not for data that the model draws itself: take a larger batch"
            )

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """What the encoder and the generator gain, and what the critic learns by."""
        real, dreamt = real_and_generated(model_trace)
        sites = generated_latents(model_trace, guide_trace)
        for q, _ in sites:
            if not q.fn.has_rsample:
                raise ValueError(
                    f"latent {q.name!r} is drawn from {type(q.fn).__name__}, which is not reparameterised: the encoder"
                    " would not learn; use a relaxed distribution, or Delta"
                )
        latents = Latents([q for q, _ in sites])
        encoded, generated = (
            (real, latents.draws()),
            (dreamt, Latents([p for _, p in sites]).draws()),
        )
        by_encoded, by_generated = self.critic_loss(encoded, generated)
        return {
            "encoder": -latents.total(player_loss(self.game, self.judge(*encoded), real=False)),
            "generator": -latents.total(player_loss(self.game, self.judge(*generated), real=True)),
            "critic": -latents.total(by_encoded + by_generated),
        }

    def _get_trace(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        return generated_traces(model, guide, *args, read_back=False, **kwargs)
