"""The interface of data sets: observations, and the ground-truth factors that generated them."""

from __future__ import annotations

import abc
import copy
import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, Self, TypeAlias

import networkx as nx
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.columns import Column
from ppl_disentangle.data.indices import as_index, takes_classes, takes_index
from ppl_disentangle.data.ranges import ValueRange

__all__ = [
    "Datum",
    "DeviceCopies",
    "Factor",
    "FactorDataset",
    "FactorGrid",
    "Kind",
    "Subset",
    "numbers_or_classes",
]

Kind: TypeAlias = Literal["vector", "image", "signal", "sequence", "table"]
"""Kind of an observation: ``(dim,)``, ``(channels, height, width)``, ``(channels, time)``, ``(time,
features)``, or a row of a table ``(columns,)``. Networks and figures are chosen by it."""

Datum: TypeAlias = "tuple[Tensor, Tensor] | tuple[Tensor, Tensor, dict[str, Tensor]]"
"""Float observation and factor classes, and the conditions by name if the data have conditions."""

_NOUNS = {
    "vector": "vectors",
    "image": "images",
    "signal": "signals",
    "sequence": "sequences",
    "table": "rows",
}
_TAKE_INDEX = {"observations", "factors", "factor_numbers", "conditions", "rows", "row_labels"}
_TAKE_CLASSES = {"render", "index"}


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
    tensors on its device. A data set made from another one also sets ``_kind`` and defines
    :meth:`rows` and :meth:`row_labels`.

    Callers may also pass lists, arrays, slices and bool masks as an index. It is checked before a
    method of a subclass gets it, as int64 in [0, len).

    Attributes:
        name: Short name for tables and run folders.
        space: The factors; empty if no factors are known.
        observation_shape: Shape of one observation, ``(channels, height, width)`` for images.
        maximum: Stored value that stands for 1, such as 255; :meth:`to_float` divides by it.
        dag: Causal graph of the factors; ``None`` where none is known.
        value_range: Range of the stored values of all observations; ``None`` if it is not known.
        columns: The columns of a table, in the order of an observation; empty for other kinds.
    """

    name: str
    space: tuple[Factor, ...]
    observation_shape: tuple[int, ...]
    maximum: float
    dag: nx.DiGraph | None = None
    value_range: ValueRange | None = None
    columns: tuple[Column, ...] = ()
    _kind: Kind | None = None

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the methods that a subclass defines check their index."""
        super().__init_subclass__(**options)
        for name in vars(cls).keys() & _TAKE_INDEX:
            setattr(cls, name, takes_index(vars(cls)[name]))

    @abc.abstractmethod
    def __len__(self) -> int: ...

    @abc.abstractmethod
    def observations(self, index: Tensor) -> Tensor:
        """Observations as stored, of shape ``(len(index), *observation_shape)``; images are uint8."""

    @abc.abstractmethod
    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""

    @takes_index
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

    @takes_index
    def conditions(self, index: Tensor) -> dict[str, Tensor]:
        """Further arguments of model and guide for each datum, by name; empty by default."""
        return {}

    @property
    def condition_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the columns of conditions, by condition, where they are known; empty by default."""
        return {}

    @takes_index
    def rows(self, index: Tensor) -> Tensor:
        """Rows in the user's own data, int64 ``(len(index),)``, through subsets and splits.

        The row of a pair or group is the row of its first member.
        """
        return index

    @takes_index
    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Names of the rows, ``(len(index),)``: the ``data`` coordinate of every result.

        These are the labels of a frame's index or of a coordinate, or else :meth:`rows`.
        """
        return np.asarray(self.rows(index).cpu())

    @property
    def kind(self) -> Kind:
        """Kind of the observations; by default images if they have three dims, else vectors."""
        return self._kind or ("image" if len(self.observation_shape) == 3 else "vector")

    @property
    def has_missing(self) -> bool:
        """Whether some elements of the observations are missing, which are NaN.

        A part of such data counts as such data, even if nothing is missing in it.
        """
        return self.value_range is not None and self.value_range.has_missing

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
        """Stored observations divided by ``maximum``, as floats on the same device.

        They have torch's default type of floats, which is float32 unless someone changed it.
        """
        x = observations.to(torch.get_default_dtype())
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

    def __getitem__(self, i: Any) -> Datum:
        """Float observation and factor classes of datum ``i``, for a torch ``DataLoader``.

        Data with conditions return them by name as a third part, a dict. A list, array, slice or
        mask gives the same parts of a batch. Negative integers count from the end.
        """
        if isinstance(i, int | np.integer) or (isinstance(i, Tensor) and i.dim() == 0):
            [datum] = self.__getitems__([i])
            return datum
        index = as_index(i, len(self), self.name, from_end=True)
        x = self.to_float(self.observations(index))
        conditions = self.conditions(index)
        return (x, self.factors(index), conditions) if conditions else (x, self.factors(index))

    def __getitems__(self, index: Sequence[Any]) -> list[Datum]:
        """Parts of each datum of a batch, as from :meth:`__getitem__`, for a ``DataLoader``."""
        batch = as_index(index, len(self), self.name, from_end=True)
        x = self.to_float(self.observations(batch))
        parts: list[Iterable[Any]] = [x, self.factors(batch)]
        if conditions := self.conditions(batch):
            rows = zip(*conditions.values(), strict=True)
            parts.append([dict(zip(conditions, row, strict=True)) for row in rows])
        return list(zip(*parts, strict=True))

    def __repr__(self) -> str:
        """Content in one line: number, kind and shape of the observations, factors, conditions."""
        first = torch.arange(min(1, len(self)))
        shape = "×".join(map(str, self.observation_shape)) or "of one number"
        parts = [f"{len(self)} {_NOUNS[self.kind]} {shape}", self._stored(first)]
        if self.has_missing:
            parts.append(
                f"{self._num_missing()} of {len(self) * math.prod(self.observation_shape)} missing"
            )
        if self.space:
            parts.append("factors " + ", ".join(f"{f.name} ({f.size})" for f in self.space))
        if conditions := self.conditions(first):
            parts.append("conditions " + ", ".join(conditions))
        return f"{type(self).__name__} {self.name!r}: {', '.join(parts)}"

    def _num_missing(self) -> int:
        """Number of missing elements of the observations."""
        chunks = torch.arange(len(self)).split(1024)
        return sum(int(self.observations(chunk).isnan().sum()) for chunk in chunks)

    def _stored(self, first: Tensor) -> str:
        """Type of the stored observations, and the range of integers."""
        dtype = self.observations(first).dtype
        name = str(dtype).removeprefix("torch.")
        return name if dtype.is_floating_point else f"{name} 0..{self.maximum:g}"


class FactorGrid(FactorDataset):
    """A data set with every combination of factor values exactly once.

    Implementing a grid: set the attributes of :class:`FactorDataset` and define :meth:`render`. The
    last factor varies fastest: :meth:`index` and :meth:`factors` are row-major and inverse to each
    other.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the methods that a subclass defines check their classes."""
        super().__init_subclass__(**options)
        for name in vars(cls).keys() & _TAKE_CLASSES:
            setattr(cls, name, takes_classes(vars(cls)[name]))

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

    @takes_classes
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
        self._kind = dataset.kind
        self.value_range = dataset.value_range
        self.columns = dataset.columns
        index = as_index(index, len(dataset), dataset.name, from_end=True)
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

    @property
    def condition_columns(self) -> Mapping[str, tuple[str, ...]]:
        """Names of the columns of conditions, by condition, where they are known."""
        return self.dataset.condition_columns

    def rows(self, index: Tensor) -> Tensor:
        """Rows in the user's own data, int64 ``(len(index),)``."""
        return self.dataset.rows(self._index.on(index.device)[index])

    def row_labels(self, index: Tensor) -> npt.NDArray[Any]:
        """Names of the rows, ``(len(index),)``."""
        return self.dataset.row_labels(self._index.on(index.device)[index])
