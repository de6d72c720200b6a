"""The supervised beta-VAE [Locatello et al., 2020]: a few labels give coordinates their meaning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import pyro
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset, partial_labels, with_conditions
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.labelled import check_labels, has_condition
from ppl_disentangle.models.bases.normal_code import NormalCode
from ppl_disentangle.models.bases.structural import noisy_labels
from ppl_disentangle.names import check_names, free_name
from ppl_disentangle.networks import Networks

__all__ = ["SupervisedVAE"]


class SupervisedVAE(NormalCode):
    r"""Learns a code whose first coordinates are named factors, from a few labels of them.

    .. math:: z \sim \mathcal N(0, I), \quad x \mid z \sim p(x \mid z), \quad
       y_k \mid z_k \sim \mathcal N(z_k, \sigma_y^2)

    In [1] the labels are a further loss of the encoder, whose weight has to be searched for. Here
    they are observations and part of the bound, and :math:`1 / \sigma_y^2` is that weight. On a toy
    with a fifth of the labels wrong, all coordinates followed their labels (correlations of .98 and
    more) for :math:`\sigma_y` from .05 to .3, but not for .5.

    - Story: Above; it equals :class:`~ppl_disentangle.models.CausalVAE` with a graph without edges.
    - Guide: q(z | x), which does not read the labels.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: a few labels of the factors, standardised, NaN where unknown:
      ``with_conditions(data, labels=…)`` of shape ``(num_data, len(names))``.
    - For: codes whose first coordinates are named factors, from the labels of about a hundred data.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        names: Names of the labelled factors, which are the first coordinates of z.
        label_scale: Scale :math:`\sigma_y`, in standard deviations of a label. The default is not
            from [1].
        beta: Weight of the divergence; from 1 to 16 in [1].
        warm_up: Number of steps over which the weight rises from 0.
        fraction: Share of the data for which :meth:`training_data` gives labels.

    Raises:
        ValueError: There are more names than coordinates, a name is reserved, or a scale is not
            positive; when called, labels have another shape.

    References:
        [1] Locatello et al., 2020. https://arxiv.org/abs/1905.01258

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> networks = Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(4, 6))
        >>> story = SupervisedVAE(*networks, 4, ["size", "angle"])
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
        fraction: float = 1.0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        if len(names) > latent_dim or label_scale <= 0:
            raise ValueError(
                f"expected at most {latent_dim} names and label_scale > 0,"
                f" got {names} and {label_scale}"
            )
        check_names(names, "factor")
        self.observation_site = free_name("x", names)
        self.latents = (free_name("z", names),)
        self.columns = tuple(names)
        self.label_scale = label_scale
        self.beta = beta
        self.warm_up = warm_up
        self.fraction = fraction
        (code,) = self.latents
        unnamed = [f"{code}[{i}]" for i in range(len(names), latent_dim)]
        self.coordinate_names = {code: (*names, *unnamed)}

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
        """Build the story for ``data``, whose first coordinates are the factors that vary.

        Args:
            data: Observations with factors, or with nodes of a causal graph.
            networks: Makes the encoder and the decoder.
            latent_dim: Number of coordinates of z.
            fraction: Share of the data that get labels, if the labels are classes of factors.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor of the data varies.
        """
        names = list(data.varying)
        if not names:
            raise ValueError(f"{cls.__name__} needs labels: {data.name} has no factors")
        encoder = Gaussian(networks.encoder(2 * latent_dim))
        decoder = networks.decoder(latent_dim)
        return cls(encoder, decoder, latent_dim, names, fraction=fraction, **hyper)

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data, of which a random share has labels: its factors, standardised.

        A label is the number of a continuous factor, or the class of another. Data that already
        have labels are returned as they are.
        """
        if has_condition(data, "labels"):
            return data
        labels = partial_labels(data, self.columns, fraction=self.fraction, numbers=True).values
        known = ~labels.isnan().any(-1)
        mean = labels[known].mean(0)
        scale = labels[known].std(0).clamp(min=1e-6)
        return with_conditions(data, labels=(labels - mean) / scale, columns=self.columns)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, labels, z), for ``labels`` of shape ``(batch, len(columns))``, NaN where unknown."""
        with self.data_plate(x, batch_size):
            z = pyro.sample(self.latents[0], self.prior())
            if labels is not None:
                noisy_labels(self.columns, z, check_labels(labels, self.columns), self.label_scale)
            return pyro.sample(self.observation_site, self.decoder(z), obs=x)

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(z | x)."""
        with self.data_plate(x):
            pyro.sample(self.latents[0], self.encoder(x))

    def objective(self) -> BetaELBO:
        """The bound with its divergence weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
