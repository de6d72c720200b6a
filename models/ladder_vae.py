"""The ladder VAE [Sønderby et al., 2016]: levels of latents, whose guide corrects the story's own prediction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.nn.functional import softplus

from ppl_disentangle.conditionals import Conditional
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["LadderVAE"]


class LadderVAE(GenerativeStory):
    r"""Levels of latents, each drawn given the one above.

    .. math:: z_L \sim \mathcal N(0, I), \quad z_l \mid z_{l+1} \sim \mathcal N(\mu_l(z_{l+1}),
       \operatorname{diag} \sigma_l^2(z_{l+1})), \quad x \mid z_1 \sim p(x \mid z_1), \qquad
       q(z_l \mid x, z_{l+1}) \propto p(z_l \mid z_{l+1})\, \mathcal N(z_l; \hat\mu_l(x), \operatorname{diag}
       \hat\sigma_l^2(x))

    The guide goes down the same ladder as the story and corrects its prediction by what each level read of x on the way
    up, each weighed by its precision; at the top the prior is left out. Without that (``merged=False``) it is the
    hierarchical VAE, whose guide has to learn the prediction by itself: its upper levels tend to hold less.

    - Story, guide: above. Latents are named from the top: ``z2``, ``z1`` for two levels. The representation of a level
      is its posterior at the means of those above.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`, the weight of the divergences rising from 0, which
      [1] calls crucial.
    - Data: observations alone.
    - For: codes of several levels of abstraction; ``do`` on an upper level moves those below with it. On a toy of kinds
      its top holds more of the divergence than that of the hierarchical VAE; that its bound is higher, too, as in [1],
      could not be reproduced on toys of two and four levels.

    Args:
        features: from observations to ``(batch, width)``.
        decoder: ``decoder(z)`` is p(x | z), z the lowest latent.
        dims: numbers of coordinates, from the lowest level to the top.
        width: units of the layers between levels.
        merged: whether the guide starts from the story's prediction.
        beta: weight of the divergences.
        warm_up: steps over which it rises from 0; a choice of ours.

    Raises:
        ValueError: fewer than two levels.

    References:
        [1] Sønderby et al., 2016. https://arxiv.org/abs/1602.02282

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> story = LadderVAE(nn.Linear(6, 16), Bernoulli(nn.Linear(4, 6)), (4, 2), width=16)
        >>> {name: tuple(q.event_shape) for name, q in story.representation(torch.zeros(5, 6)).items()}
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
        self.features, self.decoder, self.merged = features, decoder, merged
        self.beta, self.warm_up = beta, warm_up
        self.latents = tuple(f"z{level}" for level in range(len(dims), 0, -1))
        self.up = nn.ModuleList(_layers(width, width) for _ in dims[1:])
        self.read = nn.ModuleList(_Level(nn.Linear(width, 2 * dim)) for dim in dims)
        self.down = nn.ModuleList(
            _Level(nn.Sequential(_layers(above, width), nn.Linear(width, 2 * dim)))
            for dim, above in zip(dims, dims[1:], strict=False)
        )
        self.register_buffer("zeros", torch.zeros(dims[-1]), persistent=False)

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
        """A story with fresh networks; see :func:`~ppl_disentangle.zoo.build`."""
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
        """q(z | x), from the top."""
        likelihoods = self.readings(x)
        with self.data_plate(x):
            z = pyro.sample(self.latents[0], likelihoods[0])
            for level, name in enumerate(self.latents[1:], 1):
                z = pyro.sample(name, self.posterior(level, likelihoods[level], z))

    def readings(self, x: Tensor) -> list[TorchDistribution]:
        """What each level reads of x on the way up, from the top."""
        h = self.features(x)
        found = [self.read[0](h)]
        for up, read in zip(self.up, self.read[1:], strict=True):
            h = up(h)
            found.append(read(h))
        return found[::-1]

    def posterior(self, level: int, reading: TorchDistribution, above: Tensor) -> TorchDistribution:
        """q of the latent ``level`` steps below the top, given the one above it."""
        if not self.merged:
            return reading
        prior = self.down[-level](above)
        precisions = [q.base_dist.scale.square().reciprocal() for q in (reading, prior)]
        total = precisions[0] + precisions[1]
        loc = (precisions[0] * reading.base_dist.loc + precisions[1] * prior.base_dist.loc) / total
        return dist.Normal(loc, total.rsqrt()).to_event(1)

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q of each level at the means of those above."""
        readings = self.readings(x)
        found = {self.latents[0]: readings[0]}
        for level, (name, above) in enumerate(zip(self.latents[1:], self.latents, strict=False), 1):
            found[name] = self.posterior(level, readings[level], found[above].mean)
        return found

    def objective(self) -> BetaELBO:
        """The bound, its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


class _Level(Conditional):
    """A normal whose variances are softplus of the network's outputs, as in [1], and not below a floor of ours."""

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Normal over half of the outputs."""
        loc, raw = output.chunk(2, -1)
        return dist.Normal(loc, (softplus(raw) + 1e-4).sqrt()).to_event(event_dim)


def _layers(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, outputs), nn.LeakyReLU())
