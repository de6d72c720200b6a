"""Minibatches as a function of the step: shuffled epochs of fixed batch size, indexed on the device."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ppl_disentangle.data import FactorDataset

__all__ = ["BatchStream", "Batches"]


class Batches:
    """``batches(step)`` is the float batch of that step, for whoever asks and whenever.

    Each epoch visits every datum at most once in an order that depends on ``seed`` and the epoch alone; data that
    do not fill a last batch wait for another epoch, so that shapes are static. Data stay as they are stored (uint8)
    until they are on the device. ``part``: the number of this process, and how many share each batch.
    """

    def __init__(
        self,
        data: FactorDataset,
        batch_size: int,
        *,
        seed: int,
        device: torch.device,
        part: tuple[int, int] = (0, 1),
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"expected batch_size >= 1, got {batch_size}")
        if batch_size > len(data):
            raise ValueError(
                f"batch_size={batch_size} is more than the {len(data)} data of {data.name!r}"
            )
        self.data, self.seed, self.device = data.to(device), seed, device
        self.batch_size, (process, processes) = batch_size, part
        if batch_size < 2 * processes and processes > 1:
            raise ValueError(
                f"batch_size={batch_size} is less than two data for each of {processes} processes"
            )
        ends = [batch_size * i // processes for i in range(processes + 1)]
        self.sizes = tuple(end - start for start, end in itertools.pairwise(ends))
        self._first, self._last = ends[process], ends[process + 1]
        self.steps_per_epoch = len(data) // self.batch_size
        self._epoch, self._order = -1, torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """Float observations of shape ``(batch_size, *observation_shape)``, or this process's part of them."""
        return self.data.to_float(self.data.observations(self.index(step)))

    def conditions(self, step: int) -> dict[str, Tensor]:
        """What else the story is told of each datum of the batch, by name."""
        return self.data.conditions(self.index(step))

    def at(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Float observations of the given data, and what else the story is told of each."""
        return self.data.to_float(self.data.observations(index)), self.data.conditions(index)

    def index(self, step: int) -> Tensor:
        """Indices of the data of a batch, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed((self.seed << 32) + epoch)
            self._epoch, self._order = (
                epoch,
                torch.randperm(len(self.data), generator=generator).to(self.device),
            )
        first = position * self.batch_size
        return self._order[first + self._first : first + self._last]


class BatchStream(IterableDataset[tuple[Tensor, dict[str, Tensor]]]):
    """The batches of :func:`~ppl_disentangle.inference.fit` for a loop of your own, with or without a ``DataLoader``.

    Step by step the float batch and the conditions that a story is told. Workers take steps in turn, so that
    ``DataLoader(stream, batch_size=None, num_workers=n)`` gives the very same sequence for any n.

    Args:
        data: a data set.
        batch_size: data per batch; data that do not fill a last batch wait for another epoch.
        steps: number of batches; by default those of one epoch.
        seed: of the order.

    Example:
        >>> from ppl_disentangle.data import digits, pairs
        >>> stream = BatchStream(pairs(digits()), 64, steps=3)
        >>> [tuple(x.shape) for x, conditions in stream]
        [(64, 2, 1, 8, 8), (64, 2, 1, 8, 8), (64, 2, 1, 8, 8)]
    """

    def __init__(
        self, data: FactorDataset, batch_size: int, *, steps: int | None = None, seed: int = 0
    ) -> None:
        self._batches = Batches(data, batch_size, seed=seed, device=torch.device("cpu"))
        self._steps = self._batches.steps_per_epoch if steps is None else steps

    def __len__(self) -> int:
        return self._steps

    def __iter__(self) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        worker = get_worker_info()
        first, every = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for step in range(first, self._steps, every):
            yield self._batches(step), self._batches.conditions(step)
