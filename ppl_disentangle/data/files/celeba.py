"""CelebA from its folder: faces that are decoded when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset
from ppl_disentangle.data.files.own_files import read_image

__all__ = ["CelebA"]

_PARTS = {"training": 0, "validation": 1, "testing": 2}


class CelebA(FactorDataset):
    """Photographs of faces with 40 attributes that are there or are not [1].

    The folder has ``img_align_celeba`` with the images, ``list_attr_celeba.txt``, and for a part of them
    ``list_eval_partition.txt``. Images are decoded when they are asked for, cut to a centred square and resized, and
    none is kept: a torch ``DataLoader`` with workers does so beside the training.

    The attributes are no independent factors, and no cause is known: scores that need either do not apply.

    Args:
        path: the folder.
        part: ``"training"``, ``"validation"``, ``"testing"``, or all.
        size: pixels along each side.

    Raises:
        ValueError: a list is not as published, or an image of it is missing.

    References:
        [1] Liu et al., 2015. Deep learning face attributes in the wild. https://arxiv.org/abs/1411.7766
    """

    def __init__(
        self,
        path: str | Path,
        *,
        part: Literal["training", "validation", "testing"] | None = None,
        size: int = 64,
    ) -> None:
        if (part is not None and part not in _PARTS) or size < 1:
            raise ValueError(
                f"expected part among {list(_PARTS)} or None, and size > 0, got {part=}, {size=}"
            )
        folder = Path(path)
        names, attributes, table = _read_attributes(folder / "list_attr_celeba.txt")
        if part is not None:
            parts = _read_parts(folder / "list_eval_partition.txt", names)
            names, table = (
                [n for n, p in zip(names, parts, strict=True) if p == _PARTS[part]],
                table[parts == _PARTS[part]],
            )
        images = folder / "img_align_celeba"
        present = {file.name for file in images.iterdir()}
        if absent := next((name for name in names if name not in present), None):
            raise ValueError(
                f"{images}: expected an image {absent}, which is in the list, got none"
            )
        self._files, self._size = [images / name for name in names], size
        self.name, self.observation_shape, self.maximum = "celeba", (3, size, size), 255
        self.space = tuple(Factor(name, (-1, 1), "categorical") for name in attributes)
        self._classes = DeviceCopies(torch.from_numpy(table))

    def __len__(self) -> int:
        return len(self._files)

    def observations(self, index: Tensor) -> Tensor:
        """Images, uint8 of shape ``(len(index), 3, size, size)``."""
        if index.is_meta:
            return index.new_empty(len(index), *self.observation_shape, dtype=torch.uint8)
        images = np.empty((len(index), *self.observation_shape), dtype=np.uint8)
        for image, i in zip(images, index.tolist(), strict=True):
            if not 0 <= i < len(self):
                raise IndexError(f"index {i} is out of range for {len(self)} data")
            image[:] = read_image(self._files[i], self._size, "RGB")
        return torch.from_numpy(images).to(index.device)

    def factors(self, index: Tensor) -> Tensor:
        """Whether each attribute is there, int64 in {0, 1} of shape ``(len(index), 40)``."""
        return self._classes.on(index.device).index_select(0, index)


def _read_attributes(path: Path) -> tuple[list[str], list[str], npt.NDArray[np.int64]]:
    """Names of images and of attributes, and classes ``(images, attributes)``."""
    count, attributes, *rows = [
        line.split() for line in path.read_text().splitlines() if line.strip()
    ] or [[], []]
    names = [row[0] for row in rows]
    if count != [str(len(rows))] or not rows:
        raise ValueError(
            f"{path}: expected the number of rows in the first line, got {' '.join(count)} for {len(rows)}"
        )
    for row in rows:
        if len(row) != len(attributes) + 1 or not set(row[1:]) <= {"-1", "1"}:
            raise ValueError(
                f"{path}: expected {len(attributes)} of -1 and 1 for each image, got {' '.join(row)}"
            )
    if len(set(names)) != len(names) or len(set(attributes)) != len(attributes):
        raise ValueError(f"{path}: expected each image and each attribute once, got one twice")
    return (
        names,
        attributes,
        np.array([[value == "1" for value in row[1:]] for row in rows], dtype=np.int64),
    )


def _read_parts(path: Path, names: list[str]) -> npt.NDArray[np.int64]:
    """The number of the part of each image."""
    rows = [line.split() for line in path.read_text().splitlines() if line.strip()]
    for row in rows:
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            raise ValueError(
                f"{path}: expected an image and 0, 1 or 2 in each row, got {' '.join(row)}"
            )
    part = {name: int(number) for name, number in rows}
    if absent := next((name for name in names if name not in part), None):
        raise ValueError(f"{path}: expected a row for {absent}, got none")
    return np.array([part[name] for name in names])
