"""A data set by its name or its path."""

from __future__ import annotations

import difflib
import zipfile
from collections.abc import Callable
from pathlib import Path

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.digits import digits
from ppl_disentangle.data.dsprites import DSprites
from ppl_disentangle.data.files import from_folder, from_npz
from ppl_disentangle.data.flow import Flow
from ppl_disentangle.data.pendulum import Pendulum
from ppl_disentangle.data.sprites import Sprites
from ppl_disentangle.data.thickness import ThicknessIntensity

__all__ = ["NAMES", "load_data"]

NAMES: dict[str, Callable[[], FactorDataset]] = {
    "sprites": Sprites,
    "digits": digits,
    "pendulum": Pendulum,
    "flow": Flow,
    "thickness_intensity": ThicknessIntensity,
}
"""Data sets by name; a name comes before a folder that is called so."""


def load_data(source: str | Path) -> FactorDataset:
    """A data set that needs no file, such as ``"sprites"`` or ``"pendulum"``, an npz file, or a folder of images.

    An npz file with ``latents_values`` is taken for dSprites, any other goes to
    :func:`~ppl_disentangle.data.from_npz`. A folder called like a data set is meant by ``"./sprites"`` or a
    ``Path``.

    Example:
        >>> load_data("sprites").factor_sizes
        (3, 6, 40, 32, 32)
    """
    if isinstance(source, str) and source in NAMES:
        return NAMES[source]()
    path = Path(source)
    if path.is_dir():
        return from_folder(path)
    if path.is_file() and path.suffix == ".npz":
        return DSprites(path) if _is_dsprites(path) else from_npz(path)
    if path.is_file():
        raise ValueError(f"{path}: expected a .npz file or a folder of images, got a file {path.suffix or path.name}")
    close = difflib.get_close_matches(str(source), NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"no data set or path {str(source)!r}; expected one of {list(NAMES)} or a path{hint}")


def _is_dsprites(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return "latents_values.npy" in archive.namelist()
