"""ML-VAE [Bouchacourt et al., 2018]: a content that a group shares, and a style of each member."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset, sharing
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.schedules import Weight
from ppl_disentangle.network_choice import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["MLVAE", "product_of_members"]


class MLVAE(GenerativeStory):
    r"""Groups of observations that share a content and differ in style.

    .. math:: c_g \sim \mathcal N(0, I), \quad s_{gm} \sim \mathcal N(0, I), \quad x_{gm} \mid c_g, s_{gm} \sim
       p(x \mid c, s), \qquad q(c_g \mid x_{g\cdot}) \propto \prod_m q(c \mid x_{gm})

    - Story: above; one content a group, and one divergence of it.
    - Guide: above, a product of normals, and q(s | x). Of single observations the group is one.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: groups ``(batch, members, *event)``, such as of :func:`~ppl_disentangle.data.sharing`; single observations
      are taken as they are.
    - For: data that are known to be alike in something, such as pictures of one person.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"style"``.
        decoder: ``decoder(h)`` is p(x | c, s), h the content followed by the style.
        event_dim: number of dimensions of one observation, by which groups are told from single ones.
        beta: weight of the divergences; 1 in [1].
        warm_up: steps over which the weight rises from 0.

    Raises:
        ValueError: an encoder of other groups.

    References:
        [1] Bouchacourt et al., 2018. https://arxiv.org/abs/1705.08841

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> encoder = Grouped(nn.Linear(6, 10), {"content": 3, "style": 2})
        >>> story = MLVAE(encoder, Bernoulli(nn.Linear(5, 6)), event_dim=1)
        >>> story.model(torch.zeros(8, 4, 6)).shape  # members, then groups
        torch.Size([4, 8, 6])
    """

    latents = ("content", "style")
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self, encoder: Grouped, decoder: nn.Module, *, event_dim: int = 3, beta: Weight = 1.0, warm_up: int = 0
    ) -> None:
        super().__init__()
        if tuple(encoder.groups) != self.latents or encoder.classes:
            given = {**encoder.groups, **encoder.classes}
            raise ValueError(f"expected an encoder of the groups 'content' and 'style', got {given}")
        self.encoder, self.decoder, self.event_dim = encoder, decoder, event_dim
        self.beta, self.warm_up = beta, warm_up
        self.register_buffer("zeros", torch.zeros(()), persistent=False)

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        shared: Sequence[str] = (),
        content_dim: int = 5,
        style_dim: int = 5,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors.
            networks: what encoder and decoder are made by.
            shared: names of the factors that groups share; by default the first.
            content_dim: coordinates of the content.
            style_dim: coordinates of the style.
            **hyper: of the story.

        Raises:
            ValueError: data without factors.
        """
        if not data.space:
            raise ValueError(f"{cls.__name__} needs groups that share a factor: {data.name} has no factors")
        encoder = Grouped(networks.encoder(2 * (content_dim + style_dim)), {"content": content_dim, "style": style_dim})
        story = cls(encoder, networks.decoder(content_dim + style_dim), event_dim=len(data.observation_shape), **hyper)
        story.shared = tuple(shared) or data.factor_names[:1]
        return story

    shared: tuple[str, ...] = ()
    """Names of the factors that the groups of :meth:`training_data` share."""

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many pairs as there are data, which share :attr:`shared`, or the first factor."""
        return sharing(data, self.shared or data.factor_names[:1])

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, c, s). Observations of groups come back as ``(members, batch, *event)``."""
        members = None if x is None else self._members(x)
        with self.data_plate(x, batch_size):
            content = pyro.sample("content", self._prior("content"))
            if members is None or members is x:
                return self._member(content, x)
            with pyro.plate("members", len(members), dim=-2):
                return self._member(content.expand(len(members), *content.shape[-2:]), members)

    def _member(self, content: Tensor, x: Tensor | None) -> Tensor:
        style = pyro.sample("style", self._prior("style"))
        content = content.expand(*style.shape[:-1], content.shape[-1])
        return pyro.sample("x", self.decoder(torch.cat([content, style], -1)), obs=x)

    def _prior(self, name: str) -> TorchDistribution:
        return dist.Normal(self.zeros.expand(self.encoder.groups[name]), 1.0).to_event(1)

    def guide(self, x: Tensor) -> None:
        """q(c | x of all members), q(s | x)."""
        members = self._members(x)
        posterior = self.encoder(x if members is x else members.flatten(0, 1))
        content, style = posterior["content"], posterior["style"]
        with self.data_plate(x):
            if members is x:
                pyro.sample("content", content)
                pyro.sample("style", style)
                return
            pyro.sample("content", product_of_members(_in_groups(content, len(members))))
            with pyro.plate("members", len(members), dim=-2):
                pyro.sample("style", _in_groups(style, len(members)).to_event(1))

    def _members(self, x: Tensor) -> Tensor:
        """Groups as ``(members, batch, *event)``; single observations as they are."""
        if x.dim() == 2 + self.event_dim:
            return x.transpose(0, 1)
        return x

    def objective(self) -> BetaELBO:
        """The evidence lower bound of groups."""
        return BetaELBO(self.beta, warm_up=self.warm_up)


def _in_groups(posterior: TorchDistribution, members: int) -> dist.Normal:
    """Normals of all members, ``(members, batch, dim)``."""
    q = posterior.base_dist
    return dist.Normal(q.loc.unflatten(0, (members, -1)), q.scale.unflatten(0, (members, -1)))


def product_of_members(posteriors: dist.Normal) -> TorchDistribution:
    """The normalised product over the members."""
    precision = posteriors.scale.square().reciprocal()
    total = precision.sum(0)
    return dist.Normal((precision * posteriors.loc).sum(0) / total, total.rsqrt()).to_event(1)
