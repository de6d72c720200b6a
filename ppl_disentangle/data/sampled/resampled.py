"""Draws from a data set with replacement: independent and uniform, or with correlated factors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.lookup import lookup, positions
from ppl_disentangle.data.sampled.tuples import checked_num

__all__ = ["correlated", "correlated_density", "iid"]


def iid(data: Any, num: int | None = None, *, seed: int | torch.Generator = 0) -> FactorDataset:
    """Independent uniform draws from ``data``, with replacement.

    Args:
        data: Data set.
        num: Number of draws; by default the number of data.
        seed: Seed of the random draws, or a generator.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> len(iid(Sprites(), 1000))
        1000
    """
    data = as_dataset(data)
    return data.subset(uniform_index(len(data), checked_num(data, num), as_generator(seed)))


def correlated(
    data: Any,
    joint: Mapping[tuple[str, str], ArrayLike],
    *,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> FactorDataset:
    r"""Independent draws from ``data`` with correlated pairs of factors.

    .. math:: p(c) \propto \prod_{(a, b)} w_{ab}(c_a, c_b)

    over the classes c of the named factors. The datum is uniform among the data with these classes,
    so the other factors of a grid remain uniform and independent. A number as weight w stands for
    :func:`correlated_density`. A factor may be in several pairs, like a confounder. For a single
    pair, the joint distribution is the normalised table; its marginals are the sums of rows and
    columns, which are not uniform in general.

    Args:
        data: Grid, or other data with factors.
        joint: Width of :func:`correlated_density` for each pair of names, or table of weights of
            shape ``(classes of the first, classes of the second)``.
        num: Number of draws; by default the number of data.
        seed: Seed of the random draws, or a generator.

    Raises:
        KeyError: A name is not a factor.
        ValueError: A width is given for a categorical factor, weights have another shape or are not
            finite and positive, or a combination with positive weight has no datum.

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = correlated(Sprites(), {("scale", "x"): 0.2}, num=1000)
        >>> classes = data.factors(torch.arange(1000)).double()
        >>> torch.corrcoef(classes[:, [1, 3]].T)[0, 1] > 0.7
        tensor(True)
    """
    data = as_dataset(data)
    if not joint:
        raise ValueError("expected at least one pair of factors, got none")
    names = list(dict.fromkeys(name for pair in joint for name in pair))
    factors = positions(data, names)
    weights = _joint_weights(data, names, joint)
    if not weights.sum() > 0:
        raise ValueError(f"no combination of {names} has a positive weight")
    generator = as_generator(seed)
    classes = _draw_classes(weights, checked_num(data, num), generator)
    return data.subset(lookup(data).find(factors, classes, generator))


def _draw_classes(weights: Tensor, num: int, generator: torch.Generator) -> Tensor:
    """Classes with probabilities proportional to ``weights``, drawn by inversion: ``(num, axes)``."""
    cumulative = weights.flatten().cumsum(0)
    uniform = torch.rand(num, generator=generator, dtype=torch.float64)
    cell = torch.searchsorted(cumulative, uniform * cumulative[-1], right=True)
    cell = cell.clamp(max=len(cumulative) - 1)
    return torch.stack(torch.unravel_index(cell, weights.shape), -1)


def _joint_weights(
    data: FactorDataset, names: list[str], joint: Mapping[tuple[str, str], ArrayLike]
) -> Tensor:
    """Product of the weights of all pairs, with an axis for each named factor, in float64."""
    sizes = [data.space[k].size for k in positions(data, names)]
    weights = torch.ones(sizes, dtype=torch.float64)
    for (first, second), given in joint.items():
        positions(data, [first, second])  # a factor with itself is an error
        table = _table(data, first, second, given)
        axes = [names.index(first), names.index(second)]
        if axes[0] > axes[1]:
            table = table.T
        # The table with axes of size 1 for the other factors, to broadcast over them.
        shape = [size if axis in axes else 1 for axis, size in enumerate(sizes)]
        weights *= table.reshape(shape)
    return weights


def correlated_density(first: int, second: int, width: float) -> Tensor:
    r"""Joint probabilities of two correlated factors; float64 of shape ``(first, second)``.

    .. math:: p(c_1, c_2) \propto \exp\left(-\frac{(u_1 - u_2)^2}{2 \sigma^2}\right), \qquad u_i = \frac{c_i}{n_i - 1}

    with :math:`n_i` classes and width :math:`\sigma`. This is the density of [1], :math:`\exp(-(c_1
    - \alpha c_2)^2 / 2 \sigma^2)` with :math:`\alpha = c_1^\text{max} / c_2^\text{max}` and
    :math:`\sigma` relative to the range of the first factor. With infinite width the factors are
    independent and uniform. Flip the table along one axis for a negative correlation.

    Args:
        first: Number of classes of the first factor, at least 2.
        second: Number of classes of the second factor, at least 2.
        width: Width, positive; a smaller width gives a stronger correlation.

    Raises:
        ValueError: A factor has fewer than two classes, or the width is not positive.

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
    u = torch.linspace(0, 1, first, dtype=torch.float64)
    v = torch.linspace(0, 1, second, dtype=torch.float64)
    logits = -0.5 * ((u[:, None] - v) / width).square()
    return logits.flatten().softmax(0).view(first, second)


def _table(data: FactorDataset, first: str, second: str, given: ArrayLike) -> Tensor:
    """Weights of the classes of two factors, ``(first, second)``, in float64."""
    rows, columns = (data.space[k] for k in positions(data, [first, second]))
    shape = (rows.size, columns.size)
    weights = torch.as_tensor(given, dtype=torch.float64)
    if weights.dim() == 0:
        if "categorical" in (rows.kind, columns.kind):
            expected = f"a table of weights {shape} for {(first, second)}"
            raise ValueError(f"expected {expected}: one of them has no order")
        return correlated_density(*shape, weights.item())
    low = weights.min().item()
    high = weights.max().item()
    if weights.shape != shape or not 0 <= low <= high < math.inf:
        expected = f"finite weights >= 0 of shape {shape} for {(first, second)}"
        got = f"shape {tuple(weights.shape)} with values in [{low:g}, {high:g}]"
        raise ValueError(f"expected {expected}, got {got}")
    return weights
