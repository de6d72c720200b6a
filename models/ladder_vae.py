"""The ladder VAE [Sønderby et al., 2016]: the guide corrects the prediction of each level."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_disentangle.conditionals import Conditional
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["LadderVAE"]


class LadderVAE(GenerativeStory):
    r"""Learns codes of several levels of abstraction without labels, each given the one above.

    .. math:: z_L \sim \mathcal N(0, I), \quad
       z_l \mid z_{l+1} \sim \mathcal N(\mu_l(z_{l+1}), \operatorname{diag} \sigma_l^2(z_{l+1})),
       \quad x \mid z_1 \sim p(x \mid z_1), \qquad
       q(z_l \mid x, z_{l+1}) \propto p(z_l \mid z_{l+1})\,
       \mathcal N(z_l; \hat\mu_l(x), \operatorname{diag} \hat\sigma_l^2(x))

    The guide descends the same ladder as the story. At each level it multiplies the prediction of
    the story, p(z_l | z_{l+1}), by a normal read from x on the way up, so the two are weighted by
    their precisions; at the top it leaves the prior out. With ``merged=False`` the guide does not
    see the prediction. The story is then the hierarchical VAE, whose upper levels tend to hold less
    information.

    - Story, guide: Above. Latents are named from the top: ``z2``, ``z1`` for two levels. The
      representation of a level is its posterior at the means of the levels above.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`. The weight of the divergences rises
      from 0, which [1] calls crucial.
    - Data: images or vectors, without labels.
    - For: codes of several levels of abstraction; ``do`` on an upper level moves the levels below.
      On a toy with kinds, the top level holds more of the divergence than in the hierarchical VAE.
      The higher bound that [1] reports could not be reproduced on toys with two and four levels.

    Args:
        features: Maps observations to features, ``(batch, width)``.
        decoder: ``decoder(z)`` is p(x | z), for z the lowest latent.
        dims: Numbers of coordinates, from the lowest level to the top.
        width: Number of units of the layers between levels.
        merged: Whether the guide uses the prediction of the story.
        beta: Weight of the divergences.
        warm_up: Number of steps over which the weight rises from 0. The default is not from [1].

    Raises:
        ValueError: There are fewer than two levels.

    References:
        [1] Sønderby et al., 2016. https://arxiv.org/abs/1602.02282

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> story = LadderVAE(nn.Linear(6, 16), Bernoulli(nn.Linear(4, 6)), (4, 2), width=16)
        >>> representation = story.representation(torch.zeros(5, 6))
        >>> {name: tuple(q.event_shape) for name, q in representation.items()}
        {'z2': (2,), 'z1': (4,)}
    """

    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self,
        features: nn.Module,
        decoder: nn.Module,
        dims: Sequence[int],
        *,
        width: int = 256,
        merged: bool = True,
        beta: Weight = 1.0,
        warm_up: int = 1000,
    ) -> None:
        super().__init__()
        if len(dims) < 2 or min(dims) < 1:
            raise ValueError(f"expected the coordinates of two levels or more, got {list(dims)}")
        self.features = features
        self.decoder = decoder
        self.merged = merged
        self.beta = beta
        self.warm_up = warm_up
        self.latents = tuple(f"z{level}" for level in range(len(dims), 0, -1))
        self._add_levels(dims, width)
        self.register_buffer("zeros", torch.zeros(dims[-1]), persistent=False)

    def _add_levels(self, dims: Sequence[int], width: int) -> None:
        """Add the layers up, the readings of each level, and the priors down the ladder."""
        self.up = nn.ModuleList(_layers(width, width) for _ in dims[1:])
        self.read = nn.ModuleList(_Level(nn.Linear(width, 2 * dim)) for dim in dims)
        self.down = nn.ModuleList(
            _Level(nn.Sequential(_layers(upper_dim, width), nn.Linear(width, 2 * dim)))
            for dim, upper_dim in itertools.pairwise(dims)
        )

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        dims: Sequence[int] = (10, 5),
        width: int = 256,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with fresh networks.

        Args:
            data: Observations of any kind.
            networks: Makes the features and the decoder.
            dims: Numbers of coordinates, from the lowest level to the top.
            width: Number of features, and of units of the layers between levels.
            **hyper: Further arguments of the story.
        """
        features = nn.Sequential(networks.encoder(width), nn.LeakyReLU())
        return cls(features, networks.decoder(dims[0]), dims, width=width, **hyper)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample(self.latents[0], dist.Normal(self.zeros, 1.0).to_event(1))
            for name, prior in zip(self.latents[1:], reversed(self.down), strict=True):
                z = pyro.sample(name, prior(z))
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x), from the top level down."""
        readings = self.readings(x)
        with self.data_plate(x):
            z = pyro.sample(self.latents[0], readings[0])
            for level, name in enumerate(self.latents[1:], 1):
                z = pyro.sample(name, self.posterior(level, readings[level], z))

    def readings(self, x: Tensor) -> list[TorchDistribution]:
        """The normals that each level reads from x on the way up, returned from the top."""
        h = self.features(x)
        readings = [self.read[0](h)]
        for up, read in zip(self.up, self.read[1:], strict=True):
            h = up(h)
            readings.append(read(h))
        return readings[::-1]

    def posterior(self, level: int, reading: TorchDistribution, upper: Tensor) -> TorchDistribution:
        """q of the latent ``level`` steps below the top, given the value of the latent above it."""
        if not self.merged:
            return reading
        q = reading.base_dist
        prior = self.down[-level](upper).base_dist
        q_precision = q.scale.square().reciprocal()
        prior_precision = prior.scale.square().reciprocal()
        precision = q_precision + prior_precision
        loc = (q_precision * q.loc + prior_precision * prior.loc) / precision
        return dist.Normal(loc, precision.rsqrt()).to_event(1)

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """q of each level at the means of the levels above."""
        check_conditions(self, conditions)
        readings = self.readings(x)
        posteriors = {self.latents[0]: readings[0]}
        for level, (upper, name) in enumerate(itertools.pairwise(self.latents), 1):
            upper_mean = posteriors[upper].mean
            posteriors[name] = self.posterior(level, readings[level], upper_mean)
        return posteriors

    def objective(self) -> BetaELBO:
        """The bound with its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


class _Level(Conditional):
    """A normal whose variances are softplus of the outputs, as in [1], plus a small constant."""

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Normal over half of the outputs."""
        loc, raw = output.chunk(2, -1)
        return dist.Normal(loc, (softplus(raw) + 1e-4).sqrt()).to_event(event_dim)


def _layers(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LeakyReLU())
