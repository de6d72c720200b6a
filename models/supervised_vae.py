"""The supervised beta-VAE [Locatello et al., 2020]: few labels, each of which anchors a coordinate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset, partial_labels, with_conditions
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.models.bases.structural import check_names, noisy_labels
from ppl_disentangle.networks import Networks

__all__ = ["SupervisedVAE"]


class SupervisedVAE(IsotropicVAE):
    r"""The isotropic story, some of whose coordinates have noisy labels in some of the data.

    .. math:: z \sim \mathcal N(0, I), \quad x \mid z \sim p(x \mid z), \quad
       y_k \mid z_k \sim \mathcal N(z_k, \sigma_y^2)

    In [1] labels are a further loss on the encoder, of a weight that is searched for; as observations they are part of
    the bound, and :math:`1 / \sigma_y^2` is that weight. On a toy, labels of which a fifth were wrong anchored all
    coordinates (correlations of .98 and more) for :math:`\sigma_y` from .05 to .3; for .5 no longer.

    - Story: above; :class:`~ppl_disentangle.models.CausalVAE` of a graph without edges.
    - Guide: q(z | x), which reads no labels.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: observations, and labels of some, standardised, NaN where not known:
      ``with_conditions(data, labels=…)`` of shape ``(num_data, len(names))``.
    - For: codes whose first coordinates are to be named factors, from labels of a hundred data.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        names: of the factors that labels tell of, which are the first coordinates.
        label_scale: :math:`\sigma_y`, in standard deviations of a label; a choice of ours.
        beta: weight of the divergence; from 1 to 16 in [1].
        warm_up: steps over which the weight rises from 0.

    Raises:
        ValueError: more names than coordinates, or a scale that is not positive; when called, labels of another shape.

    References:
        [1] Locatello et al., 2020. https://arxiv.org/abs/1905.01258

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> story = SupervisedVAE(Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6)), 4, ["size", "angle"])
        >>> story.columns, story.coordinate_names["z"]
        (('size', 'angle'), ('size', 'angle', 'z[2]', 'z[3]'))
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        names: Sequence[str],
        *,
        label_scale: float = 0.1,
        beta: Weight = 1.0,
        warm_up: int = 0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        if len(names) > latent_dim or label_scale <= 0:
            raise ValueError(
                f"expected at most {latent_dim} names and label_scale > 0, got {names} and {label_scale}"
            )
        check_names(names, "x", "z", "data")
        self.columns, self.label_scale, self.beta, self.warm_up = (
            tuple(names),
            label_scale,
            beta,
            warm_up,
        )
        others = (f"z[{i}]" for i in range(len(names), latent_dim))
        self.coordinate_names = {"z": (*names, *others)}

    fraction: float = 1.0
    """Share of the data whose labels :meth:`training_data` tells."""

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        latent_dim: int = 10,
        fraction: float = 1.0,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``, whose factors it names; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors, or with nodes.
            networks: what encoder and decoder are made by.
            latent_dim: number of coordinates of z.
            fraction: of the data that have labels, where they are classes of factors.
            **hyper: of the story.

        Raises:
            ValueError: data without factors.
        """
        names = list(data.varying)
        if not names:
            raise ValueError(f"{cls.__name__} needs labels: {data.name} has no factors")
        encoder, decoder = Gaussian(networks.encoder(2 * latent_dim)), networks.decoder(latent_dim)
        story = cls(encoder, decoder, latent_dim, names, **hyper)
        story.fraction = fraction
        return story

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data, with standardised classes of the first :attr:`fraction` of them in random order as labels."""
        if "labels" in data.conditions(torch.zeros(1, dtype=torch.int64)):
            return data
        labels = partial_labels(data, self.columns, fraction=self.fraction).values
        known = ~labels.isnan().any(-1)
        mean, scale = labels[known].mean(0), labels[known].std(0).clamp(min=1e-6)
        return with_conditions(data, labels=(labels - mean) / scale)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, labels, z). ``labels``: ``(batch, len(columns))``, NaN where unknown."""
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            if labels is not None:
                noisy_labels(self.columns, z, self._checked(labels), self.label_scale)
            return pyro.sample("x", self.decoder(z), obs=x)

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(z | x)."""
        super().guide(x)

    def _checked(self, labels: Tensor) -> Tensor:
        if labels.dim() != 2 or labels.shape[-1] != len(self.columns):
            columns, shape = list(self.columns), tuple(labels.shape)
            raise ValueError(
                f"expected labels of {columns}, (batch, {len(columns)}), got shape {shape}"
            )
        return labels

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
