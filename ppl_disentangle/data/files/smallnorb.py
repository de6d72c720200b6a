"""The files of SmallNORB."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from ppl_disentangle.data.base import DeviceCopies, Factor
from ppl_disentangle.data.files.norb_matrix import read_blocks, read_matrix
from ppl_disentangle.data.files.resized import resized
from ppl_disentangle.data.files.stored_grid import StoredGrid

__all__ = ["SmallNORB"]

_BLOCK = 256
_CATEGORIES = ("animal", "human", "plane", "truck", "car")


class SmallNORB(StoredGrid):
    """Photographs of 50 toys of five kinds, from 9 heights and 18 sides under 6 lights, by two cameras [1].

    The folder has ``smallnorb-…-dat.mat``, ``…-cat.mat`` and ``…-info.mat`` of training, testing or both, gzipped or
    not. The 24,300 data of each are all combinations of kind, toy, height, side and light; here they are in this order,
    which is not that of the files. Each half has five toys of a kind, and none of the other's.

    Args:
        path: the folder.
        part: which of the files to read: ``"training"``, ``"testing"`` or ``"both"``.
        size: pixels along each side; 96 as published, 64 as in most of the literature.
        cameras: 1 for the first camera, 2 for both, as two channels.

    Raises:
        ValueError: a file is missing, damaged or unlike the others, or not every combination is there once.

    References:
        [1] LeCun, Huang and Bottou, 2004. Learning methods for generic object recognition with invariance to pose and
        lighting. https://cs.nyu.edu/~ylclab/data/norb-v1.0-small
    """

    def __init__(
        self,
        path: str | Path,
        *,
        part: Literal["training", "testing", "both"] = "both",
        size: int = 64,
        cameras: Literal[1, 2] = 1,
    ) -> None:
        if part not in ("training", "testing", "both") or cameras not in (1, 2) or size < 1:
            got = f"{part=}, {cameras=}, {size=}"
            raise ValueError(
                f"expected part training, testing or both, 1 or 2 cameras and size > 0, got {got}"
            )
        self.name, self.maximum, self.observation_shape = "smallnorb", 255, (cameras, size, size)
        halves = ("training", "testing") if part == "both" else (part,)
        read = [_read_half(Path(path), half, size, cameras) for half in halves]
        table = np.concatenate([labels for _, labels in read])
        self.images = torch.from_numpy(np.concatenate([images for images, _ in read]))
        levels = [np.unique(column) for column in table.T]
        order = np.lexsort(table.T[::-1])
        sizes = [len(level) for level in levels]
        if np.prod(sizes) != len(table) or len(np.unique(table, axis=0)) != len(table):
            raise ValueError(
                f"{path}: expected every combination once, got {sizes} values, {len(table)} data"
            )
        self.rows = DeviceCopies(torch.from_numpy(order))
        kinds, toys, heights, sides, lights = (level.tolist() for level in levels)
        self.space = (
            Factor("category", tuple(_CATEGORIES[k] for k in kinds), "categorical"),
            Factor("instance", tuple(toys), "categorical"),
            Factor("elevation", tuple(30 + 5 * k for k in heights)),
            Factor("azimuth", tuple(10 * k for k in sides), "cyclic"),
            Factor("lighting", tuple(lights), "categorical"),
        )


def _read_half(
    folder: Path, half: str, size: int, cameras: int
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.generic]]:
    """Images ``(num, size, size, cameras)`` and labels ``(num, 5)`` of training or testing."""
    images_at, kinds_at, others_at = (
        _find(folder, f"{half}-{key}") for key in ("dat", "cat", "info")
    )
    kinds, others = read_matrix(kinds_at), read_matrix(others_at)
    if (
        kinds.ndim != 1
        or others.shape != (len(kinds), 4)
        or not np.isin(kinds, range(len(_CATEGORIES))).all()
    ):
        raise ValueError(
            f"{folder}: expected kinds 0 to 4 of shape (num,) and info (num, 4), got {kinds.shape} and {others.shape}"
        )
    images = np.empty((len(kinds), size, size, cameras), dtype=np.uint8)
    done = 0
    for block in read_blocks(images_at, _BLOCK):
        if (
            block.dtype != np.uint8
            or block.ndim != 4
            or block.shape[1] != 2
            or block.shape[2] != block.shape[3]
        ):
            raise ValueError(
                f"{images_at}: expected uint8 (num, 2, side, side), got {block.dtype} {block.shape}"
            )
        pairs = np.ascontiguousarray(block[:, :cameras].transpose(0, 2, 3, 1))
        if done + len(pairs) > len(images):
            raise ValueError(
                f"{images_at}: expected {len(images)} pairs of images, as there are kinds, got more"
            )
        images[done : done + len(pairs)] = resized(pairs, size)
        done += len(pairs)
    if done != len(images):
        raise ValueError(
            f"{images_at}: expected {len(images)} pairs of images, as there are kinds, got {done}"
        )
    return images, np.column_stack([kinds, others])


def _find(folder: Path, key: str) -> Path:
    found = sorted(folder.glob(f"smallnorb-*-{key}.mat*"))
    if not found:
        raise ValueError(f"{folder}: expected a file smallnorb-…-{key}.mat or .mat.gz, got none")
    return found[0]
