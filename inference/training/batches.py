"""Minibatches as a function of the step: shuffled epochs of fixed batch size."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.data.indices import trusted_indices
from ppl_disentangle.inference.training.errors import taking_batch
from ppl_disentangle.missing import for_missing
from ppl_disentangle.pairs import Pair
from ppl_disentangle.story import GenerativeStory

__all__ = ["BatchStream", "Batches", "batches_for"]


class Batches:
    """The batch of any step, which follows from the step, the seed and the number of data alone.

    Each epoch visits every datum at most once, in an order that depends on ``seed`` and the epoch.
    Data that do not fill a last batch are left out of that epoch, so that all batches have one
    shape. Data keep the type in which they are stored (uint8) until they are on the device.

    Args:
        data: The data set, which is moved to ``device``.
        batch_size: Number of data in a batch, over all processes.
        seed: Seed of the order of the data.
        device: Device of the batches.
        part: Rank of this process, and the number of processes that share each batch.
        shuffled: Whether the order of the data changes with the epoch.
        dtype: Type of observations and of other floats; by default float32.

    Attributes:
        sizes: Number of data of a batch in each process.
        steps_per_epoch: Number of batches in an epoch.

    Raises:
        ValueError: ``batch_size`` is less than one, more than there are data, or less than two
            data for each of several processes.
    """

    def __init__(
        self,
        data: FactorDataset,
        batch_size: int,
        *,
        seed: int,
        device: torch.device,
        part: tuple[int, int] = (0, 1),
        shuffled: bool = True,
        dtype: torch.dtype | None = None,
    ) -> None:
        rank, num_processes = part
        _check_batch_size(batch_size, data, num_processes)
        self.data = data.to(device)
        self.seed = seed
        self.shuffled = shuffled
        self.dtype = dtype
        self.device = device
        self.batch_size = batch_size
        self.steps_per_epoch = len(data) // batch_size
        ends = [batch_size * i // num_processes for i in range(num_processes + 1)]
        self.sizes = tuple(end - start for start, end in itertools.pairwise(ends))
        self._first = ends[rank]
        self._last = ends[rank + 1]
        self._epoch = -1
        self._order = torch.empty(0, dtype=torch.long)

    def __call__(self, step: int) -> Tensor:
        """Float observations of this process's data, of shape ``(data, *observation_shape)``."""
        return self.at(self.index(step))[0]

    def conditions(self, step: int) -> dict[str, Tensor]:
        """The conditions of the batch's data by name, such as their labels."""
        return self.at(self.index(step))[1]

    def at(self, index: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Float observations of the data with these indices, and their conditions by name.

        The indices are not checked: a check would wait for the device in each step.
        """
        with trusted_indices():
            x = self.data.to_float(self.data.observations(index))
            conditions = self.data.conditions(index)
        if self.dtype is None:
            return x, conditions
        return x.to(self.dtype), {name: self._typed(value) for name, value in conditions.items()}

    def _typed(self, value: Tensor) -> Tensor:
        return value.to(self.dtype) if value.is_floating_point() else value

    def index(self, step: int) -> Tensor:
        """Indices of the data of the batch that belong to this process, on the device."""
        epoch, position = divmod(step, self.steps_per_epoch)
        if epoch != self._epoch:
            self._shuffle(epoch)
        first = position * self.batch_size
        return self._order[first + self._first : first + self._last]

    def _shuffle(self, epoch: int) -> None:
        generator = torch.Generator().manual_seed((self.seed << 32) + epoch)
        order = torch.arange(len(self.data))
        if self.shuffled:
            order = torch.randperm(len(self.data), generator=generator)
        self._order = order.to(self.device)
        self._epoch = epoch


def _check_batch_size(batch_size: int, data: FactorDataset, num_processes: int) -> None:
    if batch_size < 1:
        raise ValueError(f"expected batch_size >= 1, got {batch_size}")
    if batch_size > len(data):
        raise ValueError(
            f"batch_size={batch_size} is more than the {len(data)} data of {data.name!r}"
        )
    if num_processes > 1 and batch_size < 2 * num_processes:
        raise ValueError(
            f"batch_size={batch_size} is less than two data for each of {num_processes} processes"
        )


def batches_for(
    story: GenerativeStory,
    data: FactorDataset,
    batch_size: int,
    *,
    seed: int,
    device: torch.device,
    part: tuple[int, int],
    dtype: torch.dtype | None,
) -> Batches:
    """The batches of a run of ``fit``.

    A guide that has one value for each datum gets all data, in their order, as every batch.

    Raises:
        ValueError: The guide has a value for each of other data, or several processes share them.
    """
    fixed_size = _fixed_size(story, data, batch_size, device)
    if fixed_size is None:
        return Batches(data, batch_size, seed=seed, device=device, part=part, dtype=dtype)
    if fixed_size != len(data):
        raise ValueError(
            f"the guide of {story.title} has one value for each of {fixed_size} data, and there are"
            f" {len(data)}: make it for these data, as_story(model, guide, example=x) with all of"
            " them, or write a guide that computes the posterior from the data"
        )
    if part != (0, 1):
        raise ValueError("a guide with one value for each datum is trained in one process")
    whole = (0, 1)
    return Batches(
        data, len(data), seed=seed, device=device, part=whole, shuffled=False, dtype=dtype
    )


def _fixed_size(
    story: GenerativeStory, data: FactorDataset, batch_size: int, device: torch.device
) -> int | None:
    """Number of data that a guide has one value each for, which may take a first batch to find."""
    if not isinstance(story, Pair):
        return None
    story.to(device)
    x, conditions = next(conditioned_batches(data, batch_size, device))
    with taking_batch(x, conditions):
        for_missing(story, data).read_first_batch(x, conditions)
    return story.fixed_size


class BatchStream(IterableDataset[tuple[Tensor, dict[str, Tensor]]]):
    """The batches of :func:`~ppl_disentangle.inference.fit`, for a training loop that you write.

    Iterating gives the float observations of each batch and their conditions by name. It works
    with or without a ``DataLoader``. The workers of a ``DataLoader`` take steps in turn, so that
    ``DataLoader(stream, batch_size=None, num_workers=n)`` gives the same sequence for any n.

    Args:
        data: The data set.
        batch_size: Number of data in a batch. Data that do not fill a last batch are left out of
            that epoch.
        steps: Number of batches; by default the batches of one epoch.
        seed: Seed of the order of the data.

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
            yield self._batches.at(self._batches.index(step))
