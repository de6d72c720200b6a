"""The objective of the Hausdorff factorised support: each value of a latent goes with each value of any other."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import bound_terms
from ppl_disentangle.sites import latent_sites

__all__ = ["HausdorffELBO", "support_distance"]

MAX_ELEMENTS = 2**24
"""Distances held at once, 64 MiB of float32; above, the corners of the product are taken in blocks."""


class HausdorffELBO(DecomposedELBO):
    r"""The beta-weighted bound with a support that is a product over the latents [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \gamma \sum_{(i, j)} \max_{a, b} \min_n \big((z_i^a - z_i^n)^2 + (z_j^b - z_j^n)^2\big)

    :math:`z^n` are the posteriors' means in the batch; a, b and n run over its data, (i, j) over pairs of coordinates
    that are drawn anew at each call. What is asked is less than independence: factors may be correlated as long as all
    of their combinations occur. Terms: ``"log_likelihood"``; ``"kl"``, negative, in closed form where torch knows it;
    ``"factorised_support"``, minus the sum of :func:`support_distance` over the pairs times the number of data, which
    is no part of the bound, and is left out where its weight is zero. It has the units of the latents squared, and
    vanishes where all means are equal: keep beta positive.

    Avoids: a maximum over a hundred corners drawn at random, which is too small, and a penalty on the spread of the
    latents that is taken over the coordinates of each datum instead of over the data (both defaults of the authors'
    public code).

    Args:
        gamma: weight of the distance to a product; 1 as in the authors' public code.
        beta: weight of the KL.
        num_pairs: number of pairs of coordinates, 25 as in the authors' public code; all if there are fewer.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: a weight is negative, ``num_pairs`` is not positive, the latents have one coordinate in all, or a
            posterior's mean has no closed form.

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
        """Log likelihood, negative KL and the negative distance to a product, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        terms = bound_terms(model_trace, sites)
        if self.weights["factorised_support"] != 0:
            means = latents.means()
            if means.shape[-1] < 2:
                raise ValueError(
                    f"a product needs two coordinates; the latents {[q.name for q, _ in sites]} have one"
                )
            distances = support_distance(means, self._pairs(means), mask=latents.mask)
            terms["factorised_support"] = -latents.count * distances.sum()
        return terms

    def _pairs(self, means: Tensor) -> Tensor:
        """Pairs of different coordinates, each at most once, of shape ``(2, pairs)``."""
        dim = means.shape[-1]
        pairs = torch.triu_indices(dim, dim, 1, device=means.device)
        if self.num_pairs >= pairs.shape[1]:
            return pairs
        return pairs[
            :, torch.rand(pairs.shape[1], device=means.device).topk(self.num_pairs).indices
        ]


def support_distance(values: Tensor, pairs: Tensor, *, mask: Tensor | None = None) -> Tensor:
    r"""The squared Hausdorff distance from the data to the product of their coordinates, of shape ``(…, pairs)``.

    .. math:: \max_{a, b} \min_n \big((z_i^a - z_i^n)^2 + (z_j^b - z_j^n)^2\big)

    The maximum is found without gradients, in blocks, and taken again with them: memory does not grow with the cube of
    the batch.

    Args:
        values: z, of shape ``(…, batch, dim)``.
        pairs: the coordinates i and j, of shape ``(2, pairs)``.
        mask: which data count, as a, as b and as n; of shape ``(batch,)``.

    Example:
        >>> support_distance(torch.tensor([[0.0, 0.0], [3.0, 5.0]]), torch.tensor([[0], [1]]))
        tensor([9.])
    """
    first, second = values.mT[..., pairs[0], :], values.mT[..., pairs[1], :]  # (…, pairs, batch)
    with torch.no_grad():
        a, b, n = _farthest_corner(first, second, mask)
    along_first = (first.gather(-1, a) - first.gather(-1, n)).square()
    along_second = (second.gather(-1, b) - second.gather(-1, n)).square()
    return (along_first + along_second).squeeze(-1)


def _farthest_corner(
    first: Tensor, second: Tensor, mask: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The data that span the corner of the product farthest from all data, and the nearest: (…, pairs, 1) each."""
    size = first.shape[-1]
    along_first = (first[..., :, None] - first[..., None, :]).square()  # (…, pairs, a, n)
    along_second = (second[..., :, None] - second[..., None, :]).square()  # (…, pairs, b, n)
    if mask is not None:
        along_first = along_first.where(mask, torch.inf)
    rows = max(1, MAX_ELEMENTS // (first.numel() * size))
    blocks = along_first.split(rows, -2)
    nearest = [
        (block[..., :, None, :] + along_second[..., None, :, :]).amin(-1) for block in blocks
    ]
    distances = torch.cat(nearest, -2)  # (…, pairs, a, b)
    if mask is not None:
        distances = distances.where(mask[:, None] & mask, -1.0)
    corner = distances.flatten(-2).argmax(-1, keepdim=True)
    a, b = corner // size, corner % size
    nearest_to = (_row(along_first, a) + _row(along_second, b)).argmin(-1, keepdim=True)
    return a, b, nearest_to


def _row(matrix: Tensor, index: Tensor) -> Tensor:
    """Row ``index`` of each matrix."""
    return matrix.take_along_dim(index.unsqueeze(-1), -2).squeeze(-2)
