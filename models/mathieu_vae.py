"""Adversarial disentangling of the content of a group [Mathieu et al., 2016]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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
    r"""Separates style from the content of a group with a critic that looks for swapped styles.

    .. math:: \tilde x_g = \mathbb E[x \mid c_g, s_h]

    An image generated with the content of group g and a style of another group h must look to the
    critic like a member of g. A style that carried content of the group h would give
    the swap away.

    - Story, guide: As in :class:`~ppl_disentangle.models.ContentStyleVAE`. In [1] contents are
      points without a prior.
    - Objective: :class:`~ppl_disentangle.inference.SwapELBO`. Each call of ``objective`` makes a
      new critic.
    - Data: groups that share some factors. These are the specified factors of [1], the others are
      the unspecified ones.
    - For: styles without a trace of the content, where the divergences are weighted too little to
      keep it out. :class:`~ppl_disentangle.models.CycleConsistentVAE` needs no critic.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"style"``.
        decoder: ``decoder(h)`` is p(x | c, s), for h the content followed by the style.
        critic: Makes a module that maps two observations to one logit per datum.
        event_dim: Number of dimensions of one observation; groups have one dimension more.
        beta: Weight of the divergences.
        weight: Weight of the loss to the critic, in nats. The default is not from [1].
        critic_options: Options of the critic's optimiser.
        game: Further options of the objective, such as ``{"gradient_penalty": 0.1}``.
        shared: Names of the factors that groups of training data share; by default the first.

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
        shared: Sequence[str] = (),
    ) -> None:
        super().__init__(encoder, decoder, event_dim=event_dim, shared=shared)
        self.critic = critic
        self.beta = beta
        self.weight = weight
        self.critic_options = critic_options
        self.game = dict(game or {})

    @classmethod
    def extra_arguments(cls, data: FactorDataset) -> dict[str, Any]:
        """A critic with two hidden layers, which reads two observations side by side."""
        size = math.prod(data.observation_shape)
        return {"critic": lambda: JointCritic(size, size)}

    def extend_guide(self, content: Tensor, style: Tensor) -> None:
        """State images with the content of each group and a style of the group before it."""
        swapped_style = style[1].roll(1, 0)
        swapped = self.decoder(torch.cat([content, swapped_style], -1)).mean
        state_auxiliary("swapped", swapped, event_dim=self.event_dim)

    def objective(self) -> SwapELBO:
        """The bound, and the game over swapped styles."""
        return SwapELBO(
            self.critic(), self.beta, self.weight, critic_options=self.critic_options, **self.game
        )
