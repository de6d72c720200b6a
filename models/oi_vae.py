"""oi-VAE, output interpretable VAE [Ainsworth et al., 2018]: which latent moves which outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from ppl_disentangle.conditionals import Conditional, Gaussian
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import SparsityELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.networks import Networks

__all__ = ["GroupReaders", "OIVAE"]


class GroupReaders(nn.Module):
    r"""A network for each group of outputs, which reads the code through its own matrix.

    .. math:: x^g = f^g(W^g z)

    Args:
        latent_dim: Number of coordinates of z.
        networks: Networks :math:`f^g`, each from ``(batch, width)`` to the outputs of its group.
        width: Number of rows of each matrix :math:`W^g`.
        shape: Shape of all outputs together; by default they stay side by side in one dimension.

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
        readers_and_networks = zip(self.readers, self.networks, strict=True)
        outputs = torch.cat([network(reader(z)) for reader, network in readers_and_networks], -1)
        return outputs if self.shape is None else outputs.unflatten(-1, self.shape)

    def columns(self) -> list[Tensor]:
        """The matrices :math:`W^g`, each of shape ``(width, latent_dim)``."""
        named = self.readers.named_parameters()
        return [weight for name, weight in named if name.endswith("weight")]

    def influence(self) -> Tensor:
        """Norm of the column by which each latent enters each group, ``(groups, latent_dim)``."""
        return torch.stack([weight.detach().norm(dim=0) for weight in self.columns()])


class OIVAE(IsotropicVAE):
    r"""Finds which coordinate of a code moves which group of features, such as joints of a body.

    .. math:: \mathbb E \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \lambda \sum_g \sum_d \|W^g_{\cdot d}\|_2

    The decoder has one network for each group of features, which reads few coordinates of the code.

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.SparsityELBO`. In [1] proximal steps take the
      place of the penalty; see :func:`~ppl_disentangle.inference.shrink_columns`, which makes small
      columns exactly zero.
    - Data: images or vectors whose features come in groups, without labels; for example the joints
      of a body, or the channels of a region.
    - For: saying which coordinate of a code affects which group. Give the optimiser weight decay:
      otherwise the networks of the groups undo the penalty by growing.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: Conditional whose ``net`` is a :class:`GroupReaders`; ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        group_lasso: Weight lambda, in nats per datum and unit of the weights.
        beta: Weight of the divergence.

    Raises:
        TypeError: The decoder has another network.

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
        net = decoder.net if isinstance(decoder, Conditional) else None
        if not isinstance(net, GroupReaders):
            raise TypeError(
                f"expected a decoder whose net is a GroupReaders, got {type(net).__name__}"
            )
        self.readers = net
        self.group_lasso = group_lasso
        self.beta = beta

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
        """Build the story for ``data``, with a fresh encoder and one small network per group.

        Args:
            data: Observations. Their features, flattened, are cut into groups of the same size;
                the groups of an image are bands of rows.
            networks: Makes the encoder and the likelihood.
            latent_dim: Number of coordinates of z.
            groups: Number of groups.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: The number of groups does not divide the number of features.
        """
        size, rest = divmod(math.prod(data.observation_shape), groups)
        if rest:
            fitting = [k for k in range(1, groups) if math.prod(data.observation_shape) % k == 0]
            raise ValueError(
                f"{cls.__name__}: {groups} groups do not divide the features of"
                f" {data.observation_shape}; set groups={fitting[-1]}"
            )
        width = 32
        group_networks = [_group_network(width, size) for _ in range(groups)]
        readers = GroupReaders(latent_dim, group_networks, width, shape=data.observation_shape)
        decoder = networks.observed_through(readers)
        return cls(Gaussian(networks.encoder(2 * latent_dim)), decoder, latent_dim, **hyper)

    def objective(self) -> SparsityELBO:
        """The bound less the norms of the columns."""
        return SparsityELBO(self.beta, group_lasso=self.group_lasso, columns=self.readers.columns)


def _group_network(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Tanh(), nn.Linear(inputs, 64), nn.Tanh(), nn.Linear(64, outputs))
