"""InfoGAN [Chen et al., 2016]: a generator whose codes can be read back from its samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import AdversarialMI
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.grouped import GroupedCodes
from ppl_disentangle.networks import STEADY_CRITIC, STEADY_GAME, Networks

__all__ = ["InfoGAN"]


class InfoGAN(GroupedCodes):
    r"""Learns the codes of a generator that can be read back from its samples, without labels.

    .. math:: c^k \sim \operatorname{Categorical}(1/K), \quad z^g \sim \mathcal N(0, I), \quad
       e \sim \mathcal N(0, I), \quad x = G(c, z, e), \qquad q(c, z \mid x)

    The codes are classes c and continuous groups z; e is noise. Decoding given codes draws new
    noise each time.

    - Story: Above. In [1] continuous codes are uniform, and q has unit variance in the authors'
      code.
    - Guide: q(c, z | x), which leaves the noise out.
    - Objective: :class:`~ppl_disentangle.inference.AdversarialMI`. Each call of ``objective`` makes
      a new critic. The game does not bound log p(x): ``elbo_per_datum`` and ``held_out`` do not
      apply.
    - Data: images or vectors, without labels.
    - For: codes of the strongest variations in the data, without reconstructing everything. On four
      Gaussians far apart the class comes to name the mode; with ``weight=0`` it names nothing.

    Args:
        encoder: Names, sizes and posteriors of the codes; classes are used without relaxation.
        generator: ``generator(h)`` is a point, such as
            :class:`~ppl_disentangle.conditionals.Deterministic` returns, for h the continuous
            codes, the classes and the noise side by side.
        noise_dim: Number of coordinates of e; 62 for digits in [1].
        critic: Makes a module that maps data to one logit per datum.
        weight: Weight of the mutual information; 1 in the authors' code.
        critic_options: Options of the critic's optimiser.
        game: Further options of the objective, such as ``{"gradient_penalty": 0.1}``.

    References:
        [1] Chen et al., 2016. https://arxiv.org/abs/1606.03657

    Example:
        >>> from ppl_disentangle.conditionals import Deterministic
        >>> from ppl_disentangle.inference import critic_network
        >>> encoder = Grouped(nn.Linear(2, 4), {}, {"mode": 4})
        >>> story = InfoGAN(encoder, Deterministic(nn.Linear(6, 2)), 2, lambda: critic_network(2))
        >>> story.model(batch_size=5).shape
        torch.Size([5, 2])
    """

    has_bound = False

    def __init__(
        self,
        encoder: Grouped,
        generator: nn.Module,
        noise_dim: int,
        critic: Callable[[], nn.Module],
        *,
        weight: Weight = 1.0,
        critic_options: Mapping[str, Any] | None = None,
        game: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(encoder, generator)
        self.noise_dim = noise_dim
        self.critic = critic
        self.weight = weight
        self.critic_options = critic_options
        self.game = dict(game or {})

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        groups: Mapping[str, int] = MappingProxyType({"c": 2}),
        classes: Mapping[str, int] = MappingProxyType({"kind": 10}),
        noise_dim: int = 62,
        critic_options: Mapping[str, Any] | None = STEADY_CRITIC,
        game: Mapping[str, Any] | None = STEADY_GAME,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with fresh networks and a critic shaped like the encoder.

        The default sizes are those used for digits in the paper.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder, the generator and the critic.
            groups: Number of coordinates of each group of continuous codes, by name.
            classes: Number of values of each class, by name.
            noise_dim: Number of coordinates of the noise.
            critic_options: Options of the critic's optimiser; by default they keep the game steady.
            game: Further options of the objective; by default they keep the game steady.
            **hyper: Further arguments of the story.
        """
        dim = sum(groups.values())
        num_values = sum(classes.values())
        return cls(
            Grouped(networks.encoder(2 * dim + num_values), groups, classes),
            networks.generator(dim + num_values + noise_dim),
            noise_dim,
            lambda: networks.encoder(1),
            critic_options=critic_options,
            game=game,
            **hyper,
        )

    def priors(self) -> dict[str, TorchDistribution]:
        """A standard normal for each group, a uniform one-hot distribution for each class."""
        classes = {
            name: dist.OneHotCategorical(logits=self.zeros.expand(size))
            for name, size in self.encoder.classes.items()
        }
        return self.group_priors() | classes

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, c, z, e); an observed x is only compared with the sample."""
        with self.data_plate(x, batch_size):
            codes = [pyro.sample(name, prior) for name, prior in self.priors().items()]
            noise = pyro.sample("noise", self.standard_normal(self.noise_dim))
            return pyro.sample("x", self.decoder(torch.cat([*codes, noise], -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(c, z | x), independent given x."""
        with self.data_plate(x):
            for name, posterior in self.representation(x).items():
                pyro.sample(name, posterior)

    def objective(self) -> AdversarialMI:
        """The game against a new critic, and the information that samples keep about the codes."""
        return AdversarialMI(
            self.critic(), self.weight, critic_options=self.critic_options, **self.game
        )
