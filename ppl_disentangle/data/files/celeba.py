"""CelebA, read from its folder: faces that are decoded batch by batch."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ppl_disentangle.data.base import DeviceCopies, Factor, FactorDataset
from ppl_disentangle.data.files.pictures import Canvas, read_image
from ppl_disentangle.data.files.reading import reading

__all__ = ["CelebA"]

_PART_NUMBERS = {"training": 0, "validation": 1, "testing": 2}


class CelebA(FactorDataset):
    """Photographs of faces with 40 binary attributes [1].

    The folder has ``img_align_celeba`` with the images, ``list_attr_celeba.txt``, and, if ``part``
    is given, ``list_eval_partition.txt``. Images are decoded on demand, cut to a centred square and
    resized, and not cached. A torch ``DataLoader`` with workers decodes them in parallel with
    training.

    The attributes are not independent factors, and their causal graph is unknown: scores that need
    either do not apply.

    Args:
        path: Path of the folder.
        part: ``"training"``, ``"validation"`` or ``"testing"``; by default all images.
        size: Pixels along each side.

    Raises:
        ValueError: A list differs from the published format, or an image of it is missing.

    References:
        [1] Liu et al., 2015. Deep learning face attributes in the wild.
        https://arxiv.org/abs/1411.7766
    """

    def __init__(
        self,
        path: str | Path,
        *,
        part: Literal["training", "validation", "testing"] | None = None,
        size: int = 64,
    ) -> None:
        if (part is not None and part not in _PART_NUMBERS) or size < 1:
            expected = f"part among {list(_PART_NUMBERS)} or None, and size > 0"
            raise ValueError(f"expected {expected}, got {part=}, {size=}")
        folder = Path(path).expanduser()
        names, attributes, classes = _read_attributes(folder / "list_attr_celeba.txt")
        if part is not None:
            part_numbers = _read_part_numbers(folder / "list_eval_partition.txt", names)
            chosen = part_numbers == _PART_NUMBERS[part]
            names = [name for name, is_chosen in zip(names, chosen, strict=True) if is_chosen]
            classes = classes[chosen]
        self._files = _present_files(folder / "img_align_celeba", names)
        self._canvas = Canvas((size, size), channels=3)
        self.name = "celeba"
        self.observation_shape = (3, size, size)
        self.maximum = 255
        self.space = tuple(Factor(name, (-1, 1), "categorical") for name in attributes)
        self._classes = DeviceCopies(torch.from_numpy(classes))

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
            image[:] = read_image(self._files[i], self._canvas)
        return torch.from_numpy(images).to(index.device)

    def factors(self, index: Tensor) -> Tensor:
        """Class 1 for each attribute of the face, else 0: int64 of shape ``(len(index), 40)``."""
        return self._classes.on(index.device).index_select(0, index)


def _present_files(folder: Path, names: list[str]) -> list[Path]:
    """Paths of the images, after checking that all exist."""
    present = {file.name for file in folder.iterdir()}
    for name in names:
        if name not in present:
            raise ValueError(f"{folder}: expected an image {name}, which is in the list, got none")
    return [folder / name for name in names]


def _read_attributes(path: Path) -> tuple[list[str], list[str], npt.NDArray[np.int64]]:
    """Names of images and of attributes, and classes ``(images, attributes)``."""
    count, attributes, *rows = _words_of_lines(path) or [[], []]
    if count != [str(len(rows))] or not rows:
        got = f"{' '.join(count)} for {len(rows)}"
        raise ValueError(f"{path}: expected the number of rows in the first line, got {got}")
    _check_values(path, rows, len(attributes))
    names = [row[0] for row in rows]
    if len(set(names)) != len(names) or len(set(attributes)) != len(attributes):
        raise ValueError(f"{path}: expected each image and each attribute once, got one twice")
    table = np.array([row[1:] for row in rows])
    return names, attributes, (table == "1").astype(np.int64)


def _check_values(path: Path, rows: list[list[str]], num_attributes: int) -> None:
    """Raise an error unless each row has a name and a value of each attribute."""
    for name, *values in rows:
        if len(values) != num_attributes or not set(values) <= {"-1", "1"}:
            expected = f"{num_attributes} of -1 and 1 for each image"
            raise ValueError(f"{path}: expected {expected}, got {' '.join([name, *values])}")


def _read_part_numbers(path: Path, names: list[str]) -> npt.NDArray[np.int64]:
    """Number of the part to which each image belongs."""
    rows = _words_of_lines(path)
    for row in rows:
        if len(row) != 2 or row[1] not in ("0", "1", "2"):
            got = " ".join(row)
            raise ValueError(f"{path}: expected an image and 0, 1 or 2 in each row, got {got}")
    numbers = {name: int(number) for name, number in rows}
    for name in names:
        if name not in numbers:
            raise ValueError(f"{path}: expected a row for {name}, got none")
    return np.array([numbers[name] for name in names])


def _words_of_lines(path: Path) -> list[list[str]]:
    """Words of each line of a text file that is not blank."""
    with reading(path, "a list of CelebA"):
        lines = [line.split() for line in path.read_text("utf-8").splitlines()]
    return [words for words in lines if words]
