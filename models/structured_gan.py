"""The structured GAN [Deng et al., 2017]: a class that is labelled in few data, and a style."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import JointCritic, StructuredGame
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.grouped import check_probabilities
from ppl_disentangle.models.bases.labelled import PartiallyLabelled, factor_of, known_classes
from ppl_disentangle.networks import STEADY_CRITIC, STEADY_GAME, Networks
from ppl_disentangle.sites import state_auxiliary

__all__ = ["StructuredGAN"]


class StructuredGAN(PartiallyLabelled):
    r"""Generates data of a chosen class from a few labels of one factor, with a style beside it.

    .. math:: y \sim \operatorname{Categorical}(1/K), \quad z \sim \mathcal N(0, I), \quad
       x = G(y, z), \qquad q(y \mid x)\, q(z \mid x)

    - Story, guide: Above.
    - Objective: :class:`~ppl_disentangle.inference.StructuredGame`. Each call of ``objective``
      makes new critics. The game does not bound log p(x): ``elbo_per_datum`` and ``held_out`` do
      not apply.
    - Data: a few labels of one factor: ``with_conditions(data, classes=…)`` of shape
      ``(num_data, 1)``, NaN where unknown.
    - For: generating data of a chosen class from few labels. With eight labels for each of four
      Gaussians far apart, ``do`` on the class generates its mode. In [1] the style of data says
      nothing about their class; here, after 1,500 steps, it still did.

    Args:
        encoder: ``encoder(x)`` has the group ``"z"`` and the class ``"y"``, which is used without
            relaxation.
        generator: ``generator(h)`` is a point, such as
            :class:`~ppl_disentangle.conditionals.Deterministic` returns, for h the style followed
            by the class.
        critics: Makes modules ``"z"`` and ``"y"``, which map data with styles, and data with
            classes, to one logit per datum.
        read_class: Weight of inferring the class from generated samples. This default and the next
            two are not from [1].
        read_style: Weight of inferring the style from generated samples.
        alpha: Weight of the log probability of a known class.
        critic_options: Options of the critics' optimiser.
        game: Further options of the objective, such as ``{"gradient_penalty": 0.1}``.
        factor: Name of the factor whose classes :meth:`training_data` takes from the data.
        fraction: Share of the data for which :meth:`training_data` gives the class.

    Raises:
        ValueError: The encoder has other latents; when called, classes have another shape.

    References:
        [1] Deng et al., 2017. https://arxiv.org/abs/1711.00889
    """

    latents = ("y", "z")
    has_bound = False
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self,
        encoder: Grouped,
        generator: nn.Module,
        critics: Callable[[], Mapping[str, nn.Module]],
        *,
        read_class: Weight = 1.0,
        read_style: Weight = 0.1,
        alpha: Weight = 10.0,
        critic_options: Mapping[str, Any] | None = None,
        game: Mapping[str, Any] | None = None,
        factor: str = "",
        fraction: float = 0.1,
    ) -> None:
        super().__init__(factor=factor, fraction=fraction)
        if list(encoder.groups) != ["z"] or list(encoder.classes) != ["y"]:
            raise ValueError(
                f"expected a group 'z' and a class 'y', got {encoder.groups} and {encoder.classes}"
            )
        self.encoder = encoder
        self.decoder = generator
        self.critics = critics
        self.read_class = read_class
        self.read_style = read_style
        self.alpha = alpha
        self.critic_options = critic_options
        self.game = dict(game or {})
        self.register_buffer("zeros", torch.zeros(encoder.groups["z"]), persistent=False)

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        latent_dim: int = 10,
        factor: str = "",
        fraction: float = 0.1,
        critic_options: Mapping[str, Any] | None = STEADY_CRITIC,
        game: Mapping[str, Any] | None = STEADY_GAME,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with fresh networks and critics with two hidden layers.

        Args:
            data: Observations with factors.
            networks: Makes the encoder and the generator.
            latent_dim: Number of coordinates of z.
            factor: Name of the factor that is the class; by default the first that varies.
            fraction: Share of the data whose class is known.
            critic_options: Options of the critics' optimiser; by default they keep the game steady.
            game: Further options of the objective; by default they keep the game steady.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor of the data varies, or none has this name.
        """
        factor, num_classes = factor_of(cls.__name__, data, factor)
        size = math.prod(data.observation_shape)
        network = networks.encoder(2 * latent_dim + num_classes)
        return cls(
            Grouped(network, {"z": latent_dim}, {"y": num_classes}),
            networks.generator(latent_dim + num_classes),
            lambda: {"z": JointCritic(size, latent_dim), "y": JointCritic(size, num_classes)},
            critic_options=critic_options,
            game=game,
            factor=factor,
            fraction=fraction,
            **hyper,
        )

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, classes: Tensor | None = None
    ) -> Tensor:
        """p(x, y, z); an observed x is only compared with the sample."""
        with self.data_plate(x, batch_size):
            equal_logits = self.zeros.new_zeros(self.encoder.classes["y"])
            y = pyro.sample("y", dist.OneHotCategorical(logits=equal_logits))
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.decoder(torch.cat([z, y], -1)), obs=x)

    def guide(self, x: Tensor, *, classes: Tensor | None = None) -> None:
        """q(y | x) q(z | x), and the known classes."""
        q = self.representation(x)
        with self.data_plate(x):
            if classes is not None:
                known, labels = known_classes(classes, self.encoder.classes["y"])
                state_auxiliary("labels", labels.where(known[:, None], 0.0))
                pyro.factor("misread", -q["y"].log_prob(labels).where(known, 0.0), has_rsample=True)
            pyro.sample("y", q["y"])
            pyro.sample("z", q["z"])

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """q(y | x) and q(z | x)."""
        check_conditions(self, conditions)
        posterior = self.encoder(x)
        return {"y": dist.OneHotCategorical(logits=posterior["y"].logits), "z": posterior["z"]}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse a value of y that is not a distribution over the classes."""
        if name == "y":
            check_probabilities(name, value, self.encoder.classes["y"])

    def objective(self) -> StructuredGame:
        """Both games, and the latents inferred from generated samples."""
        return StructuredGame(
            self.critics(),
            self.read_class,
            self.read_style,
            factors={"misread": self.alpha},
            critic_options=self.critic_options,
            **self.game,
        )
