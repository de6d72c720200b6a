"""Abstract stories whose latents are named groups of coordinates and named classes."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["GroupedCodes", "GroupedVAE", "check_probabilities"]

GROUPS = MappingProxyType({"z": 10})
"""Default names and sizes of the groups of a story built by ``for_data``; not from a paper."""

CLASSES = MappingProxyType({"kind": 10})
"""Default names and sizes of the classes of a story built by ``for_data``; not from a paper."""


class GroupedCodes(GenerativeStory):
    r"""Abstract: latents in named groups of continuous coordinates, and named classes.

    Each group and each class is a latent site. The representation of a class is a categorical
    distribution over its values, whether or not the guide relaxes it.

    Implementing one: define :meth:`priors`, ``model``, ``guide`` and ``objective``.

    Args:
        encoder: Names, sizes and posteriors of the groups and classes.
        decoder: ``decoder(h)`` is p(x | h), for h all latents side by side, groups first.
    """

    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(self, encoder: Grouped, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.latents = (*encoder.groups, *encoder.classes)
        self.register_buffer("zeros", torch.zeros(()), persistent=False)

    @abc.abstractmethod
    def priors(self) -> dict[str, TorchDistribution]:
        """The prior of each group and class, by name, groups first."""

    def group_priors(self) -> dict[str, TorchDistribution]:
        """A standard normal for each group."""
        return {name: self.standard_normal(dim) for name, dim in self.encoder.groups.items()}

    def standard_normal(self, dim: int) -> TorchDistribution:
        """N(0, I) over ``dim`` coordinates."""
        return dist.Normal(self.zeros.expand(dim), 1.0).to_event(1)

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """q of each group, and the categorical distribution q of each class."""
        check_conditions(self, conditions)
        posteriors = self.encoder(x)
        for name in self.encoder.classes:
            posteriors[name] = dist.OneHotCategorical(logits=posteriors[name].logits)
        return posteriors

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse a value of a class that is not a distribution over its values."""
        if name in self.encoder.classes:
            check_probabilities(name, value, self.encoder.classes[name])

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""


class GroupedVAE(GroupedCodes):
    r"""Abstract: groups of standard normals, and relaxed classes with equally probable values.

    .. math:: z^g \sim \mathcal N(0, I), \quad c^k \sim \operatorname{Concrete}(1/K, T), \quad
       x \mid z, c \sim p(x \mid z, c)

    Prior and posterior of a class are relaxed with the same temperature T.

    Implementing one: define ``objective``, and ``__init__`` if the objective has weights.

    Args:
        encoder: Names, sizes and posteriors of the groups and classes.
        decoder: ``decoder(h)`` is p(x | z, c), for h all latents side by side, groups first.
    """

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        groups: Mapping[str, int] = GROUPS,
        classes: Mapping[str, int] = CLASSES,
        temperature: float = 2 / 3,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with a fresh grouped encoder and a fresh decoder.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the decoder.
            groups: Number of coordinates of each group, by name.
            classes: Number of values of each class, by name.
            temperature: Temperature T of the relaxed classes.
            **hyper: Further arguments of the story.
        """
        dim = sum(groups.values())
        num_values = sum(classes.values())
        network = networks.encoder(2 * dim + num_values)
        encoder = Grouped(network, groups, classes, temperature=temperature)
        return cls(encoder, networks.decoder(dim + num_values), **hyper)

    def priors(self) -> dict[str, TorchDistribution]:
        """A standard normal for each group, a relaxed uniform distribution for each class."""
        temperature = self.zeros + self.encoder.temperature
        classes = {
            name: dist.RelaxedOneHotCategorical(temperature, logits=self.zeros.expand(size))
            for name, size in self.encoder.classes.items()
        }
        return self.group_priors() | classes

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z, c)."""
        with self.data_plate(x, batch_size):
            codes = [pyro.sample(name, prior) for name, prior in self.priors().items()]
            return pyro.sample("x", self.decoder(torch.cat(codes, -1)), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z, c | x), independent given x."""
        with self.data_plate(x):
            for name, posterior in self.encoder(x).items():
                pyro.sample(name, posterior)


def check_probabilities(name: str, value: Tensor, size: int) -> None:
    """Refuse a value of a class that is not a distribution over its ``size`` values.

    Raises:
        ValueError: A number is negative, or a row does not sum to 1.
    """
    if (value < 0).any() or not torch.allclose(value.sum(-1), value.new_ones(())):
        raise ValueError(
            f"do({name!r}): expected rows over {size} values, none negative, that sum to 1, such as"
            f" a one-hot row; got {value.tolist()}"
        )
