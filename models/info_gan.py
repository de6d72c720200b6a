"""InfoGAN [Chen et al., 2016]: a generator whose codes can be read back from what it draws."""

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
from ppl_disentangle.models.bases.grouped import check_probabilities
from ppl_disentangle.networks import STEADY_CRITIC, STEADY_GAME, Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["InfoGAN"]


class InfoGAN(GenerativeStory):
    r"""Codes, continuous and of classes, and noise, from which a generator draws.

    .. math:: c^k \sim \operatorname{Categorical}(1/K), \quad z^g \sim \mathcal N(0, I), \quad e \sim \mathcal N(0, I),
       \quad x = G(c, z, e), \qquad q(c, z \mid x)

    - Story: above; [1] has uniform continuous codes, and q of unit variance in the authors' code.
    - Guide: q(c, z | x), which leaves the noise out.
    - Objective: :class:`~ppl_disentangle.inference.AdversarialMI`; each call has a critic of its own. There is no bound
      on log p(x): ``elbo_per_datum`` and ``held_out`` do not apply.
    - Data: observations alone.
    - For: codes of what varies most, without a reconstruction of everything. On four far Gaussians the class comes to
      name the mode; with ``weight=0`` it names nothing.

    A decoded code is drawn with noise of its own.

    Args:
        encoder: names and sizes of the codes; what it states of classes is taken without its relaxation.
        generator: ``generator(h)`` is a point, as of :class:`~ppl_disentangle.conditionals.Deterministic`, h the
            continuous codes, the classes, and the noise, side by side.
        noise_dim: number of coordinates of e; 62 for digits in [1].
        critic: makes a module from data to one logit each.
        weight: of the information; the authors' code has 1.
        critic_options: options of the critic's optimiser.
        game: further options of the objective, such as ``{"gradient_penalty": 0.1}``.

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
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

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
        super().__init__()
        self.encoder, self.decoder, self.critic, self.weight = encoder, generator, critic, weight
        self.critic_options, self.game = critic_options, dict(game or {})
        self.latents = (*encoder.groups, *encoder.classes)
        self.register_buffer("zeros", torch.zeros(noise_dim), persistent=False)

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
        """A story with fresh networks, and a critic like its encoder; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: the observations.
            networks: what encoder, generator and critic are made by.
            groups: number of coordinates of each group of continuous codes.
            classes: number of values of each class.
            noise_dim: number of coordinates of e; the default sizes are those of digits in [1].
            critic_options: of the story.
            game: of the story.
            **hyper: of the story.
        """
        dim, values = sum(groups.values()), sum(classes.values())
        encoder = Grouped(networks.encoder(2 * dim + values), groups, classes)
        generator = networks.generator(dim + values + noise_dim)
        players: dict[str, Any] = {"critic_options": critic_options, "game": game}
        return cls(encoder, generator, noise_dim, lambda: networks.encoder(1), **players, **hyper)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, c, z, e); x itself is only compared with what is drawn."""
        sizes = self.encoder.groups | self.encoder.classes
        with self.data_plate(x, batch_size):
            codes = [pyro.sample(name, self._prior(name, size)) for name, size in sizes.items()]
            noise = pyro.sample("noise", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.decoder(torch.cat([*codes, noise], -1)), obs=x)

    def _prior(self, name: str, size: int) -> TorchDistribution:
        if name in self.encoder.classes:
            return dist.OneHotCategorical(logits=self.zeros.new_zeros(size))
        return dist.Normal(self.zeros.new_zeros(size), 1.0).to_event(1)

    def guide(self, x: Tensor) -> None:
        """q(c, z | x)."""
        with self.data_plate(x):
            for name, posterior in self.representation(x).items():
                pyro.sample(name, posterior)

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q of each code."""
        posteriors = self.encoder(x)
        classes = {
            n: dist.OneHotCategorical(logits=posteriors[n].logits) for n in self.encoder.classes
        }
        return posteriors | classes

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse what is no distribution over the values of a class."""
        if name in self.encoder.classes:
            check_probabilities(name, value, self.encoder.classes[name])

    def objective(self) -> AdversarialMI:
        """The game, and the information that its draws keep of the codes."""
        return AdversarialMI(
            self.critic(), self.weight, critic_options=self.critic_options, **self.game
        )
