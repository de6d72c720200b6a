"""IDX files, in which MNIST and its like are published."""

from __future__ import annotations

import gzip
import math
import re
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ppl_disentangle.data.arrays import ArrayDataset
from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.files.gzipped import opened

__all__ = ["from_idx", "labels_beside", "read_idx", "starts_like_idx"]

_TYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}


def from_idx(images: str | Path, labels: str | Path | None = None) -> ArrayDataset:
    """Grey images in an IDX file, gzipped or not, with their labels as the only factor.

    Args:
        images: such as ``train-images-idx3-ubyte.gz``.
        labels: the file of the labels; by default the one beside, whose name has ``labels`` for ``images`` and
            ``idx1`` for ``idx3``, if there is one. Without labels there are no factors.

    Raises:
        ValueError: a file is no IDX file of bytes, is damaged or ends too early, or there are more or fewer labels.

    References:
        [1] LeCun, Cortes and Burges, 1998. The MNIST database of handwritten digits. http://yann.lecun.com/exdb/mnist/
    """
    path = Path(images)
    x = _bytes(path, 3)
    table = labels_beside(path) if labels is None else Path(labels)
    stem = path.name.partition(".")[0]
    if table is None:
        return ArrayDataset(torch.from_numpy(x)[:, None], maximum=255, name=stem)
    y = _bytes(table, 1)
    if len(y) != len(x):
        raise ValueError(
            f"{table}: expected {len(x)} labels, one for each image of {path}, got {len(y)}"
        )
    levels, classes = np.unique(y, return_inverse=True)
    space = [Factor("label", tuple(levels.tolist()), "categorical")]
    columns = torch.from_numpy(classes)[:, None]
    return ArrayDataset(torch.from_numpy(x)[:, None], columns, space=space, maximum=255, name=stem)


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array of an IDX file, gzipped or not, in the byte order of this machine.

    Two zero bytes are followed by one that names the type, one with the number of axes, the sizes as big-endian int32,
    and the values, the last index fastest.

    Raises:
        ValueError: it is no IDX file, is damaged, ends too early or too late.
    """
    try:
        with opened(path) as stream:
            head = stream.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not head[3]:
                raise ValueError(
                    f"expected the bytes 0, 0, a type among {list(_TYPES)} and axes, got {list(head)}"
                )
            content = stream.read(4 * head[3])
            sizes = np.frombuffer(content[: len(content) // 4 * 4], ">i4").tolist()
            dtype = np.dtype(_TYPES[head[2]])
            if len(sizes) != head[3] or min(sizes) < 0:
                raise ValueError(f"expected {head[3]} sizes, got {sizes}")
            content = stream.read()
    except (ValueError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is not an IDX file: {error}") from error
    if len(content) != (needed := math.prod(sizes) * dtype.itemsize):
        raise ValueError(
            f"{path} is not an IDX file: expected {needed} bytes for the sizes {sizes}, got {len(content)}"
        )
    return np.frombuffer(content, dtype).reshape(sizes).astype(dtype.newbyteorder("="))


def labels_beside(images: Path) -> Path | None:
    """The file of labels that belongs to a file of images by its name, gzipped or not; nothing if there is none."""
    name = re.sub(r"idx\d", "idx1", images.name.replace("images", "labels")).removesuffix(".gz")
    if name in (images.name, images.name.removesuffix(".gz")):
        return None
    both = (images.with_name(name), images.with_name(f"{name}.gz"))
    return next((path for path in both if path.is_file()), None)


def starts_like_idx(path: Path) -> bool:
    """Whether a file begins like an IDX file."""
    try:
        with opened(path) as stream:
            head = stream.read(4)
    except (EOFError, OSError, zlib.error):
        return False
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _TYPES and 0 < head[3] < 9


def _bytes(path: Path, axes: int) -> npt.NDArray[np.uint8]:
    """An array of bytes with a number of axes and at least one row."""
    array = read_idx(path)
    if array.dtype != np.uint8 or array.ndim != axes or not array.size:
        raise ValueError(
            f"{path}: expected bytes with {axes} axes, got {array.dtype} {array.shape}"
        )
    return array
