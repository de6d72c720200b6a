"""IDX files, the format of MNIST and similar data sets."""

from __future__ import annotations

import math
import re
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from ppl_disentangle.data.arrays import ArrayDataset
from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.files.gzipped import opened
from ppl_disentangle.data.files.reading import reading

__all__ = ["from_idx", "labels_beside", "read_idx", "starts_like_idx"]

_DTYPES = {8: "u1", 9: "i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
_MAX_AXES = 8  # of a file that load_data recognises


def from_idx(images: str | Path, labels: str | Path | None = None) -> ArrayDataset:
    """Grey images in an IDX file, gzipped or not, with their labels as the only factor.

    Args:
        images: Path of the images, such as ``train-images-idx3-ubyte.gz``.
        labels: Path of the labels; by default the file in the same folder whose name has ``labels``
            for ``images`` and ``idx1`` for ``idx3``. If that file does not exist, the data have no
            factors.

    Raises:
        ValueError: A file is not an IDX file of bytes, is damaged or ends too early, or the numbers
            of images and labels differ.

    References:
        [1] LeCun, Cortes and Burges, 1998. The MNIST database of handwritten digits.
        http://yann.lecun.com/exdb/mnist/
    """
    path = Path(images).expanduser()
    x = torch.from_numpy(_read_bytes(path, 3))[:, None]
    name = path.name.partition(".")[0]
    labels_path = labels_beside(path) if labels is None else Path(labels).expanduser()
    if labels_path is None:
        return ArrayDataset(x, maximum=255, name=name)
    y = _read_bytes(labels_path, 1)
    if len(y) != len(x):
        expected = f"{len(x)} labels, one for each image of {path}"
        raise ValueError(f"{labels_path}: expected {expected}, got {len(y)}")
    levels, classes = np.unique(y, return_inverse=True)
    space = [Factor("label", tuple(levels.tolist()), "categorical")]
    columns = torch.from_numpy(classes)[:, None]
    return ArrayDataset(x, columns, space=space, maximum=255, name=name)


def read_idx(path: Path) -> npt.NDArray[Any]:
    """The array of an IDX file, gzipped or not, in the byte order of this machine.

    The format: two zero bytes, a byte for the type, a byte with the number of axes, the sizes as
    big-endian int32, and the values, the last index varying fastest.

    Raises:
        ValueError: The file is not an IDX file, is damaged, or has too few or too many bytes.
    """
    with reading(path, "an IDX file"), opened(path) as stream:
        dtype, sizes = _read_header(stream)
        num_bytes = math.prod(sizes) * dtype.itemsize
        content = stream.read()
        if len(content) != num_bytes:
            expected = f"{num_bytes} bytes for the sizes {sizes}"
            raise ValueError(f"expected {expected}, got {len(content)}")
        return np.frombuffer(content, dtype).reshape(sizes).astype(dtype.newbyteorder("="))


def _read_header(stream: IO[bytes]) -> tuple[np.dtype[Any], list[int]]:
    """Type and sizes of the array."""
    head = stream.read(4)
    if not _is_idx(head):
        raise ValueError(
            f"expected the bytes 0, 0, a type among {list(_DTYPES)} and axes, got {list(head)}"
        )
    dtype = np.dtype(_DTYPES[head[2]])
    num_axes = head[3]
    content = stream.read(4 * num_axes)
    whole_sizes = content[: len(content) // 4 * 4]  # frombuffer does not accept a partial int32
    sizes = np.frombuffer(whole_sizes, ">i4").tolist()
    if len(sizes) != num_axes or min(sizes) < 0:
        raise ValueError(f"expected {num_axes} sizes, got {sizes}")
    return dtype, sizes


def _is_idx(head: bytes) -> bool:
    """Whether four bytes are the beginning of an IDX file with at least one axis."""
    return len(head) == 4 and head[:2] == b"\0\0" and head[2] in _DTYPES and head[3] > 0


def labels_beside(images: Path) -> Path | None:
    """Path of the labels that belong to a file of images by name, or ``None`` if it is missing."""
    name = re.sub(r"idx\d", "idx1", images.name.replace("images", "labels")).removesuffix(".gz")
    if name in (images.name, images.name.removesuffix(".gz")):
        return None
    candidates = (images.with_name(name), images.with_name(f"{name}.gz"))
    return next((path for path in candidates if path.is_file()), None)


def starts_like_idx(path: Path) -> bool:
    """Whether a file begins like an IDX file."""
    try:
        with opened(path) as stream:
            head = stream.read(4)
    except (EOFError, OSError, zlib.error):
        return False
    return _is_idx(head) and head[3] <= _MAX_AXES


def _read_bytes(path: Path, num_axes: int) -> npt.NDArray[np.uint8]:
    """An array of bytes with the given number of axes and at least one row."""
    array = read_idx(path)
    if array.dtype != np.uint8 or array.ndim != num_axes or not array.size:
        raise ValueError(
            f"{path}: expected bytes with {num_axes} axes, got {array.dtype} {array.shape}"
        )
    return array
