"""Cars3D, read from its MATLAB files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from ppl_disentangle.data.base import Factor
from ppl_disentangle.data.files.reading import reading
from ppl_disentangle.data.files.resized import resized
from ppl_disentangle.data.files.stored_grid import StoredGrid

__all__ = ["Cars3D"]


class Cars3D(StoredGrid):
    """183 cars, each seen from 24 sides and 4 heights [1]: 17,568 images in RGB.

    The folder, ``data/cars`` of the published archive, has ``list.txt`` with the names of the cars
    and a MATLAB file ``<name>.mat`` for each. The cars are in the order of the list. Other
    implementations take them in the order in which the operating system lists the folder, which is
    arbitrary.

    Args:
        path: Path of the folder.
        size: Pixels along each side; 128 as published, 64 as in most of the literature.

    Raises:
        ValueError: A file is damaged or differs in shape from the others, or the list is empty.
        FileNotFoundError: The folder lacks a file.

    References:
        [1] Reed et al., 2015. Deep visual analogy-making.
        https://papers.nips.cc/paper/5845-deep-visual-analogy-making
    """

    def __init__(self, path: str | Path, *, size: int = 64) -> None:
        folder = Path(path).expanduser()
        list_file = folder / "list.txt"
        with reading(list_file, "names of cars"):
            names = list_file.read_text("utf-8").split()
        if not names or size < 1:
            raise ValueError(
                f"{list_file}: expected names of cars and size > 0, got {len(names)}, {size=}"
            )
        images = _read_cars(folder, names, size)
        elevations, azimuths, *_ = images.shape
        self.name = "cars3d"
        self.maximum = 255
        self.observation_shape = (3, size, size)
        self.space = (
            Factor("elevation", tuple(range(elevations))),
            Factor("azimuth", tuple(360 / azimuths * k for k in range(azimuths)), "cyclic"),
            Factor("car", tuple(names), "categorical"),
        )
        self.images = torch.from_numpy(images).view(-1, size, size, 3)

    def image_rows(self, index: Tensor) -> Tensor:
        """Positions in ``images``: the images are in the order of the grid."""
        return index


def _read_cars(folder: Path, names: list[str], size: int) -> npt.NDArray[np.uint8]:
    """Images of all cars: uint8 of shape ``(elevations, azimuths, cars, size, size, 3)``."""
    shape = _read_car(folder / f"{names[0]}.mat").shape
    *_, azimuths, elevations = shape
    images = np.empty((elevations, azimuths, len(names), size, size, 3), dtype=np.uint8)
    for k, name in enumerate(tqdm(names, desc="reading cars", disable=None)):
        path = folder / f"{name}.mat"
        car = _read_car(path)
        if car.shape != shape:
            raise ValueError(f"{path}: expected im of shape {shape}, got {car.shape}")
        images[:, :, k] = _views(car, size)
    return images


def _views(car: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """The views of one car, ``(elevations, azimuths, size, size, 3)``."""
    by_view = car.transpose(4, 3, 0, 1, 2)
    elevations, azimuths, *image_shape = by_view.shape
    small = resized(np.ascontiguousarray(by_view.reshape(-1, *image_shape)), size)
    return small.reshape(elevations, azimuths, size, size, 3)


def _read_car(path: Path) -> npt.NDArray[np.uint8]:
    """The views of one car: uint8 of shape ``(side, side, 3, azimuths, elevations)``."""
    from scipy.io import loadmat

    with reading(path, "a MATLAB file of version 5 to 7.2"), path.open("rb") as file:
        variables = loadmat(file, variable_names=["im"])
    im = variables.get("im")
    if im is None:
        raise ValueError(f"{path}: expected a variable 'im', got none")
    if im.dtype != np.uint8 or im.ndim != 5 or im.shape[0] != im.shape[1] or im.shape[2] != 3:
        expected = "im of uint8 (side, side, 3, azimuths, elevations)"
        raise ValueError(f"{path}: expected {expected}, got {im.dtype} {im.shape}")
    return im
