"""A story of two domains for DRIT's task [Lee et al., 2018]: shared content, own attributes."""

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
    r"""Separates the content that two domains share from attributes, from unpaired data of both.

    .. math:: c \sim \mathcal N(0, I), \quad a \mid d \sim \mathcal N(\mu_d, I), \quad
       x \mid c, a \sim p(x \mid c, a), \qquad q(c \mid x)\, q(a \mid x)

    Whatever differs between the domains d is an attribute. Two terms keep it out of the content.
    One is a critic, which must not be able to infer d from c. The other is the cross cycle: a datum
    is generated again with the attributes a_h of another datum h, and read back. The content that
    is read back, with the original attributes, must generate the original datum:

    .. math:: -\gamma\, \mathbb E \log p(x \mid c(\tilde x), a), \qquad
       \tilde x = \mathbb E[x \mid c, a_h]

    - Story, guide: Above. DRIT itself has no likelihood, has an encoder and a generator for each
      domain, and further critics of images. This story does its task with a bound in their place.
    - Objective: :class:`~ppl_disentangle.inference.DomainELBO`. Each call of ``objective`` makes a
      new critic. The cross cycle is a ``pyro.factor`` of the guide.
    - Data: the domain of each observation: ``with_conditions(data, domain=…)`` of shape
      ``(num_data, 1)``, 0 or 1. Without it, a has the mixture of both domains as its prior.
    - For: carrying data over to the other domain, by :meth:`translate`, and using in one domain
      predictors trained in the other. Nothing keeps shared content out of the attributes if these
      have room for it: give them few coordinates.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"attribute"``.
        decoder: ``decoder(h)`` is p(x | c, a), for h the content followed by the attribute.
        beta: Weight of the divergences.
        weight: Weight of the loss to the critic, in nats. This default and the next are not from
            [1].
        cross_cycle: Weight gamma of the cross cycle.
        critic_options: Options of the critic's optimiser.
        factor: Name of the factor from which :meth:`training_data` makes the domains.

    Raises:
        ValueError: The encoder has other groups; when called, domains have another shape.

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
        factor: str = "",
    ) -> None:
        super().__init__()
        encoder.check_groups(*self.latents)
        self.encoder = encoder
        self.decoder = decoder
        self.beta = beta
        self.weight = weight
        self.cross_cycle = cross_cycle
        self.critic_options = critic_options
        self.factor = factor
        self.centres = nn.Parameter(torch.randn(2, encoder.groups["attribute"]))
        self.register_buffer("zeros", torch.zeros(encoder.groups["content"]), persistent=False)

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
        """Build the story for ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations with factors.
            networks: Makes the encoder and the decoder.
            factor: Name of the factor whose values are split in half, one half for each domain; by
                default the first that varies.
            content_dim: Number of coordinates of the content.
            attribute_dim: Number of coordinates of the attributes.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor of the data varies, or none has this name.
        """
        varying = list(data.varying)
        if not varying or factor not in (*varying, ""):
            raise ValueError(
                f"{cls.__name__} needs a factor that separates domains: {data.name} has {varying},"
                f" not {factor!r}"
            )
        dim = content_dim + attribute_dim
        groups = {"content": content_dim, "attribute": attribute_dim}
        encoder = Grouped(networks.encoder(2 * dim), groups)
        return cls(encoder, networks.decoder(dim), factor=factor or varying[0], **hyper)

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data with their domain, 1 for the upper half of the values of :attr:`factor`."""
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
        """p(a | d) for domains of shape ``(batch, 1)``; p(a) without them."""
        if domain is None:
            even = dist.Categorical(logits=torch.zeros_like(self.centres[:, 0]))
            return dist.MixtureSameFamily(even, dist.Normal(self.centres, 1.0).to_event(1))
        if domain.dim() != 2 or domain.shape[-1] != 1:
            raise ValueError(
                f"expected domains of shape (batch, 1), 0 or 1, got {tuple(domain.shape)}"
            )
        return dist.Normal(torch.lerp(self.centres[0], self.centres[1], domain), 1.0).to_event(1)

    def guide(self, x: Tensor, *, domain: Tensor | None = None) -> None:
        """q(c | x), q(a | x); where the domain is known, also the domain and the cross cycle."""
        posterior = self.encoder(x)
        with self.data_plate(x):
            content = pyro.sample("content", posterior["content"])
            attribute = pyro.sample("attribute", posterior["attribute"])
            if domain is not None:
                state_auxiliary("domain_of", domain[:, 0], event_dim=0)
                log_likelihood = self.cycled_log_likelihood(x, content, attribute)
                pyro.factor("cross_cycle", -log_likelihood, has_rsample=True)

    def cycled_log_likelihood(self, x: Tensor, content: Tensor, attribute: Tensor) -> Tensor:
        """log p(x | c, a), for the content c read back from x generated with other attributes.

        The other attributes of a datum are the attributes of the datum before it in the batch.
        """
        other_attribute = attribute.roll(1, 0)
        carried_over = self.decoder(torch.cat([content, other_attribute], -1)).mean
        content_read_back = self.encoder(carried_over)["content"].mean
        return self.decoder(torch.cat([content_read_back, attribute], -1)).log_prob(x)

    def translate(self, x: Tensor, domain: int) -> Tensor:
        """The mean of x in a domain, 0 or 1: with its content and the domain's mean attributes."""
        content = self.encoder(x)["content"].mean
        attribute = self.centres[domain].expand(len(x), -1)
        return self.decoder(torch.cat([content, attribute], -1)).mean

    def objective(self) -> DomainELBO:
        """The bound, the cross cycle, and the game over contents against a new critic."""
        critic = critic_network(self.encoder.groups["content"], hidden=256, layers=3)
        weights = {"cross_cycle": self.cross_cycle}
        options = self.critic_options
        return DomainELBO(
            critic, "content", self.beta, self.weight, factors=weights, critic_options=options
        )
