"""The story of groups that are alike in something: a content that a group shares, and a style of each member."""

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

__all__ = ["ContentStyleVAE"]


class ContentStyleVAE(GenerativeStory):
    r"""Groups of observations that share a content and differ in style. Abstract.

    .. math:: c_g \sim \mathcal N(0, I), \quad s_{gm} \sim \mathcal N(0, I), \quad x_{gm} \mid c_g, s_{gm} \sim
       p(x \mid c, s)

    Data are groups ``(batch, members, *event)``, such as of :func:`~ppl_disentangle.data.sharing`; single observations
    are groups of one.

    The content of a group is read from its first member, and has to do for the others. Of pairs whose order is random
    this is as good as swapping contents.

    Implementing one: define ``objective``; :meth:`content_of_group` where contents are read otherwise, and
    :meth:`state` for what else is to hold of groups.

    Args:
        encoder: ``encoder(x)`` has the groups ``"content"`` and ``"style"``.
        decoder: ``decoder(h)`` is p(x | c, s), h the content followed by the style; it takes any batch dimensions.
        event_dim: number of dimensions of one observation, by which groups are told from single ones.

    Raises:
        ValueError: an encoder of other groups.
    """

    latents = ("content", "style")
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(self, encoder: Grouped, decoder: nn.Module, *, event_dim: int = 3) -> None:
        super().__init__()
        encoder.check_groups(*self.latents)
        self.encoder, self.decoder, self.event_dim = encoder, decoder, event_dim
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
            raise ValueError(
                f"{cls.__name__} needs groups that share a factor: {data.name} has no factors"
            )
        encoder = Grouped(
            networks.encoder(2 * (content_dim + style_dim)),
            {"content": content_dim, "style": style_dim},
        )
        story = cls(
            encoder,
            networks.decoder(content_dim + style_dim),
            event_dim=len(data.observation_shape),
            **cls.made_of(data),
            **hyper,
        )
        story.shared = tuple(shared) or data.factor_names[:1]
        return story

    @classmethod
    def made_of(cls, data: FactorDataset) -> dict[str, Any]:
        """What else a story for ``data`` is made of, such as a critic; nothing here."""
        return {}

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
            shared = pyro.sample(
                "content", self.content_of_group(_in_groups(content, len(members)))
            )
            with pyro.plate("members", len(members), dim=-2):
                own = pyro.sample("style", _in_groups(style, len(members)).to_event(1))
            self.state(shared, own)

    def state(self, content: Tensor, style: Tensor) -> None:
        """State in the guide what else is to hold of groups, inside of the plate over them; nothing here.

        Args:
            content: draws of the contents, ``(batch, dim)``.
            style: draws of the styles, ``(members, batch, dim)``.
        """

    def content_of_group(self, members: dist.Normal) -> TorchDistribution:
        """q(c | x of a group), events of shape ``(dim,)``, from q(c | x) of each, ``(members, batch, dim)``."""
        return dist.Normal(members.loc[0], members.scale[0]).to_event(1)

    def _members(self, x: Tensor) -> Tensor:
        """Groups as ``(members, batch, *event)``; single observations as they are."""
        return x.transpose(0, 1) if x.dim() == 2 + self.event_dim else x

    @abc.abstractmethod
    def objective(self) -> ELBO:
        """The published objective with its published weights."""


def _in_groups(posterior: TorchDistribution, members: int) -> dist.Normal:
    """Normals of all members, ``(members, batch, dim)``."""
    q = posterior.base_dist
    return dist.Normal(q.loc.unflatten(0, (members, -1)), q.scale.unflatten(0, (members, -1)))
