"""Find data by their factor classes: by arithmetic on a grid, by sorting in other data."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TypeAlias

import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid
from ppl_disentangle.data.randomness import uniform_index

__all__ = ["Condition", "Lookup", "allowed_classes", "codes", "lookup", "positions"]

Value: TypeAlias = "float | str"
Condition: TypeAlias = "Value | list[Value] | tuple[Value, ...]"
"""A value, a list of values, or a range as a tuple ``(low, high)``."""

_NUM_REJECTION_ROUNDS = 64  # before the remaining data are searched one by one
_MAX_CODE = 1 << 62


def positions(
    data: FactorDataset, names: Sequence[str] | None, *, varying: bool = False
) -> list[int]:
    """Positions of the named factors in ``data.space``.

    Args:
        data: Data set.
        names: Names of the factors; by default all factors, or all with at least two values if
            ``varying``.
        varying: Whether factors with only one value are an error.

    Raises:
        KeyError: A name is not a factor.
        ValueError: The data have no factors, a name is repeated, or, if ``varying``, a factor has
            one value.
    """
    if isinstance(names, str):
        names = [names]
    if names is None:
        names = [factor.name for factor in data.space if not varying or factor.size > 1]
    for name in names:
        _check_name(data, name)
    if not names:
        suffix = " that varies" if varying else ""
        raise ValueError(f"expected factors, {data.name!r} has none{suffix}")
    if len(set(names)) < len(names):
        raise ValueError(f"expected different factors, got {list(names)}")
    factors = [data.factor_names.index(name) for name in names]
    for k in factors:
        if varying and data.space[k].size < 2:
            raise ValueError(f"expected factors that vary, {data.space[k].name!r} has one value")
    return factors


def _check_name(data: FactorDataset, name: str) -> None:
    if name not in data.factor_names:
        close = get_close_matches(name, data.factor_names, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        known = list(data.factor_names)
        raise KeyError(f"no factor named {name!r}; {data.name!r} has {known}{hint}")


def allowed_classes(factor: Factor, condition: Condition) -> Tensor:
    """Whether each class of a factor meets a condition, bool of shape ``(classes,)``.

    Args:
        factor: Factor.
        condition: Value, list of values, or range as a tuple ``(low, high)`` that includes both
            ends.

    Raises:
        ValueError: A value does not exist, or a range is given for a factor without order.
    """
    if isinstance(condition, tuple):
        return _classes_in_range(factor, condition)
    values = condition if isinstance(condition, list) else [condition]
    meets = torch.zeros(factor.size, dtype=torch.bool)
    for value in values:
        equal = torch.tensor([_equal(value, known) for known in factor.values])
        if not equal.any():
            known = list(factor.values)
            raise ValueError(
                f"no value {value!r} of factor {factor.name!r}; expected among {known}"
            )
        meets |= equal
    return meets


def _classes_in_range(factor: Factor, condition: tuple[Value, ...]) -> Tensor:
    has_strings = any(isinstance(value, str) for value in (*condition, *factor.values))
    if factor.kind == "categorical" or len(condition) != 2 or has_strings:
        expected = "a range (low, high) of an ordered factor"
        raise ValueError(f"expected {expected}, got {factor.name}={condition!r}")
    low, high = condition
    return torch.tensor([low <= value <= high for value in factor.values])  # type: ignore[operator]


def _equal(a: Value, b: Value) -> bool:
    """Whether two values are equal, up to rounding if they are numbers."""
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


def codes(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """An integer for each row of classes, in lexicographic order; only equal rows have equal codes.

    Args:
        rows: Classes of shape ``(num, len(sizes))``.
        sizes: Number of classes of each column.
    """
    code = rows.new_zeros(len(rows))
    num_codes = 1
    for column, size in zip(rows.unbind(-1), sizes, strict=True):
        if num_codes * size >= _MAX_CODE:
            # Renumber the codes that occur, so that the next code does not overflow.
            _, code = code.unique(return_inverse=True)
            num_codes = len(rows)
        code = code * size + column
        num_codes *= size
    return code


def lookup(data: FactorDataset) -> Lookup:
    """A lookup of data by factor classes, suited to the kind of ``data``."""
    return _GridLookup(data) if isinstance(data, FactorGrid) else _TableLookup(data)


class Lookup(abc.ABC):
    """Data found by their factor classes, on the CPU.

    Implementing one: define :meth:`classes`, :meth:`find` and :meth:`differing`.
    """

    data: FactorDataset

    @abc.abstractmethod
    def classes(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""

    @abc.abstractmethod
    def find(self, factors: Sequence[int], classes: Tensor, generator: torch.Generator) -> Tensor:
        """For each row of ``classes``, a datum with these classes, drawn uniformly.

        Args:
            factors: Positions of the factors.
            classes: Wanted classes of these factors, ``(num, len(factors))``; other factors are
                free.
            generator: Generator of the random draws.

        Raises:
            ValueError: No datum has the classes of a row.
        """

    @abc.abstractmethod
    def differing(
        self, index: Tensor, changed: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """For each datum, a uniform partner that differs from it in exactly the ``changed`` factors.

        Args:
            index: Indices of the data, ``(num,)``.
            changed: Whether each factor must differ, bool of shape ``(num, len(space))``.
            generator: Generator of the random draws.

        Returns:
            Indices of the partners, and whether a partner exists, both of shape ``(num,)``.
        """

    def alike(
        self, index: Tensor, factors: Sequence[int], num: int, generator: torch.Generator
    ) -> Tensor:
        """For each datum, ``num`` data that agree with it in ``factors``: ``(len(index), num)``.

        They are drawn uniformly with replacement, and may be the datum itself.
        """
        wanted = self.classes(index)[:, list(factors)].repeat_interleave(num, 0)
        return self.find(factors, wanted, generator).view(len(index), num)


class _GridLookup(Lookup):
    """Every combination of classes exists and has a known index."""

    def __init__(self, data: FactorGrid) -> None:
        self.data: FactorGrid = data

    def classes(self, index: Tensor) -> Tensor:
        return self.data.factors(index)

    def find(self, factors: Sequence[int], classes: Tensor, generator: torch.Generator) -> Tensor:
        columns = list(self.data.sample_factors(len(classes), generator).unbind(-1))
        for k, column in zip(factors, classes.unbind(-1), strict=True):
            columns[k] = column
        return self.data.index(torch.stack(columns, -1))

    def differing(
        self, index: Tensor, changed: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        # A uniform step of 1 to size - 1 classes, modulo size, leads to a uniform other class.
        steps = []
        for size in self.data.factor_sizes:
            num_others = torch.tensor(size - 1).expand(len(index))
            steps.append(1 + uniform_index(num_others, len(index), generator))
        sizes = torch.tensor(self.data.factor_sizes)
        classes = (self.data.factors(index) + torch.stack(steps, -1) * changed) % sizes
        return self.data.index(classes), torch.ones(len(index), dtype=torch.bool)


class _TableLookup(Lookup):
    """Data with equal classes are neighbours after sorting by their codes."""

    def __init__(self, data: FactorDataset) -> None:
        self.data = data

    @functools.cached_property
    def _classes(self) -> Tensor:
        classes = self.data.factors(torch.arange(len(self.data)))
        missing = (classes < 0).sum(0)
        for name, number in zip(self.data.factor_names, missing.tolist(), strict=True):
            if number:
                raise ValueError(
                    f"{self.data.name}: factor {name!r} is missing in {number} of {len(classes)} rows;"
                    " pairs, groups and labels need every value: take data.subset of the others"
                )
        return classes

    def classes(self, index: Tensor) -> Tensor:
        return self._classes[index]

    def find(self, factors: Sequence[int], classes: Tensor, generator: torch.Generator) -> Tensor:
        sizes = [self.data.factor_sizes[k] for k in factors]
        present = self._classes[:, list(factors)]
        code = codes(torch.cat([present, classes]), sizes)  # data first, then the wanted rows
        num_data = len(self.data)
        order, first, count = _equal_ranges(code[:num_data], code[num_data:])
        if not count.all():
            self._raise_missing(factors, classes[count.argmin()].tolist())
        return order[first + uniform_index(count, len(count), generator)]

    def _raise_missing(self, factors: Sequence[int], classes: list[int]) -> None:
        named = []
        for k, class_ in zip(factors, classes, strict=True):
            factor = self.data.space[k]
            named.append(f"{factor.name}={factor.values[class_]!r}")
        raise ValueError(f"no datum of {self.data.name!r} has {', '.join(named)}")

    def differing(
        self, index: Tensor, changed: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        partner = index.clone()
        exists = torch.zeros(len(index), dtype=torch.bool)
        subsets, which = changed.unique(dim=0, return_inverse=True)
        for s, subset in enumerate(subsets):
            rows = (which == s).nonzero()[:, 0]
            partner[rows], exists[rows] = self._differing_in(subset, index[rows], generator)
        return partner, exists

    def _differing_in(
        self, subset: Tensor, index: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """The same as :meth:`differing` if the factors of one ``subset`` change in all data."""
        sizes = torch.tensor(self.data.factor_sizes)[~subset].tolist()
        code = codes(self._classes[:, ~subset], sizes)
        candidates = _Candidates(*_equal_ranges(code, code[index]), self._classes[:, subset])
        partner, remaining = candidates.by_rejection(index, generator)
        exists = torch.ones_like(index, dtype=torch.bool)
        for i in remaining.tolist():
            differing = candidates.differing(i, index[i])
            exists[i] = len(differing) > 0
            if len(differing):
                partner[i] = differing[uniform_index(len(differing), 1, generator)]
        return partner, exists


class _Candidates:
    """Candidates for the partner of each datum: data with the same classes of the other factors.

    Args:
        order: Indices of the data, sorted so that candidates of the same datum are neighbours.
        first: Position in ``order`` of the first candidate for each datum.
        count: Number of candidates for each datum.
        varied: Classes of the factors that must differ, for all data.
    """

    def __init__(self, order: Tensor, first: Tensor, count: Tensor, varied: Tensor) -> None:
        self.order = order
        self.first = first
        self.count = count
        self.varied = varied

    def by_rejection(self, index: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw partners until all differ; also the rows for which no draw was accepted."""
        partner = index.clone()
        remaining = torch.arange(len(index))
        for _ in range(_NUM_REJECTION_ROUNDS):
            step = uniform_index(self.count[remaining], len(remaining), generator)
            drawn = self.order[self.first[remaining] + step]
            accepted = (self.varied[drawn] != self.varied[index[remaining]]).all(-1)
            partner[remaining[accepted]] = drawn[accepted]
            remaining = remaining[~accepted]
        return partner, remaining

    def differing(self, row: int, datum: Tensor) -> Tensor:
        """All candidates of a row that differ from the datum in every varied factor."""
        first = self.first[row]
        group = self.order[first : first + self.count[row]]
        return group[(self.varied[group] != self.varied[datum]).all(-1)]


def _equal_ranges(code: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sort data by code, and find the range of each wanted code.

    Returns:
        Order of the data in which equal codes are neighbours; position in this order of the first
        datum with each wanted code; number of data with each wanted code.
    """
    order = code.argsort(stable=True)
    ranked = code[order]
    first = torch.searchsorted(ranked, wanted)
    return order, first, torch.searchsorted(ranked, wanted, right=True) - first
