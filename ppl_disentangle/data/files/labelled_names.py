"""Folders of images whose file names are their labels, as CausalVAE's data are published."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from ppl_disentangle.data.arrays import ArrayDataset, from_arrays
from ppl_disentangle.data.files.own_files import MODES, read_image

__all__ = ["from_labelled_names", "has_labelled_names"]

_NAME = re.compile(r"a_(-?\d+)_(-?\d+)_(-?\d+)_(-?\d+)\.png")
_PENDULUM = ("angle", "light", "shadow_length", "shadow_position")
_FLOW = ("ball", "height", "flow", "hole")


def from_labelled_names(
    path: str | Path, *, names: Sequence[str] | None = None, size: int = 64, channels: int = 3
) -> ArrayDataset:
    """The images ``a_<label>_<label>_<label>_<label>.png`` of one folder, ordered by their labels.

    These are the pendulum and the flow of CausalVAE [1], 96 x 96 pixels. The labels are whole numbers: of shadow and
    water, the decimals are cut off in the names, and the flow is ten times what it is in
    :class:`~ppl_disentangle.data.Flow`. Training and testing are folders of their own; of the flow, some names are in
    both.

    Args:
        path: the folder with the images.
        names: what the four labels are called; by default told from the second of them, which is the light of a
            pendulum (60 to 147) or the height of water (below 10).
        size: pixels along each side.
        channels: 3, or 4 as published, where the last is 255 everywhere.

    Raises:
        ValueError: no such images, a name or an image that cannot be read, or labels of neither scene.

    References:
        [1] Yang et al., 2021. CausalVAE: disentangled representation learning via neural structural causal models.
        https://arxiv.org/abs/2004.08697
    """
    folder = Path(path)
    if channels not in MODES or size < 1:
        raise ValueError(
            f"expected size > 0 and channels among {list(MODES)}, got {size=}, {channels=}"
        )
    labelled = []
    for file in folder.iterdir():
        if file.suffix == ".png" and not file.name.startswith("."):
            match = _NAME.fullmatch(file.name)
            if match is None:
                raise ValueError(f"{file}: expected a name a_<label>_<label>_<label>_<label>.png")
            labelled.append((tuple(int(label) for label in match.groups()), file))
    if not labelled:
        raise ValueError(
            f"{folder}: expected images a_<label>_<label>_<label>_<label>.png, got none"
        )
    labelled.sort()
    labels = np.array([numbers for numbers, _ in labelled])
    names = _scene(folder, labels[:, 1]) if names is None else names
    images = np.empty((len(labelled), channels, size, size), dtype=np.uint8)
    for image, (_, file) in zip(
        images, tqdm(labelled, desc="reading images", disable=None), strict=True
    ):
        image[:] = read_image(file, size, MODES[channels])
    return from_arrays(images, labels, factor_names=names, maximum=255, name=folder.resolve().name)


def has_labelled_names(folder: Path) -> bool:
    """Whether there are images with such names."""
    return any(_NAME.fullmatch(file.name) for file in folder.iterdir())


def _scene(folder: Path, second: np.ndarray) -> tuple[str, ...]:
    if 60 <= second.min() and second.max() <= 147:
        return _PENDULUM
    if 0 <= second.min() and second.max() < 10:
        return _FLOW
    found = f"{second.min()} to {second.max()}"
    raise ValueError(
        f"{folder}: expected second labels of 60 to 147 or of 0 to 9, or names=…, got {found}"
    )
