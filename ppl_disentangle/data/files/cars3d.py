"""The MATLAB files of Cars3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from tqdm import tqdm

from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.files.resized import resized
from ppl_disentangle.data.files.stored_grid import StoredGrid

__all__ = ["Cars3D"]


class Cars3D(StoredGrid):
    """183 cars, each seen from 24 sides and 4 heights [1]: 17,568 images in RGB.

    The folder, ``data/cars`` of the published archive, has ``list.txt`` with the names of the cars and a MATLAB file
    ``<name>.mat`` for each. The cars are in the order of the list; elsewhere they come in the order in which the
    system lists the folder, which is none.

    Args:
        path: the folder.
        size: pixels along each side; 128 as published, 64 as in most of the literature.

    Raises:
        ValueError: the folder lacks a file, or one is damaged or unlike the others.

    References:
        [1] Reed et al., 2015. Deep visual analogy-making.
        https://papers.nips.cc/paper/5845-deep-visual-analogy-making
    """

    def __init__(self, path: str | Path, *, size: int = 64) -> None:
        self.name, self.maximum, folder = "cars3d", 255, Path(path)
        names = [name for name in (folder / "list.txt").read_text().split() if name]
        if not names or size < 1:
            raise ValueError(
                f"{folder / 'list.txt'}: expected names of cars and size > 0, got {len(names)}, {size=}"
            )
        first = _read(folder / f"{names[0]}.mat")
        azimuths, elevations = first.shape[3:]
        images = np.empty((elevations, azimuths, len(names), size, size, 3), dtype=np.uint8)
        for k, name in enumerate(tqdm(names, desc="reading cars", disable=None)):
            car = _read(folder / f"{name}.mat")
            if car.shape != first.shape:
                raise ValueError(
                    f"{folder / name}.mat: expected im of shape {first.shape}, got {car.shape}"
                )
            views = car.transpose(4, 3, 0, 1, 2).reshape(-1, *car.shape[:3])
            images[:, :, k] = resized(np.ascontiguousarray(views), size).reshape(
                elevations, azimuths, size, size, 3
            )
        self.space = (
            Factor("elevation", tuple(range(elevations))),
            Factor("azimuth", tuple(360 / azimuths * k for k in range(azimuths)), "cyclic"),
            Factor("car", tuple(names), "categorical"),
        )
        self.observation_shape = (3, size, size)
        self.images = torch.from_numpy(images).view(-1, size, size, 3)


def _read(path: Path) -> npt.NDArray[np.uint8]:
    """The views of one car: uint8 of shape ``(side, side, 3, azimuths, elevations)``."""
    from scipy.io import loadmat

    with path.open("rb") as file:
        try:
            found = loadmat(file, variable_names=["im"])
        except Exception as error:  # scipy raises whatever the damage leads to
            raise ValueError(f"{path} is not a MATLAB file of version 5 to 7.2: {error}") from error
    im = found.get("im")
    if im is None:
        raise ValueError(f"{path}: expected a variable 'im', got none")
    if im.dtype != np.uint8 or im.ndim != 5 or im.shape[0] != im.shape[1] or im.shape[2] != 3:
        raise ValueError(
            f"{path}: expected im of uint8 (side, side, 3, azimuths, elevations), got {im.dtype} {im.shape}"
        )
    return im
