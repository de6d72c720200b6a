"""M2, the semi-supervised VAE [Kingma et al., 2014]: a class that few data are told, summed out of the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian, at_least_single
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import EnumeratedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.grouped import check_probabilities
from ppl_disentangle.models.bases.labelled import PartiallyLabelled, factor_of, known_classes
from ppl_disentangle.networks import Networks

__all__ = ["M2"]


class M2(PartiallyLabelled):
    r"""A class, known of some data, and a style that does not depend on it.

    .. math:: y \sim \operatorname{Categorical}(1/K), \quad z \sim \mathcal N(0, I), \quad x \mid y, z \sim
       p(x \mid y, z), \qquad q(y \mid x)\, q(z \mid x, y)

    .. math:: \sum_y q(y \mid x) \bigl[ \mathbb E_{q(z \mid x, y)} \log p(x \mid y, z) -
       \operatorname{KL}(q(z \mid x, y) \,\|\, p(z)) \bigr] - \operatorname{KL}(q(y \mid x) \,\|\, p(y))
       + \alpha\, [y \text{ known}] \log q(y \mid x)

    The sum over the classes is exact. Where y is known its probability is 1.

    - Story, guide: above.
    - Objective: :class:`~ppl_disentangle.inference.EnumeratedELBO`; how far the classifier is from known classes is a
      ``pyro.factor`` of the guide, weighed by alpha.
    - Data: observations, and the classes of some of them, ``with_conditions(data, classes=…)`` of shape
      ``(num_data, 1)``, NaN where not known.
    - For: classes from few labels, and styles that can be moved to other classes.

    Args:
        features: from observations to ``(batch, num_features)``.
        classifier: from features to K logits, q(y | x).
        encoder: ``encoder(h)`` is q(z | x, y), h the features followed by the class, one-hot; it takes any batch
            dimensions.
        decoder: ``decoder(h)`` is p(x | y, z), h the style followed by the class; likewise.
        latent_dim: number of coordinates of z.
        num_classes: K.
        alpha: weight of the log probability of a known class, a choice of ours. Of too little weight, classes that mean
            something else are better codes.
        beta: weight of the divergences.

    Raises:
        ValueError: fewer than two classes; when called, classes of another shape.

    References:
        [1] Kingma et al., 2014. https://arxiv.org/abs/1406.5298

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> heads = nn.Linear(8, 3), Gaussian(nn.Linear(8 + 3, 4), input_dims=1), Bernoulli(nn.Linear(2 + 3, 6))
        >>> story = M2(nn.Linear(6, 8), *heads, latent_dim=2, num_classes=3)
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
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise ValueError(f"expected at least two classes, got {num_classes}")
        self.features, self.classifier, self.encoder, self.decoder = (
            features,
            classifier,
            encoder,
            decoder,
        )
        self.latent_dim, self.num_classes, self.alpha, self.beta = (
            latent_dim,
            num_classes,
            alpha,
            beta,
        )
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
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors.
            networks: what features and decoder are made by.
            latent_dim: number of coordinates of z.
            factor: the one whose classes are told; by default the first that varies.
            fraction: of the data that are told theirs.
            **hyper: of the story.

        Raises:
            ValueError: data without factors.
        """
        (factor, k), width = factor_of(cls.__name__, data, factor), 64
        features = nn.Sequential(networks.encoder(width), nn.ReLU())
        heads = nn.Linear(width, k), Gaussian(nn.Linear(width + k, 2 * latent_dim), input_dims=1)
        story = cls(features, *heads, networks.decoder(latent_dim + k), latent_dim, k, **hyper)
        story.factor, story.fraction = factor, fraction
        return story

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, classes: Tensor | None = None
    ) -> Tensor:
        """p(x, y, z)."""
        with self.data_plate(x, batch_size):
            y = pyro.sample(
                "y", dist.OneHotCategorical(logits=self.zeros.new_zeros(self.num_classes))
            )
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.decoder(_beside(z, y)), obs=x)

    def guide(self, x: Tensor, *, classes: Tensor | None = None) -> None:
        """q(y | x) q(z | x, y), and how far the former is from what is known."""
        h = self.features(x)
        q = dist.OneHotCategorical(logits=at_least_single(self.classifier(h)))
        with self.data_plate(x):
            if classes is not None:
                known, told = known_classes(classes, self.num_classes)
                pyro.factor("misread", -q.log_prob(told).where(known, 0.0), has_rsample=True)
                q = dist.OneHotCategorical(probs=torch.where(known[:, None], told, q.probs))
            y = pyro.sample("y", q)
            pyro.sample("z", self.encoder(_beside(h, y)))

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q(y | x), and q(z | x, y) of the most probable y."""
        h = self.features(x)
        q = dist.OneHotCategorical(logits=at_least_single(self.classifier(h)))
        return {"y": q, "z": self.encoder(torch.cat([h, self.one_hot[q.logits.argmax(-1)]], -1))}

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Refuse what is no distribution over the classes."""
        if name == "y":
            check_probabilities(name, value, self.num_classes)

    def objective(self) -> EnumeratedELBO:
        """The bound, its sum over the classes exact."""
        return EnumeratedELBO(self.beta, factors={"misread": self.alpha})


def _beside(left: Tensor, right: Tensor) -> Tensor:
    """Both along the last dimension, for any batch dimensions."""
    batch = torch.broadcast_shapes(left.shape[:-1], right.shape[:-1])
    return torch.cat([left.expand(*batch, -1), right.expand(*batch, -1)], -1)
