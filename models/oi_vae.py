"""oi-VAE, output interpretable VAE [Ainsworth et al., 2018]: which latent moves which group of outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import SparsityELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.networks import Networks

__all__ = ["GroupReaders", "OIVAE"]


class GroupReaders(nn.Module):
    r"""A network for each group of outputs, which reads the code by a matrix of its own.

    .. math:: x^g = f^g(W^g z)

    Args:
        latent_dim: number of coordinates of z.
        networks: :math:`f^g`, each from ``(batch, width)`` to its outputs.
        width: number of rows of each :math:`W^g`.
        shape: of all outputs; by default one dimension.

    Example:
        >>> readers = GroupReaders(4, [nn.Linear(8, 5), nn.Linear(8, 3)], 8)
        >>> readers(torch.zeros(7, 4)).shape, readers.influence().shape
        (torch.Size([7, 8]), torch.Size([2, 4]))
    """

    def __init__(
        self,
        latent_dim: int,
        networks: Sequence[nn.Module],
        width: int,
        *,
        shape: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.shape = None if shape is None else tuple(shape)
        self.readers = nn.ModuleList(nn.Linear(latent_dim, width, bias=False) for _ in networks)
        self.networks = nn.ModuleList(networks)

    def forward(self, z: Tensor) -> Tensor:
        """All outputs side by side, group by group."""
        parts = zip(self.readers, self.networks, strict=True)
        outputs = torch.cat([network(reader(z)) for reader, network in parts], -1)
        return outputs if self.shape is None else outputs.unflatten(-1, self.shape)

    def columns(self) -> list[Tensor]:
        """The matrices :math:`W^g`, of shape ``(width, latent_dim)``."""
        return [
            weight for name, weight in self.readers.named_parameters() if name.endswith("weight")
        ]

    def influence(self) -> Tensor:
        """The norm of the column by which each latent enters each group: ``(groups, latent_dim)``."""
        return torch.stack([weight.detach().norm(dim=0) for weight in self.columns()])


class OIVAE(IsotropicVAE):
    r"""The isotropic story with a decoder in groups, each of which reads few coordinates of the code.

    .. math:: \mathbb E \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - \lambda \sum_g \sum_d
       \|W^g_{\cdot d}\|_2

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.SparsityELBO`; [1] takes proximal steps, see
      :func:`~ppl_disentangle.inference.shrink_columns`, which makes small columns exactly zero.
    - Data: observations whose features come in groups, such as the joints of a body or the channels of a region.
    - For: saying which coordinate of a code tells of which group. The networks of the groups must not undo the penalty
      by growing: give the optimiser weight decay.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`; its ``net`` is a :class:`GroupReaders`.
        latent_dim: as in :class:`IsotropicVAE`.
        group_lasso: lambda, in nats per datum and unit of the weights.
        beta: weight of the divergence.

    Raises:
        TypeError: a decoder of another network.

    References:
        [1] Ainsworth et al., 2018. https://arxiv.org/abs/1802.06765
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        group_lasso: Weight = 1.0,
        beta: Weight = 1.0,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        net = getattr(decoder, "net", None)
        if not isinstance(net, GroupReaders):
            raise TypeError(
                f"expected a decoder whose net is a GroupReaders, got {type(net).__name__}"
            )
        self.readers, self.group_lasso, self.beta = net, group_lasso, beta

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        latent_dim: int = 10,
        groups: int = 8,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: whose features, flattened, are cut into groups of the same size: bands of rows of an image.
            networks: what the encoder is made by, and the likelihood.
            latent_dim: number of coordinates of z.
            groups: number of groups.
            **hyper: of the story.

        Raises:
            ValueError: features that cannot be cut so.
        """
        size, rest = divmod(math.prod(data.observation_shape), groups)
        if rest:
            raise ValueError(
                f"{cls.__name__}: {groups} groups do not divide the features of {data.observation_shape}"
            )
        parts = [
            nn.Sequential(nn.Tanh(), nn.Linear(32, 64), nn.Tanh(), nn.Linear(64, size))
            for _ in range(groups)
        ]
        decoder = networks.likelihood(
            GroupReaders(latent_dim, parts, 32, shape=data.observation_shape)
        )
        return cls(Gaussian(networks.encoder(2 * latent_dim)), decoder, latent_dim, **hyper)

    def objective(self) -> SparsityELBO:
        """The bound less the norms of the columns."""
        return SparsityELBO(self.beta, group_lasso=self.group_lasso, columns=self.readers.columns)
