"""Data sets of tuples: each datum is a pair, a group, a triplet or a walk of another data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorDataset
from ppl_disentangle.data.indices import as_index, takes_index

__all__ = ["Tuples", "checked_num"]


class Tuples(FactorDataset):
    """Each datum consists of ``size`` data of ``dataset``, stacked to shape ``(size, *event)``.

    The tuples are drawn once, when the data set is made: datum i is the same in every epoch, and
    after a run is resumed. A story is fitted to a finite sample of ``len(data)`` independent
    tuples; a bound is therefore scaled to the number of tuples, not to the number of images.

    The factors are the factors of the first member. Conditions of ``dataset`` come for all members,
    with shape ``(batch, size, …)``.

    Args:
        dataset: Data set of the members.
        members: Indices of the members in ``dataset``, int64 of shape ``(num, size)``.
        name: Short name for tables and run folders.
    """

    def __init__(self, dataset: FactorDataset, members: Tensor, *, name: str) -> None:
        self.dataset = dataset
        self.name = name
        self.space = dataset.space
        self.maximum = dataset.maximum
        self._kind = dataset.kind
        self.value_range = dataset.value_range
        self.columns = dataset.columns
        self.observation_shape = (members.shape[1], *dataset.observation_shape)
        as_index(members.flatten(), len(dataset), dataset.name)
        self._members = DeviceCopies(members)
        self._len = len(members)

    def __len__(self) -> int:
        return self._len

    @takes_index
    def members(self, index: Tensor) -> Tensor:
        """Indices in ``dataset`` of all members, int64 of shape ``(len(index), size)``."""
        return self._members.on(index.device).index_select(0, index)

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), size, *event)``."""
        members = self.members(index)
        return self.dataset.observations(members.flatten()).unflatten(0, tuple(members.shape))

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes of the first member, int64 of shape ``(len(index), len(space))``."""
        return self.dataset.factors(self.members(index)[:, 0])

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Numbers of the first member's continuous factors, classes of its other factors."""
        return self.dataset.factor_numbers(self.members(index)[:, 0])

    @property
    def condition_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the columns of conditions, by condition, where they are known."""
        return self.dataset.condition_columns

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """Conditions of all members, by name: ``(len(index), size, …)``."""
        members = self.members(index)
        conditions = self.dataset.conditions(members.flatten())
        shape = tuple(members.shape)
        return {name: value.unflatten(0, shape) for name, value in conditions.items()}

    def rows(self, index: Tensor) -> Tensor:
        """Row of the first member in the user's own data, int64 ``(len(index),)``."""
        return self.dataset.rows(self.members(index)[:, 0])

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Name of the row of the first member, ``(len(index),)``."""
        return self.dataset.row_labels(self.members(index)[:, 0])


def checked_num(data: FactorDataset, num: int | None) -> int:
    """Number of draws, by default the number of data.

    Raises:
        ValueError: ``num`` is below 1.
    """
    num = len(data) if num is None else num
    if num < 1:
        raise ValueError(f"expected num >= 1, got {num}")
    return num
