"""User files as a data set: an npz file, or a folder of images."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays

__all__ = ["check_size_and_channels", "from_folder", "from_npz", "read_image", "read_images"]

_OBSERVATION_KEYS = ("x", "images", "imgs", "observations")
_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_PILLOW_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by number of channels


def from_npz(
    path: str | Path, *, maximum: float | None = None, channels_last: bool = False
) -> ArrayDataset:
    """The array ``x`` of an npz file, and ``factors`` and ``factor_names`` if the file has them.

    ``x`` may also be named ``images``, ``imgs`` or ``observations``. Nothing is unpickled. See
    :func:`~ppl_disentangle.data.from_arrays` for the accepted arrays.

    Args:
        path: Path of the file.
        maximum: Stored value that stands for 1; by default 255 for uint8 that exceed 1, else 1.
        channels_last: Whether images have shape ``(num, height, width, channels)``.

    Raises:
        ValueError: The file has another format or other arrays, or the arrays do not fit each
            other.
    """
    path = Path(path)
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path}: expected an npz file, got another format")
    with np.load(path, allow_pickle=False) as file:
        key = _observation_key(path, file.files)
        factor_names = file["factor_names"].tolist() if "factor_names" in file.files else None
        try:
            return from_arrays(
                file[key],
                file["factors"] if "factors" in file.files else None,
                factor_names=factor_names,
                maximum=maximum,
                channels_last=channels_last,
                name=path.stem,
            )
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: {error}") from error


def _observation_key(path: Path, keys: Sequence[str]) -> str:
    """Name of the array of observations, after checking that the file has no other arrays."""
    observation_keys = [key for key in keys if key in _OBSERVATION_KEYS]
    unknown = set(keys) - {*observation_keys, "factors", "factor_names"}
    if len(observation_keys) != 1 or unknown:
        expected = f"one of {list(_OBSERVATION_KEYS)}, at most factors and factor_names beside it"
        raise ValueError(f"{path}: expected {expected}, got {list(keys)}")
    return observation_keys[0]


def from_folder(
    path: str | Path, *, size: int = 64, channels: int = 3, factors: str | Path | None = None
) -> ArrayDataset:
    """The images in a folder, sorted by name, cut to a centred square and resized.

    Args:
        path: Path of the folder. Sub-folders and files without the suffix of an image are ignored.
        size: Side of the square in pixels.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        factors: Path of a CSV file with the header ``file,<factor>,<factor>,…`` and one row for
            each image; by default ``factors.csv`` in the folder, if it exists. Columns with values
            that are not numbers are categorical.

    Raises:
        ValueError: The folder has no images, an image cannot be read, or the CSV file does not list
            exactly the images.
    """
    folder = Path(path)
    files = _image_files(folder)
    check_size_and_channels(size, channels)
    table = folder / "factors.csv" if factors is None else Path(factors)
    columns = None
    if factors is not None or table.exists():
        columns = _read_factors(table, [file.name for file in files])
    images = read_images(files, size, channels)
    return from_arrays(images, columns, maximum=255, name=folder.resolve().name)


def check_size_and_channels(size: int, channels: int) -> None:
    """Raise an error unless images of this size and number of channels can be read."""
    if channels not in _PILLOW_MODES or size < 1:
        expected = f"size > 0 and channels among {list(_PILLOW_MODES)}"
        raise ValueError(f"expected {expected}, got {size=}, {channels=}")


def read_images(
    files: Sequence[Path], size: int, channels: int, *, progress: bool = False
) -> npt.NDArray[np.uint8]:
    """Images of shape ``(len(files), channels, size, size)``.

    Args:
        files: Paths of the images.
        size: Pixels along each side, to which the images are cut and resized.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        progress: Whether to show a progress bar in a terminal.
    """
    images = np.empty((len(files), channels, size, size), dtype=np.uint8)
    bar = tqdm(files, desc="reading images", disable=None if progress else True)
    for image, file in zip(images, bar, strict=True):
        image[:] = read_image(file, size, _PILLOW_MODES[channels])
    return images


def read_image(file: Path, size: int, mode: str) -> npt.NDArray[np.uint8]:
    """An image of shape ``(channels, size, size)``, cut to a centred square and resized.

    Args:
        file: Path of the image.
        size: Pixels along each side.
        mode: Mode of Pillow, such as ``"RGB"``.

    Raises:
        ValueError: The image cannot be read or has more than 8 bits a channel.
    """
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


def _image_files(folder: Path) -> list[Path]:
    """Paths of the images in a folder, sorted by name; hidden files are ignored."""
    visible = [file for file in folder.iterdir() if not file.name.startswith(".")]
    files = sorted(file for file in visible if file.suffix.lower() in _SUFFIXES)
    if not files:
        expected = f"images with a suffix among {', '.join(_SUFFIXES)}"
        raise ValueError(f"{folder}: expected {expected}, got none")
    return files


def _read_factors(table: Path, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The columns of a CSV file, with rows in the order of ``names``."""
    header, rows = _read_csv(table)
    by_name = {row[0]: row[1:] for row in rows}
    if len(by_name) != len(rows):
        got = f"{len(rows)} for {len(by_name)} names"
        raise ValueError(f"{table}: expected one row for each image, got {got}")
    if unmatched := by_name.keys() ^ set(names):
        got = f"{min(unmatched)} has no partner"
        raise ValueError(f"{table}: expected a row for each image and no other, {got}")
    columns = zip(*(by_name[name] for name in names), strict=True)
    return {name: _parsed(column) for name, column in zip(header[1:], columns, strict=True)}


def _read_csv(table: Path) -> tuple[list[str], list[list[str]]]:
    """Header and rows of a CSV file, after checking that no value is missing."""
    with table.open(newline="", encoding="utf-8-sig") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if header[:1] != ["file"] or len(set(header)) != len(header) or len(header) < 2:
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
