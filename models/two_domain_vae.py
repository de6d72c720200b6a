"""A story of two domains, for DRIT's task [Lee et al., 2018]: a content that they share, and attributes of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset, partial_labels, with_conditions
from ppl_disentangle.inference import DomainELBO, critic_network
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.networks import Networks
from ppl_disentangle.sites import state_auxiliary
from ppl_disentangle.story import GenerativeStory

__all__ = ["TwoDomainVAE"]


class TwoDomainVAE(GenerativeStory):
    r"""Data of two domains d that share a content and have attributes of their own; nobody knows which belong together.

    .. math:: c \sim \mathcal N(0, I), \quad a \mid d \sim \mathcal N(\mu_d, I), \quad x \mid c, a \sim p(x \mid c, a),
       \qquad q(c \mid x)\, q(a \mid x)

    Whatever differs between domains is an attribute. Two things hold it out of the content: a critic that must not tell
    d by c, and the cross cycle: a datum that is drawn with the attributes of another and read back must have kept the
    content from which, with its own attributes, it is drawn:

    .. math:: -\gamma\, \mathbb E \log p(x \mid c(\tilde x), a), \qquad \tilde x = \mathbb E[x \mid c, a_h]

    - Story, guide: above. DRIT itself has no likelihood, an encoder and a generator for each domain, and critics of
      images besides; this is its model with a bound in their place.
    - Objective: :class:`~ppl_disentangle.inference.DomainELBO`; each call has a critic of its own. The cross cycle is a
      ``pyro.factor`` of the guide.
    - Data: observations that are told their domain, ``with_conditions(data, domain=…)`` of shape ``(num_data, 1)``, 0
      or 1. Without it a is drawn from either.
    - For: carrying data over to the other domain, by :meth:`translate`, and what was learned in one of them. What the
      domains share is free to be in the attributes where these have room for it: give them few coordinates.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"attribute"``.
        decoder: ``decoder(h)`` is p(x | c, a), h the content followed by the attribute.
        beta: weight of the divergences.
        weight: of what the pair loses to the critic, in nats; a choice of ours, as is the next.
        cross_cycle: gamma.
        critic_options: options of the critic's optimiser.

    Raises:
        ValueError: an encoder of other groups; when called, domains of another shape.

    References:
        [1] Lee et al., 2018. https://arxiv.org/abs/1808.00948

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> encoder = Grouped(nn.Linear(6, 8), {"content": 3, "attribute": 1})
        >>> story = TwoDomainVAE(encoder, Bernoulli(nn.Linear(4, 6)))
        >>> story.translate(torch.zeros(5, 6), domain=1).shape
        torch.Size([5, 6])
    """

    latents = ("content", "attribute")
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        *,
        beta: Weight = 1.0,
        weight: Weight = 3.0,
        cross_cycle: Weight = 0.3,
        critic_options: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        encoder.check_groups(*self.latents)
        self.encoder, self.decoder = encoder, decoder
        self.beta, self.weight, self.cross_cycle, self.critic_options = (
            beta,
            weight,
            cross_cycle,
            critic_options,
        )
        self.centres = nn.Parameter(torch.randn(2, encoder.groups["attribute"]))
        self.register_buffer("zeros", torch.zeros(encoder.groups["content"]), persistent=False)

    factor: str = ""
    """Of which :meth:`training_data` takes the domains."""

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        factor: str = "",
        content_dim: int = 8,
        attribute_dim: int = 1,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors.
            networks: what encoder and decoder are made by.
            factor: the first half of its values are one domain, the others the other; by default the first that varies.
            content_dim: coordinates of the content.
            attribute_dim: coordinates of the attributes.
            **hyper: of the story.

        Raises:
            ValueError: data without such a factor.
        """
        varying = list(data.varying)
        if not varying or factor not in (*varying, ""):
            raise ValueError(
                f"{cls.__name__} needs a factor that tells domains: {data.name} has {varying}, not {factor!r}"
            )
        dim = content_dim + attribute_dim
        encoder = Grouped(
            networks.encoder(2 * dim), {"content": content_dim, "attribute": attribute_dim}
        )
        story = cls(encoder, networks.decoder(dim), **hyper)
        story.factor = factor or varying[0]
        return story

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data, of which the first half of the values of :attr:`factor` are one domain."""
        classes = partial_labels(data, [self.factor]).values
        size = data.factor_sizes[data.factor_names.index(self.factor)]
        return with_conditions(data, domain=(classes >= size / 2).float())

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, domain: Tensor | None = None
    ) -> Tensor:
        """p(x, c, a)."""
        with self.data_plate(x, batch_size):
            content = pyro.sample("content", dist.Normal(self.zeros, 1.0).to_event(1))
            attribute = pyro.sample("attribute", self.attributes(domain))
            return pyro.sample("x", self.decoder(torch.cat([content, attribute], -1)), obs=x)

    def attributes(self, domain: Tensor | None) -> TorchDistribution:
        """p(a | d), for d of shape ``(batch, 1)``, or p(a)."""
        if domain is None:
            even = dist.Categorical(logits=torch.zeros_like(self.centres[:, 0]))
            return dist.MixtureSameFamily(even, dist.Normal(self.centres, 1.0).to_event(1))
        if domain.dim() != 2 or domain.shape[-1] != 1:
            raise ValueError(
                f"expected domains of shape (batch, 1), 0 or 1, got {tuple(domain.shape)}"
            )
        return dist.Normal(torch.lerp(self.centres[0], self.centres[1], domain), 1.0).to_event(1)

    def guide(self, x: Tensor, *, domain: Tensor | None = None) -> None:
        """q(c | x), q(a | x); of data that are told their domain, this and the cross cycle."""
        with self.data_plate(x):
            content, attribute = (pyro.sample(name, q) for name, q in self.encoder(x).items())
            if domain is not None:
                state_auxiliary("domain_of", domain[:, 0], event_dim=0)
                pyro.factor(
                    "cross_cycle", -self.carried_back(x, content, attribute), has_rsample=True
                )

    def carried_back(self, x: Tensor, content: Tensor, attribute: Tensor) -> Tensor:
        """log p(x | the content that is left when it was drawn with the attributes of the datum before)."""
        carried = self.decoder(torch.cat([content, attribute.roll(1, 0)], -1)).mean
        left = self.encoder(carried)["content"].mean
        return self.decoder(torch.cat([left, attribute], -1)).log_prob(x)

    def translate(self, x: Tensor, domain: int) -> Tensor:
        """Mean of p(x | c, a) at the content of x and the typical attributes of a domain, 0 or 1."""
        content = self.encoder(x)["content"].mean
        return self.decoder(torch.cat([content, self.centres[domain].expand(len(x), -1)], -1)).mean

    def objective(self) -> DomainELBO:
        """The bound, the cross cycle, and the game over contents."""
        critic = critic_network(self.encoder.groups["content"], hidden=256, layers=3)
        weights = {"cross_cycle": self.cross_cycle}
        options = self.critic_options
        return DomainELBO(
            critic, "content", self.beta, self.weight, factors=weights, critic_options=options
        )
