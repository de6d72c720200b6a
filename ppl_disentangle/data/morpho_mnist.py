"""Morpho-MNIST: handwritten digits with the measures of their strokes."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorDataset, Stored
from ppl_disentangle.data.binning import classes_of
from ppl_disentangle.data.idx import read_idx

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

    def __init__(self, path: str | Path, *, part: Literal["training", "testing"] = "training") -> None:
        if part not in _STEMS:
            raise ValueError(f"expected part among {list(_STEMS)}, got {part!r}")
        folder, stem = Path(path), _STEMS[part]
        self.name, self.maximum = "morpho_mnist", 255
        images = read_idx(_find(folder, f"{stem}-images-idx3-ubyte"))
        digits = read_idx(_find(folder, f"{stem}-labels-idx1-ubyte"))
        table = _read_table(folder / f"{stem}-morpho.csv")
        perturbed = [file for file in _both(folder, f"{stem}-pert-idx1-ubyte") if file.is_file()]
        columns = {"digit": digits, **({"perturbation": read_idx(perturbed[0])} if perturbed else {})}
        lengths = {"images": len(images), "rows": len(table), **{name: len(c) for name, c in columns.items()}}
        if images.ndim != 3 or images.dtype != np.uint8 or len(set(lengths.values())) != 1:
            found = f"{images.dtype} {images.shape} and {lengths}"
            raise ValueError(f"{folder}: expected images of uint8 (num, height, width) and as many labels, got {found}")
        self.observation_shape = (1, *images.shape[1:])
        self.values = torch.from_numpy(table)
        space, classes = [], []
        for name, column in columns.items():
            levels, inverse = np.unique(column, return_inverse=True)
            words = levels.tolist() if name == "digit" else [_PERTURBATIONS[k] for k in levels.tolist()]
            space.append(Factor(name, tuple(words), "categorical"))
            classes.append(torch.from_numpy(inverse))
        for name, measure in zip(_MEASURES, self.values.unbind(-1), strict=True):
            medians, indices = classes_of(measure.contiguous())
            space.append(Factor(name, medians))
            classes.append(indices)
        self.space = tuple(space)
        self._images, self._classes = Stored(torch.from_numpy(images)[:, None]), Stored(torch.stack(classes, -1))

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


def _read_table(path: Path) -> npt.NDArray[np.float32]:
    """The measures, ``(rows, 6)``, in the order of the images."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = [row for row in csv.reader(file) if row] or [[]]
    if header != ["index", *_MEASURES]:
        raise ValueError(f"{path}: expected the header index,{','.join(_MEASURES)}, got {','.join(header)}")
    try:
        table = np.array(rows, dtype=np.float64).reshape(-1, 7)
    except ValueError as error:
        raise ValueError(f"{path}: expected 7 numbers in each row: {error}") from error
    if not np.array_equal(table[:, 0], np.arange(len(table))) or not np.isfinite(table).all():
        raise ValueError(f"{path}: expected finite numbers, and 0, 1, 2, … as index, got others")
    return table[:, 1:].astype(np.float32)
