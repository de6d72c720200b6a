"""Folders of images with labels in the file names, the format of CausalVAE's published data."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays
from ppl_disentangle.data.files.pictures import Canvas, read_images

__all__ = ["from_labelled_names", "has_labelled_names"]

_NAME = re.compile(r"a_(-?\d+)_(-?\d+)_(-?\d+)_(-?\d+)\.png")
_NAME_FORMAT = "a_<label>_<label>_<label>_<label>.png"
_PENDULUM = ("angle", "light", "shadow_length", "shadow_position")
_FLOW = ("ball", "height", "flow", "hole")


def from_labelled_names(
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    size: int | tuple[int, int] = 64,
    channels: int = 3,
) -> ArrayDataset:
    """The images ``a_<label>_<label>_<label>_<label>.png`` of one folder, ordered by their labels.

    The pendulum and the flow of CausalVAE [1] are published in this format, with 96 x 96 pixels.
    The labels are whole numbers: the file names lack the decimals of shadow and water, and their
    flow is ten times the flow of :class:`~ppl_disentangle.data.Flow`. Training and testing data are
    separate folders; some names of the flow are in both.

    Args:
        path: Path of the folder with the images.
        names: Names of the four labels. By default they follow from the second label, the light of
            a pendulum (60 to 147) or the height of water (below 10).
        size: Pixels along each side, or height and width.
        channels: 1, 3, or 4 as published, where the last channel is 255 everywhere.

    Raises:
        ValueError: The folder has no such images, a name or an image cannot be read, or the labels
            fit neither pendulum nor flow.

    References:
        [1] Yang et al., 2021. CausalVAE: disentangled representation learning via neural structural
        causal models. https://arxiv.org/abs/2004.08697
    """
    folder = Path(path).expanduser()
    canvas = Canvas.of(size, channels)
    labelled = _labelled_files(folder)
    labels = np.array([numbers for numbers, _ in labelled])
    factor_names = _scene(folder, labels[:, 1]) if names is None else names
    images = read_images([file for _, file in labelled], canvas, progress=True)
    name = folder.resolve().name
    return from_arrays(images, labels, factor_names=factor_names, maximum=255, name=name)


def has_labelled_names(folder: Path) -> bool:
    """Whether a folder has images with labels in their names."""
    return any(_NAME.fullmatch(file.name) for file in folder.iterdir())


def _labelled_files(folder: Path) -> list[tuple[tuple[int, ...], Path]]:
    """Labels and path of each image, sorted."""
    labelled = []
    for file in folder.iterdir():
        if file.suffix == ".png" and not file.name.startswith("."):
            match = _NAME.fullmatch(file.name)
            if match is None:
                raise ValueError(f"{file}: expected a name {_NAME_FORMAT}")
            labelled.append((tuple(map(int, match.groups())), file))
    if not labelled:
        raise ValueError(f"{folder}: expected images {_NAME_FORMAT}, got none")
    return sorted(labelled)


def _scene(folder: Path, second: npt.NDArray[np.int64]) -> tuple[str, ...]:
    """Names of the labels of pendulum or flow, from the range of the second label."""
    low = second.min()
    high = second.max()
    if 60 <= low and high <= 147:
        return _PENDULUM
    if 0 <= low and high < 10:
        return _FLOW
    expected = "second labels of 60 to 147 or of 0 to 9, or names=…"
    raise ValueError(f"{folder}: expected {expected}, got {low} to {high}")
