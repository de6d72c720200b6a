"""ALI, adversarially learned inference [Dumoulin et al., 2017], and BiGAN [Donahue et al., 2017]."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

from torch import nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BidirectionalELBO, JointCritic
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.networks import STEADY_CRITIC, STEADY_GAME, Networks

__all__ = ["ALI"]


class ALI(IsotropicVAE):
    r"""The isotropic story with a generator, whose pairs of data and code are to be those of the encoder.

    .. math:: z \sim \mathcal N(0, I), \quad x = G(z); \qquad p(x, z) = q(x)\, q(z \mid x)

    - Story: as of :class:`IsotropicVAE`; the likelihood is only drawn from.
    - Guide: q(z | x), or a point as in BiGAN.
    - Objective: :class:`~ppl_disentangle.inference.BidirectionalELBO`; each call has a critic of its own. There is no
      bound on log p(x): ``elbo_per_datum`` and ``held_out`` do not apply.
    - Data: observations alone.
    - For: codes of data whose likelihood nobody can state. Codes are read back from draws, and data from codes, but
      neither is trained for by itself: reconstructions are like the data rather than near them.

    Args:
        encoder: ``encoder(x)`` is q(z | x).
        generator: ``generator(z)`` is a point, as of :class:`~ppl_disentangle.conditionals.Deterministic`, or p(x | z).
        latent_dim: number of coordinates of z.
        critic: makes a module from data and codes to one logit each, such as
            :class:`~ppl_disentangle.inference.JointCritic`.
        critic_options: options of the critic's optimiser.
        game: further options of the objective, such as ``{"gradient_penalty": 0.1}``.

    References:
        [1] Dumoulin et al., 2017. https://arxiv.org/abs/1606.00704
        [2] Donahue et al., 2017. https://arxiv.org/abs/1605.09782
    """

    has_bound = False

    def __init__(
        self,
        encoder: nn.Module,
        generator: nn.Module,
        latent_dim: int,
        critic: Callable[[], nn.Module],
        *,
        critic_options: Mapping[str, Any] | None = None,
        game: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder, generator, latent_dim)
        self.critic, self.critic_options, self.game = critic, critic_options, dict(game or {})

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        latent_dim: int = 10,
        critic_options: Mapping[str, Any] | None = STEADY_CRITIC,
        game: Mapping[str, Any] | None = STEADY_GAME,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks, and a critic of two layers; see :func:`~ppl_disentangle.zoo.build`."""
        size, encoder = (
            math.prod(data.observation_shape),
            Gaussian(networks.encoder(2 * latent_dim)),
        )
        critic = lambda: JointCritic(size, latent_dim)  # noqa: E731
        generator = networks.generator(latent_dim)
        return cls(
            encoder,
            generator,
            latent_dim,
            critic,
            critic_options=critic_options,
            game=game,
            **hyper,
        )

    def objective(self) -> BidirectionalELBO:
        """The game of encoder and generator against a critic."""
        return BidirectionalELBO(self.critic(), critic_options=self.critic_options, **self.game)
