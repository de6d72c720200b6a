"""The Hausdorff factorised support: all combinations of values of the latents must occur."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import pairs_by_plate
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import local_bound_terms

__all__ = ["HausdorffELBO", "support_distance"]

MAX_ELEMENTS = 2**24
"""Distances held at once: 64 MiB of float32. More corners of the product are split into blocks."""


class HausdorffELBO(DecomposedELBO):
    r"""The beta-weighted bound with a support that factorises over the latents [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \gamma \sum_{(i, j)} \max_{a, b} \min_n \big((z_i^a - z_i^n)^2 + (z_j^b - z_j^n)^2\big)

    :math:`z^n` are the posteriors' means in the batch; a, b and n run over its data, (i, j) over
    pairs of coordinates that are drawn at each call. This asks for less than independence: factors
    may be correlated as long as all their combinations occur. Terms: ``"log_likelihood"``;
    ``"kl"``, negative, in closed form where torch knows it; ``"factorised_support"``, minus the sum
    of :func:`support_distance` over the pairs, times the number of data. The last is not part of
    the bound, and is left out if its weight is zero. It has the units of squared latents and
    vanishes if all means are equal: keep beta positive.

    Other implementations: By default the authors' public code takes the maximum over a hundred
    random corners, which is too small, and penalises the spread of the latents over the coordinates
    of each datum, where it should be over the data.

    Args:
        gamma: Weight of the distance. The authors' public code uses 1.
        beta: Weight of the KL.
        num_pairs: Number of pairs of coordinates. The authors' public code uses 25. If there are
            fewer, all are used.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: A weight is negative, ``num_pairs`` is not positive, the latents have only one
            coordinate, or the mean of a posterior has no closed form.

    References:
        [1] Roth et al., 2023. https://arxiv.org/abs/2210.07347

    Example:
        >>> HausdorffELBO(10.0)
        HausdorffELBO(kl=1.0, factorised_support=10.0, warm_up=0, num_pairs=25)
    """

    penalties: ClassVar[tuple[str, ...]] = ("factorised_support",)

    def __init__(
        self, gamma: Weight = 1.0, *, beta: Weight = 1.0, num_pairs: int = 25, **options: Any
    ) -> None:
        if num_pairs < 1:
            raise ValueError(f"expected num_pairs >= 1, got {num_pairs}")
        super().__init__({"kl": beta, "factorised_support": gamma}, **options)
        self.num_pairs = num_pairs

    def extra_repr(self) -> str:
        """The weights and the number of pairs, for checkpoints and tables."""
        return f"{super().extra_repr()}, num_pairs={self.num_pairs}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and negative KL in nats, and the negative distance in squared latents."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        terms = local_bound_terms(model_trace, pairs)
        if self.weights["factorised_support"] != 0:
            latents = pairs.latents()
            means = latents.means()
            if means.shape[-1] < 2:
                raise ValueError(
                    f"a product needs two coordinates; the latents {[q.name for q, _ in pairs.local]} have one"
                )
            distances = support_distance(means, self._pairs(means), mask=latents.present)
            terms["factorised_support"] = -latents.count * distances.sum()
        return terms

    def _pairs(self, means: Tensor) -> Tensor:
        """Random pairs of different coordinates, each at most once, of shape ``(2, pairs)``."""
        dim = means.shape[-1]
        pairs = torch.triu_indices(dim, dim, 1, device=means.device)
        if self.num_pairs >= pairs.shape[1]:
            return pairs
        keys = torch.rand(pairs.shape[1], device=means.device)
        return pairs[:, keys.topk(self.num_pairs).indices]


def support_distance(values: Tensor, pairs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    r"""The squared Hausdorff distance of the data from the product of their coordinates.

    .. math:: \max_{a, b} \min_n \big((z_i^a - z_i^n)^2 + (z_j^b - z_j^n)^2\big)

    The maximum is found in blocks without gradients, then computed with gradients for the maximiser
    alone: memory does not grow with the cube of the batch.

    Args:
        values: Latents z, of shape ``(…, batch, dim)``.
        pairs: Coordinates i and j, of shape ``(2, pairs)``.
        mask: Which data count, as a, as b and as n; bool of shape ``(batch,)``, or for each
            coordinate, of shape ``(…, batch, dim)``. Then a needs the first, b the second, and n
            both. By default all.

    Returns:
        Distances of shape ``(…, pairs)``; zero for a pair that no datum has.

    Example:
        >>> support_distance(torch.tensor([[0.0, 0.0], [3.0, 5.0]]), torch.tensor([[0], [1]]))
        tensor([9.])
    """
    first = values.mT[..., pairs[0], :]  # (…, pairs, batch)
    second = values.mT[..., pairs[1], :]
    masks = None if mask is None else _masks_of_pairs(mask, pairs, values.shape[-1])
    with torch.no_grad():
        a, b, n = _farthest_corner(first, second, masks)
    along_first = (first.gather(-1, a) - first.gather(-1, n)).square()
    along_second = (second.gather(-1, b) - second.gather(-1, n)).square()
    distance = (along_first + along_second).squeeze(-1)
    return distance if masks is None else distance.where((masks[0] & masks[1]).any(-1), 0.0)


def _masks_of_pairs(mask: Tensor, pairs: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Which data have the first, and which the second coordinate, of shape ``(…, pairs, batch)``."""
    by_coordinate = mask[:, None].expand(-1, dim) if mask.dim() == 1 else mask
    return by_coordinate.mT[..., pairs[0], :], by_coordinate.mT[..., pairs[1], :]


def _farthest_corner(
    first: Tensor, second: Tensor, masks: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The corner of the product that is farthest from all data.

    Args:
        first: The first coordinate, of shape ``(…, pairs, batch)``.
        second: The second coordinate, likewise.
        masks: Which data have each of them, likewise; ``None`` if all do.

    Returns:
        Indices a and b of the data that span the corner, and n of the datum nearest to it, each of
        shape ``(…, pairs, 1)``.
    """
    size = first.shape[-1]
    along_first = (first[..., :, None] - first[..., None, :]).square()  # (…, pairs, a, n)
    along_second = (second[..., :, None] - second[..., None, :]).square()  # (…, pairs, b, n)
    if masks is not None:
        both = (masks[0] & masks[1]).unsqueeze(-2)
        along_first = along_first.where(both, torch.inf)  # a masked datum is never the nearest
    distances = _distances_to_data(along_first, along_second)
    if masks is not None:  # nor does it span a corner
        distances = distances.where(masks[0].unsqueeze(-1) & masks[1].unsqueeze(-2), -1.0)
    corner = distances.flatten(-2).argmax(-1, keepdim=True)
    a = corner // size
    b = corner % size
    n = (_row(along_first, a) + _row(along_second, b)).argmin(-1, keepdim=True)
    return a, b, n


def _distances_to_data(along_first: Tensor, along_second: Tensor) -> Tensor:
    """Squared distance of each corner from the nearest datum, of shape ``(…, pairs, a, b)``.

    Args:
        along_first: Squared distances along the first coordinate, of shape ``(…, pairs, a, n)``.
        along_second: Squared distances along the second, of shape ``(…, pairs, b, n)``.
    """
    # Blocks of a, so that the tensor over (a, b, n) is never held at once.
    block_size = max(1, MAX_ELEMENTS // along_first.numel())
    nearest = []
    for block in along_first.split(block_size, -2):
        squared = block[..., :, None, :] + along_second[..., None, :, :]
        nearest.append(squared.amin(-1))
    return torch.cat(nearest, -2)


def _row(matrix: Tensor, index: Tensor) -> Tensor:
    """Row ``index`` of each matrix."""
    return matrix.take_along_dim(index.unsqueeze(-1), -2).squeeze(-2)
