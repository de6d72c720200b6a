"""Data drawn again with replacement: independently, or so that factors are correlated."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.lookup import lookup, positions
from ppl_disentangle.data.sampled.tuples import checked_num

__all__ = ["correlated", "correlated_density", "iid"]


def iid(
    data: FactorDataset, num: int | None = None, *, seed: int | torch.Generator = 0
) -> FactorDataset:
    """``num`` independent uniform draws from ``data``, with replacement; by default as many as there are data.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> len(iid(Sprites(), 1000))
        1000
    """
    return data.subset(uniform_index(len(data), checked_num(data, num), as_generator(seed)))


def correlated(
    data: FactorDataset,
    joint: Mapping[tuple[str, str], ArrayLike],
    *,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> FactorDataset:
    r"""Independent draws from ``data`` under which pairs of factors are correlated.

    .. math:: p(c) \propto \prod_{(a, b)} w_{ab}(c_a, c_b)

    over the named factors; the datum is uniform among those with their classes c, so that the other factors of a grid
    stay uniform and independent of them. A number stands for :func:`correlated_density`; a factor may be in several
    pairs, as a confounder is. With one pair the joint is its table, normalised, and marginals are the sums of its rows
    and columns, which are not uniform in general.

    Args:
        data: a grid or any data with factors.
        joint: for each pair of names the width of :func:`correlated_density`, or a table of weights of shape
            ``(classes of the first, classes of the second)``.
        num: number of draws; by default as many as there are data.
        seed: of the draws, or a generator.

    Raises:
        KeyError: no such factor.
        ValueError: a width for a categorical factor, weights of another shape or not finite and positive, or a
            combination of positive weight without a datum.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = correlated(Sprites(), {("scale", "x"): 0.2}, num=1000)
        >>> classes = data.factors(torch.arange(1000)).double()
        >>> torch.corrcoef(classes[:, [1, 3]].T)[0, 1] > 0.7
        tensor(True)
    """
    if not joint:
        raise ValueError("expected at least one pair of factors, got none")
    names = list(dict.fromkeys(name for pair in joint for name in pair))
    factors, generator = positions(data, names), as_generator(seed)
    sizes = [data.space[k].size for k in factors]
    weights = torch.ones(sizes, dtype=torch.float64)
    for (first, second), given in joint.items():
        a, b = names.index(first), names.index(second)
        positions(data, [first, second])
        table = _table(data, first, second, given)
        table, (a, b) = (table, (a, b)) if a < b else (table.T, (b, a))
        weights *= table.reshape([n if k in (a, b) else 1 for k, n in enumerate(sizes)])
    ladder = weights.flatten().cumsum(0)
    if not ladder[-1] > 0:
        raise ValueError(f"no combination of {names} has a positive weight")
    uniform = torch.rand(checked_num(data, num), generator=generator, dtype=torch.float64)
    cell = torch.searchsorted(ladder, uniform * ladder[-1], right=True).clamp(max=len(ladder) - 1)
    classes = torch.stack(torch.unravel_index(cell, sizes), -1)
    return data.subset(lookup(data).find(factors, classes, generator))


def correlated_density(first: int, second: int, width: float) -> Tensor:
    r"""Joint probabilities of two correlated factors; float64 of shape ``(first, second)``.

    .. math:: p(c_1, c_2) \propto \exp\left(-\frac{(u_1 - u_2)^2}{2 \sigma^2}\right), \qquad u_i = \frac{c_i}{n_i - 1}

    with :math:`n_i` classes and width :math:`\sigma`. It is the density of [1],
    :math:`\exp(-(c_1 - \alpha c_2)^2 / 2 \sigma^2)` with :math:`\alpha = c_1^\text{max} / c_2^\text{max}`, where
    :math:`\sigma` is measured in units of the first factor's range. A width of infinity leaves the factors independent
    and uniform; flip the table along one axis for a negative correlation.

    Args:
        first: number of classes of the first factor, at least 2.
        second: of the second.
        width: the smaller, the stronger the correlation; more than 0.

    Raises:
        ValueError: fewer than two classes, or a width that is not positive.

    References:
        [1] Träuble et al., 2021. On disentangled representations learned from correlated data.
        https://arxiv.org/abs/2006.07886

    Example:
        >>> correlated_density(2, 2, 1.0)
        tensor([[0.3112, 0.1888],
                [0.1888, 0.3112]], dtype=torch.float64)
    """
    if min(first, second) < 2:
        raise ValueError(f"expected at least two classes of each factor, got {first} and {second}")
    if not width > 0:
        raise ValueError(f"expected width > 0, got {width}")
    u, v = (torch.linspace(0, 1, n, dtype=torch.float64) for n in (first, second))
    logits = -0.5 * ((u[:, None] - v) / width).square()
    return logits.flatten().softmax(0).view(first, second)


def _table(data: FactorDataset, first: str, second: str, given: ArrayLike) -> Tensor:
    """Weights of the classes of two factors, ``(first, second)``."""
    space = dict(zip(data.factor_names, data.space, strict=True))
    shape = (space[first].size, space[second].size)
    weights = torch.as_tensor(given, dtype=torch.float64)
    if weights.dim() == 0:
        if "categorical" in (space[first].kind, space[second].kind):
            raise ValueError(
                f"expected a table of weights {shape} for {(first, second)}: one of them has no order"
            )
        return correlated_density(*shape, weights.item())
    low, high = weights.min().item(), weights.max().item()
    if weights.shape != shape or not 0 <= low <= high < math.inf:
        got = f"shape {tuple(weights.shape)} with values in [{low:g}, {high:g}]"
        raise ValueError(
            f"expected finite weights >= 0 of shape {shape} for {(first, second)}, got {got}"
        )
    return weights
