"""A CSV file that lists the factors of images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.files.reading import reading

__all__ = ["find_table", "read_factors"]

_TABLE = "factors.csv"
_FILE_COLUMNS = ("file", "filename", "file_name", "filepath", "file_path", "path", "image")
_DELIMITERS = (",", ";", "\t")

_KEYS: tuple[Callable[[str], str], ...] = (
    lambda name: name,
    lambda name: PurePosixPath(name).name,
    lambda name: PurePosixPath(name).stem,
)
"""Forms in which a row may name an image: its path in the folder, its name, its name without suffix."""


def find_table(folder: Path) -> Path | None:
    """Path of ``factors.csv`` in a folder, or of its only CSV file, or ``None``.

    Raises:
        ValueError: The folder has several CSV files and none of them is ``factors.csv``.
    """
    tables = sorted(file for file in folder.glob("*.csv") if not file.name.startswith("."))
    if (folder / _TABLE) in tables:
        return folder / _TABLE
    if len(tables) > 1:
        got = ", ".join(file.name for file in tables)
        raise ValueError(
            f"{folder}: expected one table of factors, got {got}; rename it to {_TABLE}"
        )
    return tables[0] if tables else None


def read_factors(table: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The columns of a CSV file, with rows in the order of the images.

    Args:
        table: Path of the file.
        names: Paths of the images in their folder, with slashes.

    Raises:
        ValueError: The file is damaged, a value is missing, or rows and images do not match.
    """
    with reading(table, "a table of factors", of_user=True):
        header, rows = _read_csv(table)
        position = _file_column(header)
        by_name = _rows_by_image(table, rows, position, names)
        table_rows = [by_name[name] for name in names]
        columns = dict(zip(header, map(list, zip(*table_rows, strict=True)), strict=True))
        del columns[header[position]]
        return {name: _parsed(column) for name, column in columns.items()}


def _file_column(header: Sequence[str]) -> int:
    """Position of the column that names the images: by its name, or else the first."""
    lowered = [name.strip().lower() for name in header]
    named = [lowered.index(name) for name in _FILE_COLUMNS if name in lowered]
    return named[0] if named else 0


def _rows_by_image(
    table: Path, rows: Sequence[list[str]], position: int, names: Sequence[str]
) -> dict[str, list[str]]:
    """The row of each image, after checking that rows and images match one to one."""
    written = [row[position].strip().replace("\\", "/").removeprefix("./") for row in rows]
    if len(set(written)) != len(rows):
        got = f"{len(rows)} for {len(set(written))} names"
        raise ValueError(f"{table}: expected one row for each image, got {got}")
    for key in _KEYS:
        listed = {key(name): row for name, row in zip(written, rows, strict=True)}
        images = {key(name): name for name in names}
        if len(images) == len(names) == len(rows) and listed.keys() == images.keys():
            return {images[name]: row for name, row in listed.items()}
    unmatched = sorted(set(written) ^ set(names))
    got = f"{unmatched[0]} has no partner" if unmatched else "names that occur twice"
    raise ValueError(f"{table}: expected a row for each image and no other, {got}")


def _read_csv(table: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, after checking that no value is missing."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        lines = file.read().splitlines(keepends=True)
    delimiter = max(_DELIMITERS, key=lambda mark: lines[0].count(mark)) if lines else ","
    header, *rows = [row for row in csv.reader(lines, delimiter=delimiter) if row] or [[]]
    if len(set(header)) != len(header) or len(header) < 2:
        expected = "a header file,<factor>,… without repeats"
        raise ValueError(f"{table}: expected {expected}, got {','.join(header)}")
    for row in rows:
        if len(row) != len(header) or "" in row:
            got = ",".join(row)
            raise ValueError(f"{table}: expected {len(header)} values in each row, got {got}")
    return header, rows


def _parsed(column: Sequence[str]) -> npt.NDArray[Any]:
    """Texts as integers if all are integers, as floats if all are numbers, else as strings."""
    for kind in (int, float):
        try:
            return np.array([kind(text) for text in column])
        except ValueError:
            continue
    return np.array(column)
