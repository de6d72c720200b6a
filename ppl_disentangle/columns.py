"""The columns of a table: their names, types, likelihoods and units."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal, get_args

__all__ = [
    "COLUMN_LIKELIHOODS",
    "Column",
    "ColumnKind",
    "ColumnLikelihood",
    "check_numbers",
]

ColumnKind = Literal["number", "count", "class", "ordered", "binary"]

ColumnLikelihood = Literal[
    "gaussian",
    "student_t",
    "poisson",
    "negative_binomial",
    "zero_inflated_poisson",
    "zero_inflated_negative_binomial",
    "categorical",
    "ordinal",
    "bernoulli",
]

COLUMN_LIKELIHOODS: dict[ColumnKind, tuple[ColumnLikelihood, ...]] = {
    "number": ("gaussian", "student_t"),
    "count": (
        "negative_binomial",
        "poisson",
        "zero_inflated_negative_binomial",
        "zero_inflated_poisson",
    ),
    "class": ("categorical",),
    "ordered": ("ordinal",),
    "binary": ("bernoulli",),
}
"""Likelihoods that a column of each kind can have; the first is the default."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column of a table, and how its cells become numbers.

    A number is standardised, ``(cell - loc) / scale``. A count stays as it is. A class, level or
    binary value is its position in ``values``. A missing cell is NaN.

    Attributes:
        name: Name of the column.
        kind: ``"number"``, ``"count"``, ``"class"`` (without an order), ``"ordered"`` or
            ``"binary"``.
        values: The values of a class, ordered or binary column, in order.
        loc: Mean of the cells of a number, count or binary column.
        scale: Standard deviation of the cells of a number or count column.
        likelihood: One of :data:`COLUMN_LIKELIHOODS` of the kind; by default the first.

    Raises:
        ValueError: The kind or the likelihood is unknown, or a class has fewer than two values.
    """

    name: str
    kind: ColumnKind
    values: tuple[float | str | bool, ...] = ()
    loc: float = 0.0
    scale: float = 1.0
    likelihood: ColumnLikelihood | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(ColumnKind):
            expected = ", ".join(get_args(ColumnKind))
            raise ValueError(
                f"column {self.name!r}: expected a type among {expected}, got {self.kind!r}"
            )
        known = COLUMN_LIKELIHOODS[self.kind]
        likelihood = self.likelihood or known[0]
        if likelihood not in known:
            raise ValueError(
                f"column {self.name!r} of type {self.kind}: expected a likelihood among"
                f" {', '.join(known)}, got {likelihood!r}"
            )
        object.__setattr__(self, "likelihood", likelihood)

    @property
    def size(self) -> int:
        """Number of values of a class, ordered or binary column; 0 for a number or count."""
        return len(self.values)


def check_numbers(columns: Sequence[Column], title: str) -> None:
    """Raise a ValueError unless all columns are numbers.

    Args:
        columns: The columns of a table; empty for other data.
        title: The story that takes numbers alone.
    """
    for column in columns:
        if column.kind != "number":
            raise ValueError(
                f"{title} takes numbers, but column {column.name!r} is of type {column.kind}: give it"
                ' the type "number", leave it out, or choose a story with a likelihood by column,'
                " such as vae"
            )
