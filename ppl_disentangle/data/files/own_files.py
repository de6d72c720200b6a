"""Your own files as a data set: an npz file, or a folder of images."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays

__all__ = ["MODES", "from_folder", "from_npz", "read_image"]

_KEYS = ("x", "images", "imgs", "observations")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
"""Names of Pillow by number of channels."""


def from_npz(
    path: str | Path, *, maximum: float | None = None, channels_last: bool = False
) -> ArrayDataset:
    """The array ``x`` of an npz file with, where it has them, its ``factors`` and ``factor_names``.

    ``x`` may be called ``images``, ``imgs`` or ``observations`` too. Nothing is unpickled. What the arrays
    may be, and the arguments, are as in :func:`~ppl_disentangle.data.from_arrays`.
    """
    path = Path(path)
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected an npz file, got another format")
    with np.load(path, allow_pickle=False) as file:
        keys = [key for key in file.files if key in _KEYS]
        unknown = set(file.files) - {*keys, "factors", "factor_names"}
        if len(keys) != 1 or unknown:
            expected = f"one of {list(_KEYS)}, at most factors and factor_names beside it"
            raise ValueError(f"{path}: expected {expected}, got {file.files}")
        try:
            return from_arrays(
                file[keys[0]],
                file["factors"] if "factors" in file.files else None,
                factor_names=file["factor_names"].tolist()
                if "factor_names" in file.files
                else None,
                maximum=maximum,
                channels_last=channels_last,
                name=path.stem,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def from_folder(
    path: str | Path, *, size: int = 64, channels: int = 3, factors: str | Path | None = None
) -> ArrayDataset:
    """The images in a folder, sorted by name, cut to a centred square and resized.

    Args:
        path: the folder; folders in it and files that are no images by their suffix are left out.
        size: side of the square in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        factors: a CSV file with the header ``file,<factor>,<factor>,…`` and one row for each image; by
            default ``factors.csv`` in the folder, if there is one. Columns that are not all numbers are
            categorical.
    """
    folder = Path(path)
    shown = (file for file in folder.iterdir() if not file.name.startswith("."))
    files = sorted(file for file in shown if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(
            f"{folder}: expected images with a suffix among {', '.join(_SUFFIXES)}, got none"
        )
    if channels not in MODES or size < 1:
        raise ValueError(
            f"expected size > 0 and channels among {list(MODES)}, got {size=}, {channels=}"
        )
    table = folder / "factors.csv" if factors is None else Path(factors)
    columns = (
        _read_factors(table, [f.name for f in files])
        if factors is not None or table.exists()
        else None
    )
    images = np.empty((len(files), channels, size, size), dtype=np.uint8)
    for image, file in zip(images, files, strict=True):
        image[:] = read_image(file, size, MODES[channels])
    return from_arrays(images, columns, maximum=255, name=folder.resolve().name)


def read_image(file: Path, size: int, mode: str) -> npt.NDArray[np.uint8]:
    """An image of shape ``(channels, size, size)``."""
    from PIL import Image, ImageOps

    try:
        with Image.open(file) as image:
            if image.mode.startswith(("I", "F")):
                raise ValueError(f"expected 8 bits a channel, got mode {image.mode}")
            upright = ImageOps.exif_transpose(image).convert(mode)
            pixels = np.asarray(ImageOps.fit(upright, (size, size)))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read: {error}") from error
    return pixels.reshape(size, size, -1).transpose(2, 0, 1)


def _read_factors(table: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The columns of a CSV file, their rows in the order of ``names``."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if header[:1] != ["file"] or len(set(header)) != len(header) or len(header) < 2:
        raise ValueError(
            f"{table}: expected a header file,<factor>,… without repeats, got {','.join(header)}"
        )
    for row in rows:
        if len(row) != len(header) or "" in row:
            raise ValueError(
                f"{table}: expected {len(header)} values in each row, got {','.join(row)}"
            )
    by_name = {row[0]: row[1:] for row in rows}
    if len(by_name) != len(rows):
        raise ValueError(
            f"{table}: expected one row for each image, got {len(rows)} for {len(by_name)} names"
        )
    if strays := by_name.keys() ^ set(names):
        raise ValueError(
            f"{table}: expected a row for each image and no other, {min(strays)} has no partner"
        )
    columns = zip(*(by_name[name] for name in names), strict=True)
    return {name: _parsed(column) for name, column in zip(header[1:], columns, strict=True)}


def _parsed(column: Sequence[str]) -> npt.NDArray[Any]:
    """Texts as integers if all are, else as floats if all are, else as they are."""
    for kind in (int, float):
        try:
            return np.array([kind(text) for text in column])
        except ValueError:
            continue
    return np.array(column)
