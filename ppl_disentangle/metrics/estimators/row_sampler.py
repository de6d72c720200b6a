"""Groups of rows of a data set that share the value of a factor."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

from ppl_disentangle.metrics.estimators.arrays import varying

__all__ = ["RowSampler"]


class RowSampler:
    """Samples groups of rows that share the value of a factor, and returns their codes.

    A group takes a random row and draws its members, with replacement, from the rows with the same
    value of the factor. Factors without a value that two rows share are never sampled.

    Args:
        codes: Codes of shape ``(num_data, num_codes)``.
        factors: Factor classes of shape ``(num_data, num_factors)``.
        seed: Seed of the random draws.

    Raises:
        ValueError: No factor has a value that two rows share.
    """

    def __init__(self, codes: ndarray, factors: ndarray, seed: int) -> None:
        self.codes = codes
        self.rng = np.random.default_rng(seed)
        rows_by_value = [_RowsByValue(column) for column in factors[:, varying(factors)].T]
        self.rows_by_value = [rows for rows in rows_by_value if len(rows.accompanied)]
        if not self.rows_by_value:
            raise ValueError("expected a factor with a value that two rows share, got none")

    def sample_groups(self, num: int, num_groups: int, group_size: int) -> tuple[ndarray, ndarray]:
        """Codes of groups of rows that share the value of a random factor.

        Args:
            num: Number of factors to sample.
            num_groups: Groups for each sampled factor; groups may share different values.
            group_size: Rows in a group.

        Returns:
            The number of the shared factor, ``(num,)``, among the factors that can be sampled, in
            ascending order, and the codes, ``(num, num_groups, group_size, num_codes)``.
        """
        # The shared factors are sorted so that the groups of each factor are drawn in one call.
        shared = np.sort(self.rng.integers(len(self.rows_by_value), size=num))
        groups_per_factor = num_groups * np.bincount(shared, minlength=len(self.rows_by_value))
        rows = [
            factor.sample(count, group_size, self.rng)
            for factor, count in zip(self.rows_by_value, groups_per_factor, strict=True)
        ]
        groups = np.concatenate(rows).reshape(num, num_groups, group_size)
        return shared, self.codes[groups]


class _RowsByValue:
    """The rows of a data set, grouped by their value of one factor.

    Attributes:
        order: Row numbers, sorted by value.
        count: For each row, the number of rows with its value.
        start: For each row, the position in ``order`` at which the rows with its value begin.
        accompanied: Rows whose value another row shares.
    """

    def __init__(self, column: ndarray) -> None:
        counts = np.bincount(column)
        self.order = np.argsort(column, kind="stable")
        self.count = counts[column]
        self.start = (np.cumsum(counts) - counts)[column]
        self.accompanied = np.flatnonzero(self.count > 1)

    def sample(self, num: int, group_size: int, rng: np.random.Generator) -> ndarray:
        """Rows ``(num, group_size)``; a group has the value of a random accompanied row."""
        leader = rng.choice(self.accompanied, num)[:, None]
        offset = rng.integers(self.count[leader], size=(num, group_size))
        return self.order[self.start[leader] + offset]
