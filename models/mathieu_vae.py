"""Adversarial disentangling of what a group shares [Mathieu et al., 2016]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import JointCritic, SwapELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.content_style import ContentStyleVAE
from ppl_disentangle.sites import state_auxiliary

__all__ = ["MathieuVAE"]


class MathieuVAE(ContentStyleVAE):
    r"""Groups that share a content, whose members may swap styles with other groups unnoticed.

    .. math:: \tilde x_g = \mathbb E[x \mid c_g, s_h]

    What is drawn with
    the content of one group and a style of another must pass for a member of the former beside a critic: a style that
    told of its own group's content would give it away.

    - Story, guide: as of :class:`~ppl_disentangle.models.ContentStyleVAE`. Contents are points without a prior in [1].
    - Objective: :class:`~ppl_disentangle.inference.SwapELBO`; each call has a critic of its own.
    - Data: groups; what groups share are the specified factors of [1], the rest the unspecified ones.
    - For: styles without a trace of the content, where the divergences weigh too little to keep it out.
      :class:`~ppl_disentangle.models.CycleConsistentVAE` needs no critic for the same.

    Args:
        encoder: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        decoder: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        critic: makes a module from two observations to one logit each.
        event_dim: as in :class:`~ppl_disentangle.models.ContentStyleVAE`.
        beta: weight of the divergences.
        weight: of what the pair loses to the critic, in nats; a choice of ours.
        critic_options: options of the critic's optimiser.
        game: further options of the objective, such as ``{"gradient_penalty": 0.1}``.

    References:
        [1] Mathieu et al., 2016. https://arxiv.org/abs/1611.03383
    """

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        critic: Callable[[], nn.Module],
        *,
        event_dim: int = 3,
        beta: Weight = 1.0,
        weight: Weight = 1.0,
        critic_options: Mapping[str, Any] | None = None,
        game: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder, decoder, event_dim=event_dim)
        self.critic, self.beta, self.weight = critic, beta, weight
        self.critic_options, self.game = critic_options, dict(game or {})

    @classmethod
    def made_of(cls, data: FactorDataset) -> dict[str, Any]:
        """A critic of two layers on observations side by side."""
        size = math.prod(data.observation_shape)
        return {"critic": lambda: JointCritic(size, size)}

    def state(self, content: Tensor, style: Tensor) -> None:
        """What is drawn with the content of each group and a style of the one before it."""
        codes = torch.cat([content, style[1].roll(1, 0)], -1)
        state_auxiliary("swapped", self.decoder(codes).mean, event_dim=self.event_dim)

    def objective(self) -> SwapELBO:
        """The bound, and the game over swapped styles."""
        return SwapELBO(
            self.critic(), self.beta, self.weight, critic_options=self.critic_options, **self.game
        )
