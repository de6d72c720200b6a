"""ALI, adversarial inference [Dumoulin et al., 2017], and BiGAN [Donahue et al., 2017]."""

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
    r"""Learns codes of data whose likelihood is unknown, with a critic of data and codes.

    .. math:: z \sim \mathcal N(0, I), \quad x = G(z); \qquad p(x, z) = q(x)\, q(z \mid x)

    The game ends when a critic cannot distinguish pairs (x, z) of the generator from pairs of the
    encoder.

    - Story: As in :class:`~ppl_disentangle.models.IsotropicVAE`; the likelihood is only drawn
      from.
    - Guide: q(z | x), or a point as in BiGAN.
    - Objective: :class:`~ppl_disentangle.inference.BidirectionalELBO`. Each call of ``objective``
      makes a new critic. The game does not bound log p(x): ``elbo_per_datum`` and ``held_out`` do
      not apply.
    - Data: images or vectors, without labels.
    - For: data whose likelihood is not known. Codes can be read from generated data, and data can
      be generated from codes, but neither direction is trained by itself: reconstructions resemble
      the data without being close to them.

    Args:
        encoder: ``encoder(x)`` is q(z | x).
        generator: ``generator(z)`` is a point, such as
            :class:`~ppl_disentangle.conditionals.Deterministic` returns, or p(x | z).
        latent_dim: Number of coordinates of z.
        critic: Makes a module that maps data and codes to one logit per datum, such as
            :class:`~ppl_disentangle.inference.JointCritic`.
        critic_options: Options of the critic's optimiser.
        game: Further options of the objective, such as ``{"gradient_penalty": 0.1}``.

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
        self.critic = critic
        self.critic_options = critic_options
        self.game = dict(game or {})

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
        """Build the story for ``data``, with fresh networks and a critic with two hidden layers.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the generator.
            latent_dim: Number of coordinates of z.
            critic_options: Options of the critic's optimiser; by default they keep the game steady.
            game: Further options of the objective; by default they keep the game steady.
            **hyper: Further arguments of the story.
        """
        size = math.prod(data.observation_shape)
        return cls(
            Gaussian(networks.encoder(2 * latent_dim)),
            networks.generator(latent_dim),
            latent_dim,
            lambda: JointCritic(size, latent_dim),
            critic_options=critic_options,
            game=game,
            **hyper,
        )

    def objective(self) -> BidirectionalELBO:
        """The game of encoder and generator against a new critic."""
        return BidirectionalELBO(self.critic(), critic_options=self.critic_options, **self.game)
