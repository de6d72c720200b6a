"""Maximal and total information coefficient: the strength of any dependence between two numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array, as_codes

__all__ = ["concept_information", "maximal_information"]


def maximal_information(
    codes: ArrayLike, labels: ArrayLike, *, exponent: float = 0.6, clumps: int = 15
) -> tuple[ndarray, ndarray]:
    r"""Maximal and total information coefficient of every code and every label.

    .. math:: \mathrm{MIC}_e = \max_{k l \le B} M_{kl}, \quad
       \mathrm{TIC}_e = \operatorname{mean}_{k l \le B} M_{kl}, \quad
       M_{kl} = \max_G \frac{I(x|_G; y|_G)}{\log \min(k, l)}, \quad B = \max(N^{0.6}, 4)

    where :math:`G` are grids of :math:`k` columns and :math:`l` rows, both at least 2, and
    :math:`N` is the number of data. The axis with more parts (x if the numbers are equal) is
    divided into parts with equal numbers of data; the cuts of the other axis are optimised [1]. The
    optimum over cuts between clumps of data is exact, with at most ``clumps`` clumps for each part
    that B allows [2]; equal values are never separated. If ties leave fewer equal parts, the
    existing parts are counted. The total coefficient is divided by the number of grids. The
    definitions are the same as ``est="mic_e"`` and ``tic(norm=True)`` in minepy.

    Range: 0 to 1. For independent variables the coefficients are not 0, but decrease with N.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        labels: Labels of shape ``(num_data, num_labels)``, continuous or discrete.
        exponent: Exponent of N in B.
        clumps: Largest number of clumps for each part that B allows on the optimised axis.

    Returns:
        The maximal and the total coefficients, each of shape ``(num_codes, num_labels)``.

    References:
        [1] Reshef et al., 2016. Measuring dependence powerfully and equitably.
            https://arxiv.org/abs/1505.02213
        [2] Reshef et al., 2011. Detecting novel associations in large data sets (B).
            https://doi.org/10.1126/science.1205438

    Example:
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> mic, tic = maximal_information(x**2, x)
        >>> mic.round(3)
        array([[1.]])
    """
    z = as_codes(codes)
    u = as_codes(labels)
    if len(z) != len(u):
        raise ValueError(
            f"expected a code for each row of the labels, got {len(z)} and {len(u)} rows"
        )
    if not 0 < exponent <= 1 or clumps < 1:
        raise ValueError(f"expected 0 < exponent <= 1 and clumps >= 1, got {exponent} and {clumps}")
    most_cells = max(len(z) ** exponent, 4.0)
    maximal = np.empty((z.shape[1], u.shape[1]))
    total = np.empty_like(maximal)
    for i, j in np.ndindex(*maximal.shape):
        maximal[i, j], total[i, j] = _coefficients(z[:, i], u[:, j], most_cells, clumps)
    return maximal, total


def concept_information(
    nodes: Mapping[str, ArrayLike], labels: Mapping[str, ArrayLike]
) -> tuple[ndarray, ndarray]:
    """:func:`maximal_information` of each concept and its own label.

    The code of a concept is the mean over the coordinates of its node.

    Args:
        nodes: Values of each node, ``(num_data,)`` or ``(num_data, dim)``.
        labels: Values of each label, ``(num_data,)``, under the name of its node.

    Returns:
        The maximal and the total coefficients, each of shape ``(num_concepts,)``, in the order of
        ``nodes``.

    Raises:
        KeyError: A node has no label.
    """
    if missing := [name for name in nodes if name not in labels]:
        raise KeyError(f"no label of {missing[0]!r}; there are {list(labels)}")
    maximal = []
    total = []
    for name, values in nodes.items():
        coordinates = as_array(values)
        code = coordinates.reshape(len(coordinates), -1).mean(1)
        label = as_array(labels[name]).reshape(-1)
        mic, tic = maximal_information(code[:, None], label[:, None])
        maximal.append(mic.item())
        total.append(tic.item())
    return np.array(maximal), np.array(total)


def _coefficients(x: ndarray, y: ndarray, most_cells: float, clumps: int) -> tuple[float, float]:
    """The largest and the mean entry of the matrix M."""
    fewer_columns = _best_entries(x, y, most_cells, clumps)
    fewer_rows = _best_entries(y, x, most_cells, clumps)
    # Grids with as many columns as rows occur in both: x is then the axis with equal parts.
    entries = [m for (few, many), m in fewer_columns.items() if few < many]
    entries += fewer_rows.values()
    return max(entries), float(np.mean(entries))


def _best_entries(
    x: ndarray, y: ndarray, most_cells: float, clumps: int
) -> dict[tuple[int, int], float]:
    """Entries of M by numbers of columns of x and rows of y, for at most as many columns as rows.

    The rows hold equal numbers of data; the cuts between the columns are optimised.
    """
    entries = {}
    for num_rows in range(2, int(most_cells) // 2 + 1):
        most_columns = int(most_cells) // num_rows
        columns = min(num_rows, most_columns)
        row = _equal_parts(y, num_rows)
        clump = _clumps(x, row, clumps * most_columns)
        information = _best_information(_counts_below(clump, row), columns)
        # Ties may leave fewer rows than requested.
        rows_left = row.max() + 1
        for k in range(2, columns + 1):
            smaller = min(k, rows_left)
            entries[k, num_rows] = (
                float(information[k - 2] / np.log(smaller)) if smaller > 1 else 0.0
            )
    return entries


def _counts_below(clump: ndarray, row: ndarray) -> ndarray:
    """Numbers of data of each row in the clumps below each cut, ``(num_clumps + 1, num_rows)``."""
    counts = np.zeros((clump.max() + 2, row.max() + 1))
    np.add.at(counts, (clump + 1, row), 1.0)
    return counts.cumsum(0)


def _best_information(counts_below: ndarray, columns: int) -> ndarray:
    """Mutual information, in nats, of rows and the best 2, …, ``columns`` columns.

    The cuts between the columns are found by dynamic programming.

    Args:
        counts_below: Numbers of data of each row below each cut, ``(num_clumps + 1, num_rows)``.
        columns: Largest number of columns.
    """
    # (from, to, row): numbers of data between two cuts
    inside = np.maximum(counts_below[None] - counts_below[:, None], 0.0)
    gain = _n_log_n(inside).sum(-1) - _n_log_n(inside.sum(-1))
    gain[np.tril_indices(len(gain), -1)] = -np.inf
    # best[to]: largest sum of gains of the columns that end at that cut
    best = gain[0]
    largest = []
    for _ in range(columns - 1):
        best = (best[:, None] + gain).max(0)
        largest.append(best[-1])
    total = counts_below[-1].sum()
    row_entropy = np.log(total) - _n_log_n(counts_below[-1]).sum() / total
    return np.maximum(row_entropy + np.array(largest) / total, 0.0)


def _equal_parts(values: ndarray, num_parts: int) -> ndarray:
    """The part of each value, numbered without gaps, of equal sizes as far as ties allow [2]."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    part = np.zeros(len(counts), np.intp)
    current = 0
    size = 0
    remaining = len(values)
    wanted = remaining / num_parts
    for i, count in enumerate(counts.tolist()):
        # A part is full if the next value would take it farther from the wanted size.
        if size and abs(size + count - wanted) >= abs(size - wanted):
            current += 1
            size = 0
            wanted = remaining / (num_parts - current)
        part[i] = current
        size += count
        remaining -= count
    return part[inverse]


def _clumps(x: ndarray, row: ndarray, most_clumps: int) -> ndarray:
    """The clump of each datum: a stretch of x whose data are all in one row or have one value.

    If there are more than ``most_clumps``, clumps are joined into parts of equal size.
    """
    values, inverse = np.unique(x, return_inverse=True)
    lowest = np.full(len(values), row.max() + 1)
    highest = np.full(len(values), -1)
    np.minimum.at(lowest, inverse, row)
    np.maximum.at(highest, inverse, row)
    # Adjacent values belong to one clump if all their data are in the same row.
    in_one_row = lowest == highest
    joined = in_one_row[1:] & in_one_row[:-1] & (lowest[1:] == lowest[:-1])
    clump = np.concatenate([[0], np.cumsum(~joined)])[inverse]
    return clump if clump.max() < most_clumps else _equal_parts(clump, most_clumps)


def _n_log_n(counts: ndarray) -> ndarray:
    return counts * np.log(np.maximum(counts, 1.0))
