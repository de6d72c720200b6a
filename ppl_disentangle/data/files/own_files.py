"""User files as a data set: an npz or npy file, or a folder of images."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays
from ppl_disentangle.data.base import Kind
from ppl_disentangle.data.files import npz
from ppl_disentangle.data.files.factor_table import find_table, read_factors
from ppl_disentangle.data.files.pictures import SUFFIXES, Canvas, read_images
from ppl_disentangle.data.files.reading import check_size, reading

__all__ = ["from_folder", "from_npy", "from_npz"]

_LABEL_KEYS = ("labels", "label", "y", "targets", "target", "classes")
_FACTOR_KEYS = ("factors", "factor_names")
_CHANNELS = (1, 3, 4)


def from_npz(
    path: str | Path,
    *,
    key: str | None = None,
    maximum: float | None = None,
    channels_last: bool | None = None,
    kind: Kind | None = None,
) -> ArrayDataset:
    """The observations of an npz file, with the factors that the file has beside them.

    Factors are ``factors`` with ``factor_names``, and ``y``, ``label``, ``labels``, ``target``,
    ``targets`` or ``classes``, in any case. The observations are the only other array, under any
    name, such as ``x``, ``data`` or ``arr_0``. Nothing is unpickled. See
    :func:`~ppl_disentangle.data.from_arrays` for the accepted arrays.

    Args:
        path: Path of the file.
        key: Name of the array of observations, for a file with several; the others are not read,
            except for the factors.
        maximum: Stored value that stands for 1; by default 255 for uint8 that exceed 1, else 1.
        channels_last: Whether images have shape ``(num, height, width, channels)``. By default,
            this follows from the shape: 1, 3 or 4 channels at one end, or two equal sides.
        kind: Kind of the observations, such as ``"signal"`` or ``"sequence"``; see
            :func:`~ppl_disentangle.data.from_arrays`.

    Raises:
        ValueError: The file has another format or is damaged, it has several arrays that might be
            the observations, or the arrays do not fit each other.
    """
    path = Path(path).expanduser()
    with reading(path, "an npz file of arrays", of_user=True):
        if path.is_file() and not zipfile.is_zipfile(path):
            raise ValueError(f"{path}: expected an npz file, got another format")
        with zipfile.ZipFile(path) as archive:
            keys = npz.keys(archive)
            found = _observation_key(keys, key)
            return _labelled_arrays(
                npz.small_array(archive, found),
                {name: npz.small_array(archive, name) for name in _factor_keys(keys, found)},
                maximum=maximum,
                channels_last=channels_last,
                kind=kind,
                name=path.stem,
            )


def from_npy(
    path: str | Path,
    *,
    maximum: float | None = None,
    channels_last: bool | None = None,
    kind: Kind | None = None,
) -> ArrayDataset:
    """The observations of an npy file, mapped into memory and not copied.

    Args:
        path: Path of the file.
        maximum: Stored value that stands for 1; by default 255 for uint8 that exceed 1, else 1.
        channels_last: Whether images have shape ``(num, height, width, channels)``; by default this
            follows from the shape, as for :func:`~ppl_disentangle.data.from_npz`.
        kind: Kind of the observations; see :func:`~ppl_disentangle.data.from_arrays`.

    Raises:
        ValueError: The file has another format or is damaged.
    """
    path = Path(path).expanduser()
    with reading(path, "an npy file of an array", of_user=True):
        with path.open("rb") as stream:
            shape, _, dtype = npz.read_header(stream)
            check_size(shape, dtype.itemsize, path.stat().st_size - stream.tell(), "the array")
        array = np.load(path, mmap_mode="r", allow_pickle=False)
        return _labelled_arrays(
            array, {}, maximum=maximum, channels_last=channels_last, kind=kind, name=path.stem
        )


def _labelled_arrays(
    x: npt.NDArray[Any],
    labels: dict[str, npt.NDArray[Any]],
    *,
    maximum: float | None,
    channels_last: bool | None,
    kind: Kind | None,
    name: str,
) -> ArrayDataset:
    """Observations with the factors of ``factors`` and ``factor_names``, and further labels."""
    if channels_last is None:
        channels_last = _has_channels_last(x.shape)
    return from_arrays(
        x,
        _label_columns(labels),
        maximum=maximum,
        channels_last=channels_last,
        kind=kind,
        name=name,
    )


def _observation_key(keys: Sequence[str], key: str | None) -> str:
    """Name of the array of observations among the arrays of a file."""
    if key is not None:
        if key not in keys:
            raise ValueError(f"expected an array {key!r}, got {list(keys)}")
        return key
    others = [name for name in keys if name.lower() not in (*_LABEL_KEYS, *_FACTOR_KEYS)]
    if len(others) != 1:
        got = f"{list(keys)}; save them as x, factors as factors or y, or pass key=…"
        raise ValueError(f"expected one array of observations beside its factors, got {got}")
    return others[0]


def _factor_keys(keys: Sequence[str], observation_key: str) -> list[str]:
    """Names of the arrays of factors."""
    known = (*_LABEL_KEYS, *_FACTOR_KEYS)
    return [name for name in keys if name.lower() in known and name != observation_key]


def _label_columns(labels: dict[str, npt.NDArray[Any]]) -> dict[str, npt.NDArray[Any]]:
    """A column of numbers or texts for each factor, by name."""
    columns: dict[str, npt.NDArray[Any]] = {}
    names = next((v for k, v in labels.items() if k.lower() == "factor_names"), None)
    for key, array in labels.items():
        if key.lower() == "factor_names":
            continue
        given = names if key.lower() == "factors" else None
        for name, column in _columns_of(key, array, given).items():
            if name in columns:
                raise ValueError(f"expected each factor once, got {name!r} twice")
            columns[name] = column
    if names is not None and not any(key.lower() == "factors" for key in labels):
        raise ValueError("expected factor_names only beside an array of factors")
    return columns


def _columns_of(
    key: str, array: npt.NDArray[Any], names: npt.NDArray[Any] | None
) -> dict[str, npt.NDArray[Any]]:
    """The columns of one array of factors, named by ``names``, or after the array."""
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    if array.ndim == 1 and names is None:
        return {key if key.lower() != "factors" else "factor0": array}
    table = array[:, None] if array.ndim == 1 else array
    if table.ndim != 2:
        raise ValueError(f"expected {key} of shape (num,) or (num, factors), got {table.shape}")
    stem = "factor" if key.lower() == "factors" else key
    given = [f"{stem}{k}" for k in range(table.shape[1])] if names is None else names.tolist()
    if not isinstance(given, list) or len(set(map(str, given))) != table.shape[1] != 0:
        raise ValueError(f"expected {table.shape[1]} different factor_names, got {given}")
    return dict(zip(map(str, given), table.T, strict=True))


def _has_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether images of this shape have their channels last.

    Raises:
        ValueError: The shape fits both ``(num, channels, height, width)`` and channels last.
    """
    if len(shape) != 4:
        return False
    _, first, second, third = shape
    if (first in _CHANNELS) != (third in _CHANNELS):
        return third in _CHANNELS
    if (first == second) != (second == third):
        return first == second
    raise ValueError(
        f"expected (num, channels, height, width) or channels last, got {shape}, which may be either;"
        " say which by channels_last=True or False, on the command line by --channels-last or"
        " --channels-first"
    )


