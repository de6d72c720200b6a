"""The sparse autoencoder as sparse coding [Olshausen & Field, 1997; Cunningham et al., 2023]."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.columns import check_numbers
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["SparseAutoencoder"]


class SparseAutoencoder(GenerativeStory):
    r"""Finds more features than dimensions in vectors, of which few are active at a time.

    .. math:: z_i \sim \operatorname{Exponential}(\lambda), \quad
       x \mid z \sim \mathcal N\Bigl(b + \sum_i z_i d_i, \sigma^2 I\Bigr), \quad \|d_i\| = 1, \qquad
       q(z \mid x) = \delta(z - \operatorname{relu}(W (x - b) + c))

    An observation is a sum of few directions :math:`d_i`, the unit vectors of a dictionary. With a
    point as posterior the bound is the loss of sparse autoencoders: up to a constant, the squared
    error over :math:`2 \sigma^2` and :math:`\lambda \sum_i |z_i|`. Without unit vectors, all z
    would become small instead of few of them large.

    - Story, guide: Above; one layer infers the code, instead of an optimisation for each datum [1].
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`. A point has no density, so the elbo
      that ``elbo_per_datum`` reports is the log joint density at the code, not a bound on log p(x).
    - Data: vectors without labels, such as the activations of a layer of another network; images
      are flattened.
    - For: features in superposition, more features than dimensions. On a toy with 32 sparse
      features in 16 dimensions, the learned dictionary equals the true one except for single
      directions; principal components cannot represent it.

    Args:
        shape: Shape of one observation.
        latent_dim: Number of directions.
        rate: Rate lambda, in nats per unit of z.
        scale: Scale sigma; the penalty relative to the squared error is
            :math:`2 \sigma^2 \lambda`.

    Raises:
        ValueError: A number is not positive.

    References:
        [1] Cunningham et al., 2023. https://arxiv.org/abs/2309.08600
        [2] Olshausen & Field, 1997. Sparse coding with an overcomplete basis set: a strategy
            employed by V1?

    Example:
        >>> story = SparseAutoencoder((16,), 64)
        >>> story.directions().norm(dim=-1).allclose(torch.ones(64))
        True
    """

    latents = ("z",)
    ones: Tensor

    def __init__(
        self, shape: Sequence[int], latent_dim: int, *, rate: float = 5.0, scale: float = 0.2
    ) -> None:
        super().__init__()
        if latent_dim < 1 or rate <= 0 or scale <= 0:
            raise ValueError(
                "expected positive latent_dim, rate and scale,"
                f" got {latent_dim}, {rate} and {scale}"
            )
        self.shape = tuple(shape)
        self.latent_dim = latent_dim
        self.rate = rate
        self.scale = scale
        size = math.prod(self.shape)
        self.dictionary = nn.Parameter(torch.randn(latent_dim, size))
        self.bias = nn.Parameter(torch.zeros(size))
        self.encoder = nn.Linear(size, latent_dim)
        # inner products with the directions: the right code if the directions were orthogonal
        with torch.no_grad():
            self.encoder.weight.copy_(self.directions())
            self.encoder.bias.zero_()
        self.register_buffer("ones", torch.ones(latent_dim), persistent=False)

    @classmethod
    def for_data(
        cls, data: FactorDataset, networks: Networks, *, latent_dim: int = 100, **hyper: float
    ) -> Self:
        """Build the story for ``data``, with its own linear layers.

        Args:
            data: Observations of any kind; of a table, numbers alone.
            networks: Not used.
            latent_dim: Number of directions.
            **hyper: Further arguments of the story.
        """
        check_numbers(data.columns, cls.__name__)
        return cls(data.observation_shape, latent_dim, **hyper)

    def directions(self) -> Tensor:
        """The dictionary, with a unit vector in each row, ``(latent_dim, size)``."""
        return nn.functional.normalize(self.dictionary, dim=-1)

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, z)."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Exponential(self.rate * self.ones).to_event(1))
            mean = (z @ self.directions() + self.bias).unflatten(-1, self.shape)
            return pyro.sample("x", dist.Normal(mean, self.scale).to_event(len(self.shape)), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z | x), a point."""
        with self.data_plate(x):
            pyro.sample("z", self.representation(x)["z"])

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """A point at the code of x, which is zero in most coordinates."""
        check_conditions(self, conditions)
        return {"z": dist.Delta(self.encoder(x.flatten(1) - self.bias).relu(), event_dim=1)}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse a negative amount of a direction."""
        if name == "z" and bool((value < 0).any()):
            raise ValueError(
                f"do({name!r}): expected amounts of directions, not negative, got {value.tolist()}"
            )

    def objective(self) -> BetaELBO:
        """The bound, in which a point has no entropy."""
        return BetaELBO(1.0)
