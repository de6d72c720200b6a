"""Images of a compressed file, unpacked once into an npy file and mapped into memory."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_disentangle.data.files.reading import NotUnpackedError
from ppl_disentangle.storage import atomic_path

__all__ = ["unpacked"]


def unpacked(
    source: Path,
    target: Path | None,
    shape: tuple[int, ...],
    blocks: Callable[[], Iterable[npt.NDArray[np.uint8]]],
) -> Tensor:
    """Images of a compressed file, mapped from an npy file that is written if necessary.

    The npy file has the modification time of its source, which identifies the source: an npy file
    with another time or shape is overwritten.

    Args:
        source: Path of the compressed file.
        target: Path of the npy file; by default ``<source>.unpacked.npy``.
        shape: Shape of the images.
        blocks: Function that returns the images in parts, in order.

    Returns:
        uint8 of shape ``shape``, mapped.

    Raises:
        NotUnpackedError: The disk is full or ``target`` cannot be written; choose another ``target``.
    """
    target = source.with_name(f"{source.name}.unpacked.npy") if target is None else target
    if not _is_unpacked(source, target, shape):
        try:
            _check_space(target, shape)
            _write(source, target, shape, blocks())
        except OSError as error:
            hint = "unpacked_to says where else"
            raise NotUnpackedError(
                f"could not unpack {source} to {target}: {error}; {hint}"
            ) from error
    return torch.from_numpy(np.lib.format.open_memmap(target, "c"))


def _is_unpacked(source: Path, target: Path, shape: tuple[int, ...]) -> bool:
    """Whether ``target`` has the images of ``source``."""
    if not target.is_file() or target.stat().st_mtime_ns != source.stat().st_mtime_ns:
        return False
    try:
        images = np.lib.format.open_memmap(target, "r")
    except ValueError:
        return False
    return images.shape == shape and images.dtype == np.uint8


def _check_space(target: Path, shape: tuple[int, ...]) -> None:
    """Raise an error if the disk is too full for the images."""
    needed = math.prod(shape)
    free = shutil.disk_usage(target.absolute().parent).free
    if free < needed:
        raise OSError(f"{needed:,} bytes are needed, {free:,} are free")


def _write(
    source: Path, target: Path, shape: tuple[int, ...], blocks: Iterable[npt.NDArray[np.uint8]]
) -> None:
    """Write the images to ``target`` and give it the modification time of ``source``."""
    with atomic_path(target) as temporary:
        images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        start = 0
        description = f"unpacking {source.name}"
        with tqdm(total=shape[0], desc=description, unit="image", disable=None) as bar:
            for block in blocks:
                end = start + len(block)
                images[start:end] = block
                start = end
                bar.update(len(block))
        images.flush()
        time = source.stat().st_mtime_ns
        os.utime(temporary, ns=(time, time))