def from_folder(
    path: str | Path,
    *,
    size: int | tuple[int, int] = 64,
    channels: int = 3,
    background: str = "white",
    factors: str | Path | None = None,
) -> ArrayDataset:
    """The images in a folder, sorted by name, cut at their centre and resized.

    A folder whose images are in sub-folders, such as ``photos/cat/*.png``, has the factor
    ``class``: the name of the sub-folder. Transparent pixels show the background.

    Args:
        path: Path of the folder. Hidden files and files without the suffix of an image are ignored.
        size: Pixels along each side, or height and width.
        channels: 1 for grey, 3 for RGB, 4 for RGB and opacity.
        background: Colour under transparent pixels, by name or as ``#rrggbb``; white by default.
            With four channels, pixels keep their opacity.
        factors: Path of a CSV file with a row for each image. Its column ``file``, ``filename``,
            ``path`` or ``image``, or else its first column, names the images; the other columns are
            factors. By default ``factors.csv`` in the folder, or the only CSV file there. Columns
            with values that are not numbers are categorical.

    Raises:
        ValueError: The folder has no images, an image cannot be read, or the CSV file does not list
            exactly the images.
    """
    folder = Path(path).expanduser()
    canvas = Canvas.of(size, channels, background)
    classes = _classes(folder)
    files = _image_files(folder) if not classes else [f for fs in classes.values() for f in fs]
    columns = _class_column(classes)
    table = find_table(folder) if factors is None else Path(factors).expanduser()
    if table is not None:
        names = [file.relative_to(folder).as_posix() for file in files]
        columns |= read_factors(table, names)
    images = read_images(files, canvas)
    name = folder.resolve().name
    return from_arrays(images, columns, maximum=255, kind="image", name=name)


def _classes(folder: Path) -> dict[str, list[Path]]:
    """Images of each sub-folder by its name, if the images are in sub-folders."""
    found = {}
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and not inner.name.startswith((".", "__")):
            images = _images_in(inner)
            if images:
                found[inner.name] = images
    if found and _images_in(folder):
        got = f"both; move the images of {', '.join(found)}, or name one of the folders"
        raise ValueError(
            f"{folder}: expected images in the folder or in its sub-folders, got {got}"
        )
    return found


def _class_column(classes: dict[str, list[Path]]) -> dict[str, npt.NDArray[Any]]:
    """The factor ``class`` of images in sub-folders."""
    names = [name for name, files in classes.items() for _ in files]
    return {"class": np.array(names)} if names else {}


def _image_files(folder: Path) -> list[Path]:
    """Paths of the images in a folder, sorted by name; hidden files are ignored."""
    files = _images_in(folder)
    if not files:
        expected = f"images with a suffix among {', '.join(SUFFIXES)}"
        raise ValueError(f"{folder}: expected {expected}, got none{_hint(folder)}")
    return files


def _hint(folder: Path) -> str:
    """Where images are, if they are two folders below: in a split such as ``train/cat``."""
    inner = sorted(path for path in folder.iterdir() if path.is_dir())
    deeper = [path for path in inner if any(map(_images_in, filter(Path.is_dir, path.iterdir())))]
    return f"; the images are below, name one of the folders, such as {deeper[0]}" if deeper else ""


def _images_in(folder: Path) -> list[Path]:
    visible = [file for file in folder.iterdir() if not file.name.startswith(".")]
    return sorted(file for file in visible if file.suffix.lower() in SUFFIXES)
