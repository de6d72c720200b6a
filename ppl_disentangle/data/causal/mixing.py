"""A fixed random network from the values of a graph's nodes to what is observed of them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies

__all__ = ["RandomMap"]


class RandomMap:
    r"""Observations in which every node is everywhere.

    .. math:: x = \sqrt{d / h}\; Q \tanh(W \tilde z)

    with the standardised values :math:`\tilde z` of k nodes, h = min(d, 4k) hidden units, W of independent normals with
    variance 1/k, and Q with orthonormal columns. It is one-to-one where d is at least k. Images, which have three
    dimensions, are the logistic function of this, hence in (0, 1).

    Args:
        mean: of each node, ``(k,)``.
        scale: standard deviation of each node, ``(k,)``.
        shape: of an observation; d is the product.
        generator: draws W and Q.

    Example:
        >>> mixing = RandomMap(torch.zeros(2), torch.ones(2), (3, 8, 8), torch.Generator().manual_seed(0))
        >>> mixing(torch.randn(5, 2)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self, mean: Tensor, scale: Tensor, shape: tuple[int, ...], generator: torch.Generator
    ) -> None:
        num_nodes, dim = len(mean), math.prod(shape)
        hidden = min(dim, 4 * num_nodes)
        self.shape = shape
        first = torch.randn(num_nodes, hidden, generator=generator) / math.sqrt(num_nodes)
        orthonormal = torch.linalg.qr(torch.randn(dim, hidden, generator=generator)).Q
        self._mean, self._first = (
            DeviceCopies(mean),
            DeviceCopies(first / torch.where(scale > 0, scale, 1)[:, None]),
        )
        self._second = DeviceCopies(math.sqrt(dim / hidden) * orthonormal.T.contiguous())

    def __call__(self, values: Tensor) -> Tensor:
        """Observations ``(batch, *shape)`` of values ``(batch, k)``."""
        mean, first, second = (
            stored.on(values.device) for stored in (self._mean, self._first, self._second)
        )
        x = ((values - mean) @ first).tanh() @ second
        return (x.sigmoid() if len(self.shape) == 3 else x).view(-1, *self.shape)
