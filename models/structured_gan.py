"""The structured GAN [Deng et al., 2017]: a class that few data are told, and a style apart from it."""

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
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import JointCritic, StructuredGame
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.grouped import check_probabilities
from ppl_disentangle.models.bases.labelled import PartiallyLabelled, factor_of, known_classes
from ppl_disentangle.networks import STEADY_CRITIC, STEADY_GAME, Networks
from ppl_disentangle.sites import state_auxiliary

__all__ = ["StructuredGAN"]


class StructuredGAN(PartiallyLabelled):
    r"""A class and a style, from which a generator draws.

    .. math:: y \sim \operatorname{Categorical}(1/K), \quad z \sim \mathcal N(0, I), \quad x = G(y, z), \qquad
       q(y \mid x)\, q(z \mid x)

    - Story, guide: above.
    - Objective: :class:`~ppl_disentangle.inference.StructuredGame`; each call has critics of its own. There is no bound
      on log p(x): ``elbo_per_datum`` and ``held_out`` do not apply.
    - Data: observations, and the classes of some of them, ``with_conditions(data, classes=…)`` of shape
      ``(num_data, 1)``, NaN where not known.
    - For: drawing what is asked for, from few labels: with eight labels of each of four far Gaussians ``do`` on the
      class draws its mode. That the style of data tells nothing of their class, as in [1], is not shown here: after
      1,500 steps it still did.

    Args:
        encoder: ``encoder(x)`` has the group ``"z"`` and the class ``"y"``; what it states of it is taken without its
            relaxation.
        generator: ``generator(h)`` is a point, as of :class:`~ppl_disentangle.conditionals.Deterministic`, h the style
            followed by the class.
        critics: makes modules ``"z"``, from data and styles, and ``"y"``, from data and classes, to one logit each.
        read_class: weight of the class that is inferred from generated samples; a choice of ours, as are the next two.
        read_style: weight of the style that is.
        alpha: weight of the log probability of a known class.
        critic_options: options of the critics' optimiser.
        game: further options of the objective, such as ``{"gradient_penalty": 0.1}``.

    Raises:
        ValueError: an encoder of other latents; when called, classes of another shape.

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
    ) -> None:
        super().__init__()
        if list(encoder.groups) != ["z"] or list(encoder.classes) != ["y"]:
            raise ValueError(
                f"expected a group 'z' and a class 'y', got {encoder.groups} and {encoder.classes}"
            )
        self.encoder, self.decoder, self.critics = encoder, generator, critics
        self.read_class, self.read_style, self.alpha = read_class, read_style, alpha
        self.critic_options, self.game = critic_options, dict(game or {})
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
        """A story with fresh networks, and critics of two layers; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors.
            networks: what encoder and generator are made by.
            latent_dim: number of coordinates of z.
            factor: as in :meth:`~ppl_disentangle.models.M2.for_data`.
            fraction: of the data that are told theirs.
            critic_options: of the story.
            game: of the story.
            **hyper: of the story.

        Raises:
            ValueError: data without factors.
        """
        factor, k = factor_of(cls.__name__, data, factor)
        sizes, size = {"z": latent_dim, "y": k}, math.prod(data.observation_shape)
        encoder = Grouped(networks.encoder(2 * latent_dim + k), {"z": latent_dim}, {"y": k})
        critics = lambda: {name: JointCritic(size, dim) for name, dim in sizes.items()}  # noqa: E731
        players: dict[str, Any] = {"critic_options": critic_options, "game": game}
        story = cls(encoder, networks.generator(latent_dim + k), critics, **players, **hyper)
        story.factor, story.fraction = factor, fraction
        return story

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, classes: Tensor | None = None
    ) -> Tensor:
        """p(x, y, z); x itself is only compared with what is drawn."""
        with self.data_plate(x, batch_size):
            y = pyro.sample(
                "y", dist.OneHotCategorical(logits=self.zeros.new_zeros(self.encoder.classes["y"]))
            )
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.decoder(torch.cat([z, y], -1)), obs=x)

    def guide(self, x: Tensor, *, classes: Tensor | None = None) -> None:
        """q(y | x) q(z | x), and what is known of y."""
        q = self.representation(x)
        with self.data_plate(x):
            if classes is not None:
                known, labels = known_classes(classes, self.encoder.classes["y"])
                state_auxiliary("labels", labels.where(known[:, None], 0.0))
                pyro.factor("misread", -q["y"].log_prob(labels).where(known, 0.0), has_rsample=True)
            pyro.sample("y", q["y"])
            pyro.sample("z", q["z"])

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q of class and style."""
        posterior = self.encoder(x)
        return {"y": dist.OneHotCategorical(logits=posterior["y"].logits), "z": posterior["z"]}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse what is no distribution over the classes."""
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
