"""The abstract story of groups: a content that the group shares, and a style of each member."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import ELBO
from torch import Tensor, nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset, sharing
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["ContentStyleVAE", "normals_by_member", "product_of_members"]


class ContentStyleVAE(GenerativeStory):
    r"""Abstract: groups of observations that share a content and differ in style.

    .. math:: c_g \sim \mathcal N(0, I), \quad s_{gm} \sim \mathcal N(0, I), \quad
       x_{gm} \mid c_g, s_{gm} \sim p(x \mid c, s)

    Data are groups ``(batch, members, *event)``, such as :func:`~ppl_disentangle.data.sharing`
    draws. A single observation is a group of one member.

    By default the content of a group is read from its first member alone, and has to serve for the
    other members. For pairs in random order this has the effect of swapping contents.

    Implementing one: define ``objective``. Hooks with a default: :meth:`content_of_group`, to read
    contents in another way; :meth:`extend_guide`, for further statements about a group; and
    :meth:`extra_arguments`, for arguments of ``__init__`` that depend on the data, such as a
    critic.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"style"``.
        decoder: ``decoder(h)`` is p(x | c, s), for h the content followed by the style. It takes
            any batch dimensions.
        event_dim: Number of dimensions of one observation; groups have one dimension more.
        shared: Names of the factors that the groups of :meth:`training_data` share; by default the
            first factor of the data.

    Raises:
        ValueError: The encoder has other groups.
    """

    latents = ("content", "style")
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        *,
        event_dim: int = 3,
        shared: Sequence[str] = (),
    ) -> None:
        super().__init__()
        encoder.check_groups(*self.latents)
        self.encoder = encoder
        self.decoder = decoder
        self.event_dim = event_dim
        self.shared = tuple(shared)
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
        """Build the story for groups drawn from ``data``, with a fresh encoder and decoder.

        Args:
            data: Observations with factors.
            networks: Makes the encoder and the decoder.
            shared: Names of the factors that groups share; by default the first factor.
            content_dim: Number of coordinates of the content.
            style_dim: Number of coordinates of the style.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: The data have no factors.
        """
        if not data.space:
            raise ValueError(
                f"{cls.__name__} needs groups that share a factor: {data.name} has no factors"
            )
        network = networks.encoder(2 * (content_dim + style_dim))
        encoder = Grouped(network, {"content": content_dim, "style": style_dim})
        return cls(
            encoder,
            networks.decoder(content_dim + style_dim),
            event_dim=len(data.observation_shape),
            shared=tuple(shared) or data.factor_names[:1],
            **cls.extra_arguments(data),
            **hyper,
        )

    @classmethod
    def extra_arguments(cls, data: FactorDataset) -> dict[str, Any]:
        """Further arguments that ``for_data`` passes to ``__init__``; none by default."""
        return {}

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many pairs as there are data, which share the factors :attr:`shared`."""
        return sharing(data, self.shared or data.factor_names[:1])

    def model(self, x: Tensor | None = None, *, batch_size: int = 1) -> Tensor:
        """p(x, c, s). The members of groups come first: ``(members, batch, *event)``."""
        with self.data_plate(x, batch_size):
            content = pyro.sample("content", self._standard_normal("content"))
            if x is None or not self._are_groups(x):
                return self._member(content, x)
            members = x.transpose(0, 1)
            with pyro.plate("members", len(members), dim=-2):
                # (members, batch, dim): every member has the content of its group
                contents = content.expand(len(members), *content.shape[-2:])
                return self._member(contents, members)

    def _member(self, content: Tensor, x: Tensor | None) -> Tensor:
        """p(x, s | c) of one member of each group, or of all members in their plate."""
        style = pyro.sample("style", self._standard_normal("style"))
        content = content.expand(*style.shape[:-1], content.shape[-1])
        return pyro.sample("x", self.decoder(torch.cat([content, style], -1)), obs=x)

    def _standard_normal(self, name: str) -> TorchDistribution:
        return dist.Normal(self.zeros.expand(self.encoder.groups[name]), 1.0).to_event(1)

    def guide(self, x: Tensor) -> None:
        """q(c | x of all members), q(s | x)."""
        if self._are_groups(x):
            self._guide_of_groups(x)
            return
        posterior = self.encoder(x)
        with self.data_plate(x):
            pyro.sample("content", posterior["content"])
            pyro.sample("style", posterior["style"])

    def _guide_of_groups(self, x: Tensor) -> None:
        num_members = x.shape[1]
        posterior = self.encoder(x.transpose(0, 1).flatten(0, 1))
        content_of_members = normals_by_member(posterior["content"], num_members)
        style_of_members = normals_by_member(posterior["style"], num_members)
        with self.data_plate(x):
            content = pyro.sample("content", self.content_of_group(content_of_members))
            with pyro.plate("members", num_members, dim=-2):
                style = pyro.sample("style", style_of_members.to_event(1))
            self.extend_guide(content, style)

    def extend_guide(self, content: Tensor, style: Tensor) -> None:
        """Add statements about groups to the guide, inside the plate of data; none by default.

        Args:
            content: Contents drawn for the groups, ``(batch, dim)``.
            style: Styles drawn for the members, ``(members, batch, dim)``.
        """

    def content_of_group(self, members: dist.Normal) -> TorchDistribution:
        """q(c | x of all members), with events of shape ``(dim,)``; by default of the first member.

        Args:
            members: q(c | x) of each member, ``(members, batch, dim)``.
        """
        return dist.Normal(members.loc[0], members.scale[0]).to_event(1)

    def _are_groups(self, x: Tensor) -> bool:
        """Whether observations are groups, ``(batch, members, *event)``, or single."""
        return x.dim() == 2 + self.event_dim

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""


def normals_by_member(posterior: TorchDistribution, num_members: int) -> dist.Normal:
    """Normals of shape ``(members * batch, dim)`` as ``(members, batch, dim)``."""
    normal = posterior.base_dist
    shape = (num_members, -1)
    return dist.Normal(normal.loc.unflatten(0, shape), normal.scale.unflatten(0, shape))


def product_of_members(posteriors: dist.Normal) -> TorchDistribution:
    """The normalised product over the first dimension of normals ``(members, batch, dim)``."""
    precision = posteriors.scale.square().reciprocal()
    total = precision.sum(0)
    loc = (precision * posteriors.loc).sum(0) / total
    return dist.Normal(loc, total.rsqrt()).to_event(1)
