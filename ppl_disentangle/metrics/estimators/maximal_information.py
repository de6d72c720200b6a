"""Maximal and total information coefficient: how much two numbers depend on each other, in whatever way."""

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

    over grids G of k columns and l rows, k and l at least 2, whose axis with more parts (x where there are as many) has
    equally many data in each, while the cuts of the other are the best ones [1]. They are sought, exactly, between
    clumps of its data, of which there are at most ``clumps`` for each part that B allows [2]; data of one value are
    never parted. Where ties leave fewer equal parts, these are counted. The total coefficient is divided by the number
    of grids. These are the definitions of minepy's ``est="mic_e"`` and ``tic(norm=True)``.

    Range: 0 to 1; of independent variables not 0, but falling with N.

    Args:
        codes: shape ``(num_data, num_codes)``.
        labels: shape ``(num_data, num_labels)``, continuous or not.
        exponent: that of B.
        clumps: the most clumps for each part that B allows of the axis whose cuts are sought.

    Returns:
        Both coefficients, of shape ``(num_codes, num_labels)`` each.

    References:
        [1] Reshef et al., 2016. Measuring dependence powerfully and equitably. https://arxiv.org/abs/1505.02213
        [2] Reshef et al., 2011. Detecting novel associations in large data sets (B).
        https://doi.org/10.1126/science.1205438

    Example:
        >>> x = np.linspace(-1, 1, 200)[:, None]
        >>> mic, tic = maximal_information(x**2, x)
        >>> mic.round(3)
        array([[1.]])
    """
    z, u = as_codes(codes), as_codes(labels)
    if len(z) != len(u):
        raise ValueError(
            f"expected a code for each row of the labels, got {len(z)} and {len(u)} rows"
        )
    if not 0 < exponent <= 1 or clumps < 1:
        raise ValueError(f"expected 0 < exponent <= 1 and clumps >= 1, got {exponent} and {clumps}")
    pairs = [[_coefficients(a, b, max(len(z) ** exponent, 4.0), clumps) for b in u.T] for a in z.T]
    both = np.array(pairs)
    return both[..., 0], both[..., 1]


def concept_information(
    nodes: Mapping[str, ArrayLike], labels: Mapping[str, ArrayLike]
) -> tuple[ndarray, ndarray]:
    """:func:`maximal_information` of each concept and its own label, the mean of a node's coordinates for its code.

    Args:
        nodes: values of each node, ``(num_data,)`` or ``(num_data, dim)``.
        labels: those of its label, ``(num_data,)``, by the same names.

    Returns:
        Both coefficients, ``(num_concepts,)`` each, in the order of ``nodes``.

    Raises:
        KeyError: a node without a label.
    """
    if missing := [name for name in nodes if name not in labels]:
        raise KeyError(f"no label of {missing[0]!r}; there are {list(labels)}")
    arrays = {name: as_array(value) for name, value in nodes.items()}
    codes = np.stack([value.reshape(len(value), -1).mean(1) for value in arrays.values()], 1)
    known = np.stack([as_array(labels[name]).reshape(-1) for name in nodes], 1)
    pairs = [maximal_information(codes[:, [i]], known[:, [i]]) for i in range(codes.shape[1])]
    return np.array([mic.item() for mic, _ in pairs]), np.array([tic.item() for _, tic in pairs])


def _coefficients(x: ndarray, y: ndarray, most_cells: float, clumps: int) -> tuple[float, float]:
    """The largest and the mean entry of the matrix M."""
    fewer_columns, fewer_rows = (
        _one_way(x, y, most_cells, clumps),
        _one_way(y, x, most_cells, clumps),
    )
    entries = [m for (few, many), m in fewer_columns.items() if few < many] + list(
        fewer_rows.values()
    )
    return max(entries), float(np.mean(entries))


def _one_way(
    x: ndarray, y: ndarray, most_cells: float, clumps: int
) -> dict[tuple[int, int], float]:
    """Entries by columns of x and rows of y, no more columns than rows, the rows equally filled."""
    entries = {}
    for rows in range(2, int(most_cells) // 2 + 1):
        most_columns = int(most_cells) // rows
        columns = min(rows, most_columns)
        row = _equal_parts(y, rows)
        slot = _clumps(x, row, clumps * most_columns)
        counts = np.zeros((slot.max() + 2, row.max() + 1))
        np.add.at(counts, (slot + 1, row), 1.0)
        information = _best_information(counts.cumsum(0), columns)
        for k in range(2, columns + 1):
            least = min(k, row.max() + 1)
            entries[k, rows] = float(information[k - 2] / np.log(least)) if least > 1 else 0.0
    return entries


def _best_information(below: ndarray, columns: int) -> ndarray:
    """Mutual information, in nats, of rows and the best 2, …, ``columns`` columns.

    Args:
        below: ``(slots + 1, rows)``, how many data of a row are below a slot.
        columns: the most columns.
    """
    inside = np.maximum(below[None] - below[:, None], 0.0)  # (from, to, row)
    gain = _n_log_n(inside).sum(-1) - _n_log_n(inside.sum(-1))
    gain[np.tril_indices(len(gain), -1)] = -np.inf
    best, found = gain[0], []
    for _ in range(columns - 1):
        best = (best[:, None] + gain).max(0)
        found.append(best[-1])
    total = below[-1].sum()
    of_rows = np.log(total) - _n_log_n(below[-1]).sum() / total
    return np.maximum(of_rows + np.array(found) / total, 0.0)


def _equal_parts(values: ndarray, parts: int) -> ndarray:
    """The part of each value, numbered without gaps: equally many data in each, as far as ties allow [2]."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    part, current, filled, left = np.zeros(len(counts), np.intp), 0, 0, len(values)
    wanted = left / parts
    for i, count in enumerate(counts.tolist()):
        if filled and abs(filled + count - wanted) >= abs(filled - wanted):
            current, filled = current + 1, 0
            wanted = left / (parts - current)
        part[i] = current
        filled, left = filled + count, left - count
    return part[where]


def _clumps(x: ndarray, row: ndarray, most: int) -> ndarray:
    """Which stretch of x each datum is in: within one, data are of one row or of one value; no more than ``most``."""
    values, where = np.unique(x, return_inverse=True)
    lowest, highest = np.full(len(values), row.max() + 1), np.full(len(values), -1)
    np.minimum.at(lowest, where, row)
    np.maximum.at(highest, where, row)
    alike = (
        (lowest[1:] == highest[1:]) & (lowest[:-1] == highest[:-1]) & (lowest[1:] == lowest[:-1])
    )
    clump = np.concatenate([[0], np.cumsum(~alike)])[where]
    return clump if clump.max() < most else _equal_parts(clump, most)


def _n_log_n(counts: ndarray) -> ndarray:
    return counts * np.log(np.maximum(counts, 1.0))
