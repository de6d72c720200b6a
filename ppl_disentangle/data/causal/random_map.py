"""A fixed random network from the node values of a causal model to observations."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies

__all__ = ["RandomMap"]


class RandomMap:
    r"""A random function from node values to observations that mixes all nodes in all coordinates.

    .. math:: x = \sqrt{d / h}\; Q \tanh(W \tilde z)

    with the standardised values :math:`\tilde z` of k nodes, h = min(d, 4k) hidden units, W of
    independent normals with variance 1/k, and Q with orthonormal columns. The function is
    one-to-one if d is at least k. Observations with three axes are images: the logistic function
    maps them to (0, 1).

    Args:
        mean: Mean of each node, ``(k,)``.
        scale: Standard deviation of each node, ``(k,)``.
        shape: Shape of an observation, with d entries.
        generator: Generator of W and Q.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> random_map = RandomMap(torch.zeros(2), torch.ones(2), (3, 8, 8), generator)
        >>> random_map(torch.randn(5, 2)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self, mean: Tensor, scale: Tensor, shape: tuple[int, ...], generator: torch.Generator
    ) -> None:
        num_nodes = len(mean)
        dim = math.prod(shape)
        hidden = min(dim, 4 * num_nodes)
        first = torch.randn(num_nodes, hidden, generator=generator) / math.sqrt(num_nodes)
        orthonormal = torch.linalg.qr(torch.randn(dim, hidden, generator=generator)).Q
        self.shape = shape
        self._mean = DeviceCopies(mean)
        self._first = DeviceCopies(first / torch.where(scale > 0, scale, 1)[:, None])
        self._second = DeviceCopies(math.sqrt(dim / hidden) * orthonormal.T.contiguous())

    def __call__(self, values: Tensor) -> Tensor:
        """Observations ``(batch, *shape)`` of node values ``(batch, k)``."""
        mean = self._mean.on(values.device)
        first = self._first.on(values.device)
        second = self._second.on(values.device)
        x = ((values - mean) @ first).tanh() @ second
        is_image = len(self.shape) == 3
        return (x.sigmoid() if is_image else x).view(-1, *self.shape)
