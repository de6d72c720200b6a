"""Which data have which factor classes: by arithmetic on a grid, by sorting elsewhere."""

from __future__ import annotations

import abc
import functools
import math
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid
from ppl_disentangle.data.randomness import uniform_index

__all__ = ["Lookup", "allowed_classes", "codes", "lookup", "positions"]

_ROUNDS = 64  # of rejection, before those that are left are gone through one by one


def positions(
    data: FactorDataset, names: Sequence[str] | None, *, varying: bool = False
) -> list[int]:
    """Where the named factors stand among all; all of them by default, all with two values or more if ``varying``.

    Raises:
        KeyError: no such factor.
        ValueError: none at all, a name twice, or, if ``varying``, a named factor with one value.
    """
    if isinstance(names, str):
        names = [names]
    if names is None:
        names = [f.name for f in data.space if not varying or f.size > 1]
    for name in names:
        if name not in data.factor_names:
            close = get_close_matches(name, data.factor_names, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise KeyError(
                f"no factor named {name!r}; {data.name!r} has {list(data.factor_names)}{hint}"
            )
    found = [data.factor_names.index(name) for name in names]
    if not found:
        raise ValueError(
            f"expected factors, {data.name!r} has none{' that varies' if varying else ''}"
        )
    if len(set(found)) < len(found):
        raise ValueError(f"expected different factors, got {list(names)}")
    if varying and (
        fixed := [name for name, k in zip(names, found, strict=True) if data.space[k].size < 2]
    ):
        raise ValueError(f"expected factors that vary, {fixed[0]!r} has one value")
    return found


def allowed_classes(factor: Factor, condition: Any) -> Tensor:
    """Which classes of a factor meet a condition, bool of shape ``(classes,)``.

    Args:
        factor: a factor.
        condition: a value, a list of values, or a range as a tuple ``(low, high)``, both included.

    Raises:
        ValueError: no such value, or a range of a factor without order.
    """
    if isinstance(condition, tuple):
        words = any(isinstance(v, str) for v in (*condition, *factor.values))
        if factor.kind == "categorical" or len(condition) != 2 or words:
            raise ValueError(
                f"expected a range (low, high) of an ordered factor, got {factor.name}={condition!r}"
            )
        low, high = condition
        return torch.tensor([low <= value <= high for value in factor.values])
    wanted = condition if isinstance(condition, list) else [condition]
    meets = torch.zeros(factor.size, dtype=torch.bool)
    for value in wanted:
        same = torch.tensor([_equal(value, v) for v in factor.values])
        if not same.any():
            raise ValueError(
                f"no value {value!r} of factor {factor.name!r}; expected among {list(factor.values)}"
            )
        meets |= same
    return meets


def _equal(a: Any, b: float | str) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return a == b
    return math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)


def codes(rows: Tensor, sizes: Sequence[int]) -> Tensor:
    """A number for each row of classes ``(num, len(sizes))``, the same for equal rows alone, in lexicographic order."""
    code, most = rows.new_zeros(len(rows)), 1
    for column, size in zip(rows.unbind(-1), sizes, strict=True):
        if most * size >= 1 << 62:
            code = code.unique(return_inverse=True)[1]
            most = len(rows)
        code, most = code * size + column, most * size
    return code


def lookup(data: FactorDataset) -> Lookup:
    """A lookup into ``data``."""
    return _Grid(data) if isinstance(data, FactorGrid) else _Table(data)


