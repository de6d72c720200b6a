"""SmallNORB, read from its binary matrices."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor
from ppl_disentangle.data.files.norb_matrix import read_blocks, read_matrix
from ppl_disentangle.data.files.resized import resized
from ppl_disentangle.data.files.stored_grid import StoredGrid

__all__ = ["SmallNORB"]

_BLOCK_PAIRS = 256
_HALVES = {"training": ("training",), "testing": ("testing",), "both": ("training", "testing")}
_CATEGORIES = ("animal", "human", "plane", "truck", "car")
_LOWEST_ELEVATION_DEGREES = 30
_ELEVATION_STEP_DEGREES = 5
_AZIMUTH_STEP_DEGREES = 10


class SmallNORB(StoredGrid):
    """Photographs of 50 toys of five kinds, from 9 heights and 18 sides, under 6 lights [1].

    The folder has ``smallnorb-…-dat.mat``, ``…-cat.mat`` and ``…-info.mat`` for training, testing
    or both, gzipped or not. The 24,300 data of each half are all combinations of kind, toy, height,
    side and light, here in this order, which differs from the order in the files. Each half has
    five toys of every kind; no toy is in both halves.

    Args:
        path: Path of the folder.
        part: Files to read: ``"training"``, ``"testing"`` or ``"both"``.
        size: Pixels along each side; 96 as published, 64 as in most of the literature.
        cameras: 1 for the first camera, 2 for both cameras as two channels.

    Raises:
        ValueError: A file is missing, is damaged, or does not fit the others, or a combination is
            missing or present twice.

    References:
        [1] LeCun, Huang and Bottou, 2004. Learning methods for generic object recognition with
        invariance to pose and lighting. https://cs.nyu.edu/~ylclab/data/norb-v1.0-small
    """

    def __init__(
        self,
        path: str | Path,
        *,
        part: Literal["training", "testing", "both"] = "both",
        size: int = 64,
        cameras: Literal[1, 2] = 1,
    ) -> None:
        if part not in _HALVES or cameras not in (1, 2) or size < 1:
            expected = "part training, testing or both, 1 or 2 cameras and size > 0"
            raise ValueError(f"expected {expected}, got {part=}, {cameras=}, {size=}")
        self.name = "smallnorb"
        self.maximum = 255
        self.observation_shape = (cameras, size, size)
        halves = [
            _read_half(Path(path).expanduser(), half, size, cameras) for half in _HALVES[part]
        ]
        images, labels = zip(*halves, strict=True)
        table = np.concatenate(labels)
        self.space = _space(path, table)
        self.images = torch.from_numpy(np.concatenate(images))
        # Row-major order: lexsort takes the most significant key last.
        self._rows = DeviceCopies(torch.from_numpy(np.lexsort(table.T[::-1])))

    def image_rows(self, index: Tensor) -> Tensor:
        """Positions in ``images``, which are in the order of the files."""
        return self._rows.on(index.device).index_select(0, index)


def _space(path: str | Path, table: npt.NDArray[np.generic]) -> tuple[Factor, ...]:
    """The factors, after checking that labels ``(num, 5)`` have every combination exactly once."""
    levels = [np.unique(column).tolist() for column in table.T]
    _check_combinations(path, table, [len(level) for level in levels])
    kinds, toys, heights, sides, lights = levels
    elevations = [_LOWEST_ELEVATION_DEGREES + _ELEVATION_STEP_DEGREES * k for k in heights]
    azimuths = [_AZIMUTH_STEP_DEGREES * k for k in sides]
    return (
        Factor("category", tuple(_CATEGORIES[k] for k in kinds), "categorical"),
        Factor("instance", tuple(toys), "categorical"),
        Factor("elevation", tuple(elevations)),
        Factor("azimuth", tuple(azimuths), "cyclic"),
        Factor("lighting", tuple(lights), "categorical"),
    )


def _check_combinations(path: str | Path, table: npt.NDArray[np.generic], sizes: list[int]) -> None:
    """Raise an error unless the labels have every combination exactly once."""
    num_distinct = len(np.unique(table, axis=0))
    if np.prod(sizes) != len(table) or num_distinct != len(table):
        got = f"{sizes} values, {len(table)} data"
        raise ValueError(f"{path}: expected every combination once, got {got}")


def _read_half(
    folder: Path, half: str, size: int, cameras: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.generic]]:
    """Images ``(num, size, size, cameras)`` and labels ``(num, 5)`` of training or testing."""
    images_path = _find(folder, f"{half}-dat")
    labels = _read_labels(folder, half)
    return _read_images(images_path, len(labels), size, cameras), labels


def _read_labels(folder: Path, half: str) -> npt.NDArray[np.generic]:
    """Labels ``(num, 5)`` of training or testing."""
    kinds = read_matrix(_find(folder, f"{half}-cat"))
    others = read_matrix(_find(folder, f"{half}-info"))
    shapes_fit = kinds.ndim == 1 and others.shape == (len(kinds), 4)
    if not shapes_fit or not np.isin(kinds, range(len(_CATEGORIES))).all():
        expected = "kinds 0 to 4 of shape (num,) and info (num, 4)"
        raise ValueError(f"{folder}: expected {expected}, got {kinds.shape} and {others.shape}")
    return np.column_stack([kinds, others])


def _read_images(path: Path, num: int, size: int, cameras: int) -> npt.NDArray[np.uint8]:
    """The ``num`` images of a matrix, ``(num, size, size, cameras)``."""
    expected = f"{num} pairs of images, as there are kinds"
    images = np.empty((num, size, size, cameras), dtype=np.uint8)
    start = 0
    for block in read_blocks(path, _BLOCK_PAIRS):
        end = start + len(block)
        pairs = _channels_last(path, block, cameras)
        if end > num:
            raise ValueError(f"{path}: expected {expected}, got more")
        images[start:end] = resized(pairs, size)
        start = end
    if start != num:
        raise ValueError(f"{path}: expected {expected}, got {start}")
    return images


def _channels_last(
    path: Path, block: npt.NDArray[np.generic], cameras: int
) -> npt.NDArray[np.uint8]:
    """Pairs of images ``(num, 2, side, side)`` as ``(num, side, side, cameras)``."""
    is_pair = block.ndim == 4 and block.shape[1] == 2 and block.shape[2] == block.shape[3]
    if block.dtype != np.uint8 or not is_pair:
        got = f"{block.dtype} {block.shape}"
        raise ValueError(f"{path}: expected uint8 (num, 2, side, side), got {got}")
    return np.ascontiguousarray(block[:, :cameras].transpose(0, 2, 3, 1))


def _find(folder: Path, key: str) -> Path:
    """Path of a matrix of SmallNORB that may be gzipped."""
    files = sorted(folder.glob(f"smallnorb-*-{key}.mat*"))
    if not files:
        raise ValueError(f"{folder}: expected a file smallnorb-…-{key}.mat or .mat.gz, got none")
    return files[0]
