"""Data that are each several data of another set: a pair, a group, a triplet, a walk."""

from __future__ import annotations

from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, FactorDataset

__all__ = ["Tuples", "checked_num"]


class Tuples(FactorDataset):
    """Each datum is ``size`` data of ``dataset``, stacked: observations of shape ``(size, *event)``.

    The tuples are drawn when the data set is made, and stay: datum i is the same whenever it is asked for, in every
    epoch, and after a run is resumed. What is fitted is a finite sample of ``len(data)`` tuples, which are independent
    draws; hence that is the number of data that a bound is scaled to, not the number of images.

    The factors are those of the first member. Conditions of ``dataset`` come for all members, ``(batch, size, …)``.

    Args:
        dataset: where the members come from.
        members: their indices, int64 of shape ``(num, size)``.
        name: a short name for tables and run folders.
    """

    def __init__(self, dataset: FactorDataset, members: Tensor, *, name: str) -> None:
        self.dataset, self.name, self.space, self.maximum = (
            dataset,
            name,
            dataset.space,
            dataset.maximum,
        )
        self.observation_shape = (members.shape[1], *dataset.observation_shape)
        self._members, self._len = DeviceCopies(members), len(members)

    def __len__(self) -> int:
        return self._len

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

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """What else a story is told, of each member: ``(len(index), size, …)``."""
        members = self.members(index)
        told = self.dataset.conditions(members.flatten())
        return {name: value.unflatten(0, tuple(members.shape)) for name, value in told.items()}


def checked_num(data: FactorDataset, num: int | None) -> int:
    """``num``, by default as many as there are data.

    Raises:
        ValueError: fewer than one.
    """
    num = len(data) if num is None else num
    if num < 1:
        raise ValueError(f"expected num >= 1, got {num}")
    return num
