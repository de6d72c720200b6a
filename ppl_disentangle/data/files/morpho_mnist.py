"""Morpho-MNIST: handwritten digits with the measures of their strokes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset
from ppl_disentangle.data.binning import classes_of
from ppl_disentangle.data.files.idx import read_idx

__all__ = ["MorphoMNIST"]

_MEASURES = ("area", "length", "thickness", "slant", "width", "height")
_PERTURBATIONS = ("plain", "thin", "thick", "swell", "fracture")
_STEMS = {"training": "train", "testing": "t10k"}


class MorphoMNIST(FactorDataset):
    """Digits of 28 x 28 pixels with area, length, thickness, slant, width and height [1].

    The folder has, for ``train`` or ``t10k``, ``…-images-idx3-ubyte``, ``…-labels-idx1-ubyte``, gzipped or not,
    ``…-morpho.csv``, and in the sets with perturbed digits ``…-pert-idx1-ubyte``.

    The factors are the digit, the perturbation if there is one, and the six measures. Their classes, for metrics, are
    20 intervals that hold about as many digits each; the numbers themselves are :attr:`values`.

    Args:
        path: the folder.
        part: which of the files to read: ``"training"`` or ``"testing"``.

    Attributes:
        measures: names of the measures.
        values: the measures, float32 of shape ``(len, 6)``: pixels, and radians of slant.

    Raises:
        ValueError: a file is missing, damaged or does not fit the others.

    References:
        [1] Castro et al., 2019. Morpho-MNIST: quantitative assessment and diagnostics for representation learning.
        https://arxiv.org/abs/1809.10780
    """

    measures = _MEASURES

    def __init__(
        self, path: str | Path, *, part: Literal["training", "testing"] = "training"
    ) -> None:
        if part not in _STEMS:
            raise ValueError(f"expected part among {list(_STEMS)}, got {part!r}")
        folder, stem = Path(path), _STEMS[part]
        self.name, self.maximum = "morpho_mnist", 255
        images = read_idx(_find(folder, f"{stem}-images-idx3-ubyte"))
        table = _read_table(folder / f"{stem}-morpho.csv")
        if images.dtype != np.uint8 or images.ndim != 3 or len(images) != len(table):
            got = f"{images.dtype} {images.shape} and {len(table)} rows"
            raise ValueError(
                f"{folder}: expected images of uint8 (num, height, width) and as many rows, got {got}"
            )
        columns: list[tuple[str, tuple[float | str, ...], Path]]
        columns = [("digit", tuple(range(10)), _find(folder, f"{stem}-labels-idx1-ubyte"))]
        perturbed = f"{stem}-pert-idx1-ubyte"
        if any(file.is_file() for file in _both(folder, perturbed)):
            columns.append(("perturbation", _PERTURBATIONS, _find(folder, perturbed)))
        classes = [_read_classes(file, len(words), len(images)) for _, words, file in columns]
        self.values = torch.from_numpy(table)
        medians, intervals = zip(
            *(classes_of(measure.contiguous()) for measure in self.values.unbind(-1)), strict=True
        )
        self.space = (
            *(Factor(name, words, "categorical") for name, words, _ in columns),
            *(Factor(name, values) for name, values in zip(_MEASURES, medians, strict=True)),
        )
        self.observation_shape = (1, *images.shape[1:])
        self._images = DeviceCopies(torch.from_numpy(images)[:, None])
        self._classes = DeviceCopies(torch.stack([*classes, *intervals], -1))

    def __len__(self) -> int:
        return len(self.values)

    def observations(self, index: Tensor) -> Tensor:
        """Images as stored, uint8 of shape ``(len(index), 1, 28, 28)``."""
        return self._images.on(index.device).index_select(0, index)

    def factors(self, index: Tensor) -> Tensor:
        """Factor classes, int64 of shape ``(len(index), len(space))``."""
        return self._classes.on(index.device).index_select(0, index)


def _both(folder: Path, name: str) -> tuple[Path, Path]:
    """The file and its gzipped form."""
    return folder / name, folder / f"{name}.gz"


def _find(folder: Path, name: str) -> Path:
    found = [file for file in _both(folder, name) if file.is_file()]
    if not found:
        raise ValueError(f"{folder}: expected a file {name} or {name}.gz, got none")
    return found[0]


def _read_classes(path: Path, size: int, num: int) -> Tensor:
    """Numbers below ``size`` of ``num`` images, int64."""
    classes = read_idx(path)
    if classes.shape != (num,) or classes.dtype != np.uint8:
        raise ValueError(
            f"{path}: expected {num} bytes, one for each image, got {classes.dtype} {classes.shape}"
        )
    if classes.max() >= size:
        raise ValueError(f"{path}: expected numbers 0 to {size - 1}, got {classes.max()}")
    return torch.from_numpy(classes).long()


def _read_table(path: Path) -> npt.NDArray[np.float32]:
    """The measures, ``(rows, 6)``, in the order of the images."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if header != ["index", *_MEASURES]:
        raise ValueError(
            f"{path}: expected the header index,{','.join(_MEASURES)}, got {','.join(header)}"
        )
    try:
        table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    except ValueError as error:
        raise ValueError(f"{path}: expected 7 numbers in each row: {error}") from error
    if (
        not rows
        or not np.array_equal(table[:, 0], np.arange(len(table)))
        or not np.isfinite(table).all()
    ):
        raise ValueError(f"{path}: expected finite numbers, and 0, 1, 2, … as index, got others")
    return table[:, 1:].astype(np.float32)
