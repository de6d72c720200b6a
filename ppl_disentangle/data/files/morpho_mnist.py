"""Morpho-MNIST: handwritten digits with measured shapes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset
from ppl_disentangle.data.binning import binned_classes
from ppl_disentangle.data.files.idx import read_idx
from ppl_disentangle.data.files.reading import reading

__all__ = ["MorphoMNIST"]

_MEASURES = ("area", "length", "thickness", "slant", "width", "height")
_DIGITS = tuple(range(10))
_PERTURBATIONS = ("plain", "thin", "thick", "swell", "fracture")
_STEMS = {"training": "train", "testing": "t10k"}


class MorphoMNIST(FactorDataset):
    """Digits of 28 x 28 pixels with area, length, thickness, slant, width and height [1].

    With ``train`` or ``t10k`` for …, the folder has ``…-images-idx3-ubyte`` and
    ``…-labels-idx1-ubyte``, gzipped or not, ``…-morpho.csv``, and in data sets with perturbed
    digits ``…-pert-idx1-ubyte``.

    The factors are the digit, the perturbation if the file exists, and the six measures. For
    metrics, the classes of a measure are 20 intervals with about as many digits each; the numbers
    themselves are :attr:`values`.

    Args:
        path: Path of the folder.
        part: Files to read: ``"training"`` or ``"testing"``.

    Attributes:
        measures: Names of the measures.
        values: Measures, float32 of shape ``(len, 6)``, in pixels, and the slant in radians.

    Raises:
        ValueError: A file is missing, is damaged, or does not fit the others.

    References:
        [1] Castro et al., 2019. Morpho-MNIST: quantitative assessment and diagnostics for
        representation learning. https://arxiv.org/abs/1809.10780
    """

    measures = _MEASURES

    def __init__(
        self, path: str | Path, *, part: Literal["training", "testing"] = "training"
    ) -> None:
        if part not in _STEMS:
            raise ValueError(f"expected part among {list(_STEMS)}, got {part!r}")
        folder = Path(path).expanduser()
        stem = _STEMS[part]
        images, table = _read_digits(folder, stem)
        columns = [*_label_columns(folder, stem, len(images)), *_measure_columns(table)]
        self.name = "morpho_mnist"
        self.maximum = 255
        self.observation_shape = (1, *images.shape[1:])
        self.space = tuple(column.factor for column in columns)
        self.values = table
        self._images = DeviceCopies(torch.from_numpy(images)[:, None])
        self._classes = DeviceCopies(torch.stack([column.classes for column in columns], -1))

    def __len__(self) -> int:
        return len(self.values)

    def observations(self, index: Tensor) -> Tensor:
        """Images as stored, uint8 of shape ``(len(index), 1, 28, 28)``."""
        return self._images.on(index.device).index_select(0, index)

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""
        return self._classes.on(index.device).index_select(0, index)

    def factor_numbers(self, index: Tensor) -> Tensor:
        """Measures, and classes of other factors, float64 ``(len(index), len(space))``."""
        columns = self.factors(index).double()
        columns[:, -len(_MEASURES) :] = self.values[index.cpu()].to(columns)
        return columns


class _Column(NamedTuple):
    """A factor and the class of each digit, ``(num,)``."""

    factor: Factor
    classes: Tensor


def _read_digits(folder: Path, stem: str) -> tuple[npt.NDArray[np.uint8], Tensor]:
    """Images ``(num, height, width)`` and measures ``(num, 6)``."""
    images = read_idx(_find(folder, f"{stem}-images-idx3-ubyte"))
    measures = folder / f"{stem}-morpho.csv"
    with reading(measures, "a table of measures"):
        table = _read_table(measures)
    if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(table):
        expected = "images of uint8 (num, height, width) and as many rows"
        got = f"{images.dtype} {images.shape} and {len(table)} rows"
        raise ValueError(f"{folder}: expected {expected}, got {got}")
    return images, torch.from_numpy(table)


def _label_columns(folder: Path, stem: str, num: int) -> list[_Column]:
    """The digit, and the perturbation if the folder has its file."""
    digit_file = _find(folder, f"{stem}-labels-idx1-ubyte")
    columns = [_label_column("digit", _DIGITS, digit_file, num)]
    perturbation = f"{stem}-pert-idx1-ubyte"
    if any(file.is_file() for file in _candidates(folder, perturbation)):
        file = _find(folder, perturbation)
        columns.append(_label_column("perturbation", _PERTURBATIONS, file, num))
    return columns


def _label_column(name: str, values: tuple[float | str, ...], file: Path, num: int) -> _Column:
    """A categorical factor whose classes are in an IDX file."""
    return _Column(Factor(name, values, "categorical"), _read_classes(file, len(values), num))


def _measure_columns(table: Tensor) -> list[_Column]:
    """The six measures, with intervals as classes."""
    columns = []
    for name, measure in zip(_MEASURES, table.unbind(-1), strict=True):
        medians, classes = binned_classes(measure.contiguous().numpy())
        columns.append(_Column(Factor(name, medians, "continuous"), torch.from_numpy(classes)))
    return columns


def _candidates(folder: Path, name: str) -> tuple[Path, Path]:
    """Paths of a file and of its gzipped form."""
    return folder / name, folder / f"{name}.gz"


def _find(folder: Path, name: str) -> Path:
    """Path of a file that may be gzipped."""
    for file in _candidates(folder, name):
        if file.is_file():
            return file
    raise ValueError(f"{folder}: expected a file {name} or {name}.gz, got none")


def _read_classes(path: Path, num_classes: int, num: int) -> Tensor:
    """Classes of ``num`` images, int64."""
    classes = read_idx(path)
    if classes.shape != (num,) or classes.dtype != np.uint8:
        got = f"{classes.dtype} {classes.shape}"
        raise ValueError(f"{path}: expected {num} bytes, one for each image, got {got}")
    if classes.max() >= num_classes:
        raise ValueError(f"{path}: expected numbers 0 to {num_classes - 1}, got {classes.max()}")
    return torch.from_numpy(classes).long()


def _read_table(path: Path) -> npt.NDArray[np.float32]:
    """The measures, ``(rows, 6)``, in the order of the images."""
    expected_header = ["index", *_MEASURES]
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if header != expected_header:
        expected = f"the header {','.join(expected_header)}"
        raise ValueError(f"{path}: expected {expected}, got {','.join(header)}")
    try:
        table = np.array(rows, dtype=np.float64).reshape(-1, len(expected_header))
    except ValueError as error:
        raise ValueError(f"{path}: expected 7 numbers in each row: {error}") from error
    in_order = np.array_equal(table[:, 0], np.arange(len(table)))
    if not rows or not in_order or not np.isfinite(table).all():
        raise ValueError(f"{path}: expected finite numbers, and 0, 1, 2, … as index, got others")
    return table[:, 1:].astype(np.float32)