class Lookup(abc.ABC):
    """Data found by their factor classes, on the CPU."""

    data: FactorDataset

    @abc.abstractmethod
    def classes(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""

    @abc.abstractmethod
    def find(self, factors: Sequence[int], classes: Tensor, generator: torch.Generator) -> Tensor:
        """For each row of ``classes``, a datum drawn uniformly from those that have them, whatever else they have.

        Args:
            factors: positions of the factors that are asked for.
            classes: their classes, of shape ``(num, len(factors))``.
            generator: of the draws.

        Raises:
            ValueError: no datum has such classes.
        """

    @abc.abstractmethod
    def differing(
        self, index: Tensor, changed: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """For each datum, one drawn uniformly from those that differ from it in the ``changed`` factors and no other.

        Args:
            index: data, of shape ``(num,)``.
            changed: of shape ``(num, len(space))``, bool.
            generator: of the draws.

        Returns:
            Indices and whether there is one, both of shape ``(num,)``.
        """

    def alike(
        self, index: Tensor, factors: Sequence[int], num: int, generator: torch.Generator
    ) -> Tensor:
        """For each datum, ``num`` drawn uniformly from those that agree with it in ``factors``: ``(len(index), num)``.

        They are drawn with replacement, and may be the datum itself.
        """
        wanted = self.classes(index)[:, list(factors)].repeat_interleave(num, 0)
        return self.find(factors, wanted, generator).view(len(index), num)


class _Grid(Lookup):
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
        sizes = torch.tensor(self.data.factor_sizes)
        steps = [
            1 + uniform_index((sizes[k] - 1).expand(len(index)), len(index), generator)
            for k in range(len(sizes))
        ]
        classes = (self.data.factors(index) + torch.stack(steps, -1) * changed) % sizes
        return self.data.index(classes), torch.ones(len(index), dtype=torch.bool)


class _Table(Lookup):
    def __init__(self, data: FactorDataset) -> None:
        self.data = data

    @functools.cached_property
    def _classes(self) -> Tensor:
        return self.data.factors(torch.arange(len(self.data)))

    def classes(self, index: Tensor) -> Tensor:
        return self._classes[index]

    def find(self, factors: Sequence[int], classes: Tensor, generator: torch.Generator) -> Tensor:
        code = codes(
            torch.cat([self._classes[:, list(factors)], classes]),
            [self.data.factor_sizes[k] for k in factors],
        )
        order, first, count = _groups(code[: len(self.data)], code[len(self.data) :])
        if not count.all():
            missing = classes[count.argmin()].tolist()
            space = self.data.space
            named = [
                f"{space[k].name}={space[k].values[c]!r}"
                for k, c in zip(factors, missing, strict=True)
            ]
            raise ValueError(f"no datum of {self.data.name!r} has {', '.join(named)}")
        return order[first + uniform_index(count, len(count), generator)]

    def differing(
        self, index: Tensor, changed: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        partner, found = index.clone(), torch.zeros(len(index), dtype=torch.bool)
        subsets, which = changed.unique(dim=0, return_inverse=True)
        for s, subset in enumerate(subsets):
            rows = (which == s).nonzero()[:, 0]
            partner[rows], found[rows] = self._differing_in(subset, index[rows], generator)
        return partner, found

    def _differing_in(
        self, subset: Tensor, index: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        sizes = [
            n for n, out in zip(self.data.factor_sizes, subset.tolist(), strict=True) if not out
        ]
        code, varied = codes(self._classes[:, ~subset], sizes), self._classes[:, subset]
        order, first, count = _groups(code, code[index])
        partner, left = index.clone(), torch.arange(len(index))
        for _ in range(_ROUNDS):
            drawn = order[first[left] + uniform_index(count[left], len(left), generator)]
            accepted = (varied[drawn] != varied[index[left]]).all(-1)
            partner[left[accepted]] = drawn[accepted]
            left = left[~accepted]
        found = torch.ones(len(index), dtype=torch.bool)
        for i in left.tolist():
            group = order[first[i] : first[i] + count[i]]
            group = group[(varied[group] != varied[index[i]]).all(-1)]
            found[i] = len(group) > 0
            if len(group):
                partner[i] = group[uniform_index(len(group), 1, generator)]
        return partner, found


def _groups(code: Tensor, wanted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Data in an order in which equal codes stand together; where those wanted begin in it; how many they are."""
    order = code.argsort(stable=True)
    ranked = code[order]
    first = torch.searchsorted(ranked, wanted)
    return order, first, torch.searchsorted(ranked, wanted, right=True) - first
