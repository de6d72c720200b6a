"""Images of a compressed file, unpacked once and mapped into memory ever after."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_disentangle.storage import atomic_path

__all__ = ["unpacked"]


def unpacked(
    source: Path,
    target: Path | None,
    shape: tuple[int, ...],
    blocks: Callable[[], Iterable[npt.NDArray[np.uint8]]],
) -> Tensor:
    """Images of a compressed file, from an npy file beside it, which is written if it is not there.

    The npy file bears the date of its source, by which it is known to be of this source; one of another date or shape
    is written anew.

    Args:
        source: the compressed file.
        target: where the npy file is; by default ``<source>.unpacked.npy``.
        shape: shape of the images.
        blocks: gives the images in parts, in order.

    Returns:
        uint8 of ``shape``, mapped.

    Raises:
        OSError: there is no room, or it may not be written; ``target`` is the way out.
    """
    target = source.with_name(f"{source.name}.unpacked.npy") if target is None else target
    if not _is_of(source, target, shape):
        _write(source, target, shape, blocks())
    return torch.from_numpy(np.lib.format.open_memmap(target, "c"))


def _is_of(source: Path, target: Path, shape: tuple[int, ...]) -> bool:
    if not target.is_file() or target.stat().st_mtime_ns != source.stat().st_mtime_ns:
        return False
    try:
        found = np.lib.format.open_memmap(target, "r")
    except ValueError:
        return False
    return found.shape == shape and found.dtype == np.uint8


def _write(
    source: Path, target: Path, shape: tuple[int, ...], blocks: Iterable[npt.NDArray[np.uint8]]
) -> None:
    needed, place = int(np.prod(shape)), target.absolute().parent
    try:
        if (free := shutil.disk_usage(place).free) < needed:
            raise OSError(f"{needed:,} bytes are needed, {free:,} are free")
        with atomic_path(target) as temporary:
            images = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            done = 0
            with tqdm(
                total=shape[0], desc=f"unpacking {source.name}", unit="image", disable=None
            ) as bar:
                for block in blocks:
                    images[done : done + len(block)] = block
                    done += len(block)
                    bar.update(len(block))
            images.flush()
            date = source.stat().st_mtime_ns
            os.utime(temporary, ns=(date, date))
    except OSError as error:
        raise OSError(
            f"could not unpack {source} to {target}: {error}; unpacked_to says where else"
        ) from error
