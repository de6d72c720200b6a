"""Cells of a column of a table: numbers, bools, texts or categories, with missing cells."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Cells", "read_cells"]

MISSING = {"", "na", "n/a", "#n/a", "<na>", "nan", "null", "none", "?"}
"""Texts, in lower case, that stand for a missing cell."""
_TRUTH = {"true": 1.0, "false": 0.0}
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+(,\d+)?")
_CODE = re.compile(r"0\d+")
_DATE = re.compile(r"\d{4}-\d{1,2}-\d{1,2}([ T].*)?|\d{1,2}[/.]\d{1,2}[/.]\d{2,4}([ T].*)?")


@dataclasses.dataclass(frozen=True)
class Cells:
    """The cells of a column, each a position in ``values`` or a number; NaN where missing.

    Attributes:
        kind: Type of the cells. Categories have a given order if they are ordered.
        numbers: Numbers, or positions in ``values``, float64 ``(rows,)``.
        values: The different texts or categories, or False and True; empty for numbers.
    """

    kind: Literal["numbers", "bools", "texts", "categories", "ordered categories"]
    numbers: npt.NDArray[np.float64]
    values: tuple[Any, ...] = ()


def read_cells(column: pd.Series) -> Cells:
    """Read the cells of a column of a frame.

    Texts that are all numbers are read as numbers, also with thousands separators or a decimal
    comma; numbers with leading zeros, such as postal codes, stay texts.

    Raises:
        ValueError: The cells are dates, infinite, or a mixture of numbers and texts.
    """
    import pandas as pd

    if isinstance(column.dtype, pd.CategoricalDtype):
        return _categories(column)
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        raise ValueError("it has dates; convert them to numbers, such as days, or leave it out")
    if pd.api.types.is_bool_dtype(column) and not column.dtype == object:
        return Cells("bools", column.to_numpy(np.float64, na_value=np.nan), (False, True))
    if pd.api.types.is_complex_dtype(column):
        raise ValueError("it has complex numbers; make two columns of them")
    if pd.api.types.is_numeric_dtype(column):
        return _finite(column.to_numpy(np.float64, na_value=np.nan))
    return _objects(column)


def _categories(column: pd.Series) -> Cells:
    codes = column.cat.codes.to_numpy(np.float64, copy=True)
    codes[codes < 0] = np.nan
    used = [k for k in range(len(column.cat.categories)) if (codes == k).any()]
    positions = np.full(len(codes), np.nan)
    for position, code in enumerate(used):
        positions[codes == code] = position
    values = tuple(column.cat.categories[used].tolist())
    return Cells("ordered categories" if column.cat.ordered else "categories", positions, values)


def _finite(numbers: npt.NDArray[np.float64]) -> Cells:
    infinite = np.isinf(numbers)
    if infinite.any():
        row = int(infinite.argmax())
        raise ValueError(
            f"expected finite numbers, got {numbers[row]} in row {row}; correct it, or leave it empty"
        )
    return Cells("numbers", numbers)


def _objects(column: pd.Series) -> Cells:
    """Cells of texts and other objects."""
    is_missing = column.isna().to_numpy()
    objects = [None if gap else cell for cell, gap in zip(column.tolist(), is_missing, strict=True)]
    if all(cell is None or isinstance(cell, bool | np.bool_) for cell in objects):
        return _bools([None if cell is None else float(cell) for cell in objects])
    texts = [None if cell is None else _stripped(str(cell)) for cell in objects]
    present = [text for text in texts if text is not None]
    if present and all(text.lower() in _TRUTH for text in present):
        return _bools([None if text is None else _TRUTH[text.lower()] for text in texts])
    if any(map(_CODE.fullmatch, present)):
        return _texts(texts)
    return _numbers_or_texts(texts, present)


def _bools(numbers: Sequence[float | None]) -> Cells:
    return Cells("bools", np.array(numbers, dtype=np.float64), (False, True))


def _stripped(text: str) -> str | None:
    """A text without white space around it, ``None`` if it stands for a missing cell."""
    text = text.strip()
    return None if text.lower() in MISSING else text


def _numbers_or_texts(texts: Sequence[str | None], present: Sequence[str]) -> Cells:
    """Cells of texts: numbers if all of them are numbers."""
    import pandas as pd

    plain = pd.Series(_plain_numbers(texts, present), dtype=object)
    numbers = pd.to_numeric(plain, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    is_text = np.isnan(numbers) & np.array([text is not None for text in texts])
    if not is_text.any():
        return _finite(numbers)
    _check_texts(texts, is_text, len(present))
    return _texts(texts)


def _plain_numbers(texts: Sequence[str | None], present: Sequence[str]) -> list[str | None]:
    """Texts without thousands separators, and with decimal points instead of commas."""
    with_comma = [text for text in present if "," in text]
    if not with_comma:
        return list(texts)
    if all(map(_THOUSANDS.fullmatch, with_comma)):
        return [None if text is None else text.replace(",", "") for text in texts]
    if all(map(_DECIMAL_COMMA.fullmatch, present)):
        return [None if text is None else text.replace(",", ".") for text in texts]
    return list(texts)


def _check_texts(
    texts: Sequence[str | None], is_text: npt.NDArray[np.bool_], num_present: int
) -> None:
    """Refuse dates, and columns of which most cells are numbers."""
    row = int(is_text.argmax())
    if all(_DATE.fullmatch(text) for text in texts if text is not None):
        raise ValueError(
            f"it has dates, such as {texts[row]!r}; convert them to numbers, such as days, or leave"
            " it out"
        )
    num_numbers = num_present - int(is_text.sum())
    if num_numbers > num_present / 2:
        raise ValueError(
            f"{num_numbers} of its {num_present} cells are numbers, but row {row} has"
            f" {texts[row]!r}; correct it, or leave it empty"
        )


def _texts(texts: Sequence[str | None]) -> Cells:
    values = sorted({text for text in texts if text is not None})
    position = {text: float(k) for k, text in enumerate(values)}
    numbers = [np.nan if text is None else position[text] for text in texts]
    return Cells("texts", np.array(numbers), tuple(values))
