"""The interface of data sets: observations, and the ground-truth factors that generated them."""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
from collections.abc import Sequence
from typing import Literal, Self

import networkx as nx
import torch
from torch import Tensor

__all__ = ["Factor", "FactorDataset", "FactorGrid", "DeviceCopies", "Subset", "numbers_or_classes"]


@dataclasses.dataclass(frozen=True)
class Factor:
    """A ground-truth factor of the observations.

    Attributes:
        name: Name of the factor.
        values: Values of the factor. The class of a value is its position in this tuple. The
            classes of a continuous factor are intervals, and these are their medians.
        kind: Whether the values have no order, have an order, go round a circle, or are a
            continuous quantity; see :meth:`FactorDataset.factor_numbers`.
    """

    name: str
    values: tuple[float | str, ...]
    kind: Literal["categorical", "ordinal", "cyclic", "continuous"] = "ordinal"

    @property
    def size(self) -> int:
        """Number of values."""
        return len(self.values)


class FactorDataset(abc.ABC):
    """Observations, each with the class of every ground-truth factor.

    Implementing a data set: set the four attributes in ``__init__`` and define :meth:`__len__`,
    :meth:`observations` and :meth:`factors`. Both methods take a vector of indices and return
    tensors on its device.

    Attributes:
        name: Short name for tables and run folders.
        space: The factors; empty if no factors are known.
        observation_shape: Shape of one observation, ``(channels, height, width)`` for images.
        maximum: Stored value that stands for 1, such as 255; :meth:`to_float` divides by it.
        dag: Causal graph of the factors; ``None`` where none is known.
    """

    name: str
    space: tuple[Factor, ...]
    observation_shape: tuple[int, ...]
    maximum: float
    dag: nx.DiGraph | None = None

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``; images are uint8."""

    @abc.abstractmethod
    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Numbers of continuous factors and classes of others, float64 ``(len(index), len(space))``.

        A data set with continuous factors returns the numbers that it stores; by default a number
        is the median of its class.
        """
        classes = self.factors(index)
        columns = classes.double()
        for k, factor in enumerate(self.space):
            if factor.kind == "continuous":
                medians = torch.tensor(factor.values, dtype=torch.float64, device=classes.device)
                columns[:, k] = medians[classes[:, k]]
        return columns

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """Further arguments of model and guide for each datum, by name; empty by default."""
        return {}

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factors."""
        return tuple(f.name for f in self.space)

    @property
    def factor_sizes(self) -> tuple[int, ...]:
        """Number of values of each factor."""
        return tuple(f.size for f in self.space)

    @property
    def varying(self) -> dict[str, int]:
        """Number of values of each factor that has at least two, by name."""
        return {f.name: f.size for f in self.space if f.size > 1}

    @property
    def factor_values(self) -> tuple[tuple[float | str, ...], ...]:
        """Values of each factor, in the order of the classes."""
        return tuple(f.values for f in self.space)

    def to(self, device: torch.device | str) -> Self:
        """The same data with all tensors on ``device``."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (Tensor, FactorDataset)):
                setattr(moved, name, value.to(device))
        return moved

    def to_float(self, observations: Tensor) -> Tensor:
        """Stored observations divided by ``maximum``, as float32 on the same device."""
        x = observations.float()
        return x if self.maximum == 1 else x * (1 / self.maximum)

    def sample(self, num: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Factor classes and stored observations of ``num`` data, drawn with replacement."""
        index = torch.randint(len(self), (num,), generator=generator)
        return self.factors(index), self.observations(index)

    def subset(self, index: Tensor) -> FactorDataset:
        """The data at ``index``, in the order of ``index``."""
        return Subset(self, index)

    def split(self, num_held_out: int, *, seed: int = 0) -> tuple[FactorDataset, FactorDataset]:
        """Split the data at random into a training set and ``num_held_out`` held-out data.

        The same seed gives the same split.
        """
        if not 0 < num_held_out < len(self):
            raise ValueError(f"expected 0 < num_held_out < {len(self)}, got {num_held_out}")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self.subset(order[num_held_out:]), self.subset(order[:num_held_out])

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        """Float observation and factor classes of one datum, for a torch ``DataLoader``."""
        if not -len(self) <= i < len(self):
            raise IndexError(f"index {i} is out of range for {len(self)} data")
        index = torch.tensor([i % len(self)])
        return self.to_float(self.observations(index))[0], self.factors(index)[0]

    def __getitems__(self, index: Sequence[int]) -> list[tuple[Tensor, Tensor]]:
        """Float observations and factor classes of a batch, for a torch ``DataLoader``."""
        batch = torch.tensor(index)
        observations = self.to_float(self.observations(batch))
        return list(zip(observations, self.factors(batch), strict=True))


class FactorGrid(FactorDataset):
    """A data set with every combination of factor values exactly once.

    Implementing a grid: set the attributes of :class:`FactorDataset` and define :meth:`render`. The
    last factor varies fastest: :meth:`index` and :meth:`factors` are row-major and inverse to each
    other.
    """

    @abc.abstractmethod
    def render(self, factors: Tensor) -> Tensor:
        """Stored observations of the factor classes ``(batch, len(space))``."""

    def __len__(self) -> int:
        return math.prod(self.factor_sizes)

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self.render(self.factors(index))

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""
        columns = []  # from the last factor to the second; the remaining quotient is the first
        for size in self.factor_sizes[:0:-1]:
            columns.append(index % size)
            index = index.div(size, rounding_mode="floor")
        return torch.stack([index, *columns[::-1]], -1)

    def index(self, factors: Tensor) -> Tensor:
        """Indices of factor classes ``(batch, len(space))``."""
        index, *columns = factors.unbind(-1)
        for column, size in zip(columns, self.factor_sizes[1:], strict=True):
            index = torch.add(column, index, alpha=size)
        return index

    def sample_factors(
        self, num: int, generator: torch.Generator, *, fixed: Sequence[int] = ()
    ) -> Tensor:
        """Factor classes ``(num, len(space))``, drawn uniformly.

        Args:
            num: Number of draws.
            generator: Generator of the random draws.
            fixed: Positions of factors that have one common random class in all draws.
        """
        columns = [torch.randint(size, (num,), generator=generator) for size in self.factor_sizes]
        for k in fixed:
            columns[k] = columns[k][:1].expand(num)
        return torch.stack(columns, -1)


def numbers_or_classes(space: Sequence[Factor], numbers: Tensor, classes: Tensor) -> Tensor:
    """``numbers`` in the columns of continuous factors, ``classes`` in the others, as float64."""
    kinds = [factor.kind == "continuous" for factor in space]
    are_continuous = torch.tensor(kinds, dtype=torch.bool, device=numbers.device)
    return torch.where(are_continuous, numbers.double(), classes.double())


class DeviceCopies:
    """A constant tensor, copied once to each device on which it is used."""

    def __init__(self, tensor: Tensor) -> None:
        self._copies = {tensor.device: tensor}

    def on(self, device: torch.device) -> Tensor:
        """The tensor on ``device``; the first call for a device makes the copy."""
        if device not in self._copies:
            self._copies[device] = next(iter(self._copies.values())).to(device)
        return self._copies[device]


class Subset(FactorDataset):
    """The data of ``dataset`` at ``index``."""

    def __init__(self, dataset: FactorDataset, index: Tensor) -> None:
        self.dataset = dataset
        self.name = dataset.name
        self.space = dataset.space
        self.observation_shape = dataset.observation_shape
        self.maximum = dataset.maximum
        self._index = DeviceCopies(index)
        self._len = len(index)

    def __len__(self) -> int:
        return self._len

    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``."""
        return self.dataset.observations(self._index.on(index.device)[index])

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""
        return self.dataset.factors(self._index.on(index.device)[index])

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Numbers of continuous factors, classes of others, ``(len(index), len(space))``."""
        return self.dataset.factor_numbers(self._index.on(index.device)[index])

    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """Further arguments of model and guide for each datum, by name."""
        return self.dataset.conditions(self._index.on(index.device)[index])
