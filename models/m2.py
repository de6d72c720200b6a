"""M2, the semi-supervised VAE [Kingma et al., 2014]: a class that is labelled in few data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian, at_least_single
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import EnumeratedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.grouped import check_probabilities
from ppl_disentangle.models.bases.labelled import PartiallyLabelled, factor_of, known_classes
from ppl_disentangle.networks import Networks

__all__ = ["M2"]


class M2(PartiallyLabelled):
    r"""Learns a class from a few labels of one factor, and a style that is independent of it.

    .. math:: y \sim \operatorname{Categorical}(1/K), \quad z \sim \mathcal N(0, I), \quad
       x \mid y, z \sim p(x \mid y, z), \qquad q(y \mid x)\, q(z \mid x, y)

    .. math:: \sum_y q(y \mid x) \bigl[ \mathbb E_{q(z \mid x, y)} \log p(x \mid y, z) -
       \operatorname{KL}(q(z \mid x, y) \,\|\, p(z)) \bigr]
       - \operatorname{KL}(q(y \mid x) \,\|\, p(y)) + \alpha\, [y \text{ known}] \log q(y \mid x)

    The sum over the classes is exact. Where y is known, q(y | x) is replaced by a point at it.

    - Story, guide: Above.
    - Objective: :class:`~ppl_disentangle.inference.EnumeratedELBO`; the log probability of known
      classes is a ``pyro.factor`` of the guide with weight alpha.
    - Data: a few labels of one factor: ``with_conditions(data, classes=…)`` of shape
      ``(num_data, 1)``, NaN where unknown.
    - For: classification from few labels, and styles that can be combined with other classes.

    Args:
        features: Maps observations to features, ``(batch, num_features)``.
        classifier: Maps features to K logits of q(y | x).
        encoder: ``encoder(h)`` is q(z | x, y), for h the features followed by the class, one-hot.
            It takes any batch dimensions.
        decoder: ``decoder(h)`` is p(x | y, z), for h the style followed by the class. It takes any
            batch dimensions.
        latent_dim: Number of coordinates of z.
        num_classes: Number K of classes.
        alpha: Weight of the log probability of a known class. The default is not from [1]. With too
            small a weight, classes that mean something else give a better code.
        beta: Weight of the divergences.
        factor: Name of the factor whose classes :meth:`training_data` takes from the data.
        fraction: Share of the data for which :meth:`training_data` gives the class.

    Raises:
        ValueError: There are fewer than two classes; when called, classes have another shape.

    References:
        [1] Kingma et al., 2014. https://arxiv.org/abs/1406.5298

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> classifier = nn.Linear(8, 3)
        >>> encoder = Gaussian(nn.Linear(8 + 3, 4), input_dims=1)
        >>> decoder = Bernoulli(nn.Linear(2 + 3, 6))
        >>> story = M2(nn.Linear(6, 8), classifier, encoder, decoder, latent_dim=2, num_classes=3)
        >>> story.representation(torch.zeros(5, 6))["y"].probs.shape
        torch.Size([5, 3])
    """

    latents = ("y", "z")
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor
    one_hot: Tensor

    def __init__(
        self,
        features: nn.Module,
        classifier: nn.Module,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        num_classes: int,
        *,
        alpha: Weight = 100.0,
        beta: Weight = 1.0,
        factor: str = "",
        fraction: float = 0.1,
    ) -> None:
        super().__init__(factor=factor, fraction=fraction)
        if num_classes < 2:
            raise ValueError(f"expected at least two classes, got {num_classes}")
        self.features = features
        self.classifier = classifier
        self.encoder = encoder
        self.decoder = decoder
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.alpha = alpha
        self.beta = beta
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)
        self.register_buffer("one_hot", torch.eye(num_classes), persistent=False)

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        latent_dim: int = 10,
        factor: str = "",
        fraction: float = 0.1,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with 64 fresh features that classifier and encoder share.

        Args:
            data: Observations with factors.
            networks: Makes the features and the decoder.
            latent_dim: Number of coordinates of z.
            factor: Name of the factor that is the class; by default the first that varies.
            fraction: Share of the data whose class is known.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor of the data varies, or none has this name.
        """
        factor, num_classes = factor_of(cls.__name__, data, factor)
        width = 64
        return cls(
            nn.Sequential(networks.encoder(width), nn.ReLU()),
            nn.Linear(width, num_classes),
            Gaussian(nn.Linear(width + num_classes, 2 * latent_dim), input_dims=1),
            networks.decoder(latent_dim + num_classes),
            latent_dim,
            num_classes,
            factor=factor,
            fraction=fraction,
            **hyper,
        )

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, classes: Tensor | None = None
    ) -> Tensor:
        """p(x, y, z)."""
        with self.data_plate(x, batch_size):
            equal_logits = self.zeros.new_zeros(self.num_classes)
            y = pyro.sample("y", dist.OneHotCategorical(logits=equal_logits))
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.decoder(_beside(z, y)), obs=x)

    def guide(self, x: Tensor, *, classes: Tensor | None = None) -> None:
        """q(y | x) q(z | x, y), and the log probability that q(y | x) gives to known classes."""
        h = self.features(x)
        q_y = self._class_of(h)
        with self.data_plate(x):
            if classes is not None:
                known, labels = known_classes(classes, self.num_classes)
                pyro.factor("misread", -q_y.log_prob(labels).where(known, 0.0), has_rsample=True)
                q_y = self._with_known(q_y, known, labels)
            y = pyro.sample("y", q_y)
            pyro.sample("z", self.encoder(_beside(h, y)))

    def _class_of(self, h: Tensor) -> dist.OneHotCategorical:
        """q(y | x), from the features of x."""
        return dist.OneHotCategorical(logits=at_least_single(self.classifier(h)))

    def _with_known(
        self, q_y: dist.OneHotCategorical, known: Tensor, labels: Tensor
    ) -> dist.OneHotCategorical:
        """q(y | x), with the class of ``labels`` certain where it is known."""
        return dist.OneHotCategorical(probs=torch.where(known[:, None], labels, q_y.probs))

    def representation(
        self, x: Tensor, *, classes: Tensor | None = None, **conditions: Any
    ) -> dict[str, TorchDistribution]:
        """q(y | x), and q(z | x, y) for the most probable y; a known class is certain."""
        check_conditions(self, conditions)
        h = self.features(x)
        q_y = self._class_of(h)
        if classes is not None:
            q_y = self._with_known(q_y, *known_classes(classes, self.num_classes))
        most_probable = self.one_hot[q_y.logits.argmax(-1)]
        return {"y": q_y, "z": self.encoder(torch.cat([h, most_probable], -1))}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse a value of y that is not a distribution over the classes."""
        if name == "y":
            check_probabilities(name, value, self.num_classes)

    def objective(self) -> EnumeratedELBO:
        """The bound with an exact sum over the classes."""
        return EnumeratedELBO(self.beta, factors={"misread": self.alpha})


def _beside(left: Tensor, right: Tensor) -> Tensor:
    """Both side by side in the last dimension, batch dimensions broadcast."""
    batch = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    return torch.cat([left.expand(*batch, -1), right.expand(*batch, -1)], -1)
