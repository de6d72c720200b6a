"""The story of latents in groups: z^g ~ N(0, I), c^k uniform over its classes, x ~ p(x | z, c)."""

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
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["GroupedVAE", "check_probabilities"]

GROUPS, CLASSES = MappingProxyType({"z": 10}), MappingProxyType({"kind": 10})
"""Of stories that are built from data and nothing else; choices of ours."""


class GroupedVAE(GenerativeStory):
    r"""Groups of independent standard normals, and classes that are equally probable. Abstract.

    .. math:: z^g \sim \mathcal N(0, I), \quad c^k \sim \operatorname{Concrete}(1/K, T), \quad
       x \mid z, c \sim p(x \mid z, c)

    Each group and each class is a site of its own. A class is relaxed as its posterior is; its representation are the
    probabilities of its values.

    Implementing one: define ``objective``, and ``__init__`` where it has weights to keep.

    Args:
        encoder: names, sizes and posteriors of the latents.
        decoder: ``decoder(h)`` is p(x | z, c), for h all latents side by side, groups first.
    """

    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(self, encoder: Grouped, decoder: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.latents = (*encoder.groups, *encoder.classes)
        self.register_buffer("zeros", torch.zeros(()), persistent=False)

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
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`, and
        :class:`~ppl_disentangle.conditionals.Grouped` for the other arguments.
        """
        dim, values = sum(groups.values()), sum(classes.values())
        encoder = Grouped(
            networks.encoder(2 * dim + values), groups, classes, temperature=temperature
        )
        return cls(encoder, networks.decoder(dim + values), **hyper)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z, c)."""
        with self.data_plate(x, batch_size):
            parts = [pyro.sample(name, prior) for name, prior in self.priors().items()]
            return pyro.sample("x", self.decoder(torch.cat(parts, -1)), obs=x)

    def priors(self) -> dict[str, TorchDistribution]:
        """p of each latent."""
        groups = {
            n: dist.Normal(self.zeros.expand(d), 1.0).to_event(1)
            for n, d in self.encoder.groups.items()
        }
        temperature = self.zeros + self.encoder.temperature
        classes = {
            n: dist.RelaxedOneHotCategorical(temperature, logits=self.zeros.expand(k))
            for n, k in self.encoder.classes.items()
        }
        return groups | classes

    def guide(self, x: Tensor) -> None:
        """q(z, c | x), independent given x."""
        with self.data_plate(x):
            for name, posterior in self.encoder(x).items():
                pyro.sample(name, posterior)

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q of each group; of each class the categorical distribution that its posterior relaxes."""
        posteriors = self.encoder(x)
        classes = {
            n: dist.OneHotCategorical(logits=posteriors[n].logits) for n in self.encoder.classes
        }
        return posteriors | classes

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse what is no distribution over the values of a class."""
        if name in self.encoder.classes:
            check_probabilities(name, value, self.encoder.classes[name])

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""


def check_probabilities(name: str, value: Tensor, size: int) -> None:
    """Refuse an intervention on a class that is no distribution over its ``size`` values.

    Raises:
        ValueError: a negative number, or a row that does not sum to 1.
    """
    if (value < 0).any() or not torch.allclose(value.sum(-1), value.new_ones(())):
        raise ValueError(
            f"do({name!r}): expected rows over {size} values, none negative, that sum to 1, such as a one-hot row;"
            f" got {value.tolist()}"
        )
