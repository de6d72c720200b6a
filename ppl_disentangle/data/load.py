"""Load a data set by its name or its path."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.causal.flow import Flow
from ppl_disentangle.data.causal.input_grid import flow_grid, pendulum_grid
from ppl_disentangle.data.causal.pendulum import Pendulum
from ppl_disentangle.data.causal.thickness import ThicknessIntensity
from ppl_disentangle.data.digits import digits
from ppl_disentangle.data.drawn.room import Room
from ppl_disentangle.data.drawn.sprites import Sprites
from ppl_disentangle.data.drawn.two_objects import TwoObjects
from ppl_disentangle.data.drawn.xy_squares import XYSquares
from ppl_disentangle.data.files import hdf5, npz
from ppl_disentangle.data.files.cars3d import Cars3D
from ppl_disentangle.data.files.celeba import CelebA
from ppl_disentangle.data.files.dsprites import DSprites
from ppl_disentangle.data.files.idx import from_idx, starts_like_idx
from ppl_disentangle.data.files.labelled_names import from_labelled_names, has_labelled_names
from ppl_disentangle.data.files.morpho_mnist import MorphoMNIST
from ppl_disentangle.data.files.mpi3d import MPI3D, is_mpi3d
from ppl_disentangle.data.files.own_files import from_folder, from_npz
from ppl_disentangle.data.files.shapes3d import Shapes3D
from ppl_disentangle.data.files.smallnorb import SmallNORB
from ppl_disentangle.data.python_source import function_of, is_function
from ppl_disentangle.data.table import from_table
from ppl_disentangle.data.table_files import TABLE_SUFFIXES

__all__ = ["NAMES", "load_data"]

NAMES: dict[str, Callable[[], FactorDataset]] = {
    "sprites": Sprites,
    "room": Room,
    "xy_squares": XYSquares,
    "two_objects": TwoObjects,
    "pendulum": Pendulum,
    "pendulum_grid": pendulum_grid,
    "flow": Flow,
    "flow_grid": flow_grid,
    "thickness_intensity": ThicknessIntensity,
    "digits": digits,
}
"""Data sets by name. A name takes precedence over a folder with the same name."""


def load_data(source: str | Path) -> FactorDataset:
    """Load a data set by name, from a file or folder, or from a function of a Python file.

    The content of a file or folder determines its format: all data sets of
    :func:`~ppl_disentangle.data.catalogue` are recognised. Any other npz file is read by
    :func:`~ppl_disentangle.data.from_npz`, any other folder by
    :func:`~ppl_disentangle.data.from_folder`. All data sets are made with default arguments.

    Args:
        source: Name of a data set that needs no file, such as ``"sprites"``; path of a file or
            folder; or ``"path/to/file.py:function"``, a function without arguments that returns a
            data set. If a folder has the name of a data set, pass ``"./sprites"`` or a ``Path``.

    Raises:
        ValueError: The name, path or function does not exist, or the file has an unknown format or
            is damaged.

    Example:
        >>> load_data("sprites").factor_sizes
        (3, 6, 40, 32, 32)
    """
    if isinstance(source, str) and source in NAMES:
        return NAMES[source]()
    if is_function(str(source)):
        return _call(str(source))
    path = Path(source)
    if path.is_dir():
        return _folder(path)
    if path.is_file():
        return _file(path)
    close = difflib.get_close_matches(str(source), NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"no data set or path {str(source)!r}; expected one of {list(NAMES)} or a path{hint}"
    )


def _call(source: str) -> FactorDataset:
    """The data set that a function of a Python file returns."""
    data = function_of(source)()
    if not isinstance(data, FactorDataset):
        got = type(data).__name__
        raise ValueError(f"{source}: expected a function that returns a data set, got {got}")
    return data


def _folder(path: Path) -> FactorDataset:
    """The data set whose files are in a folder."""
    if (path / "list_attr_celeba.txt").is_file():
        return CelebA(path)
    if (path / "list.txt").is_file() and any(path.glob("*_mesh.mat")):
        return Cars3D(path)
    if any(path.glob("smallnorb-*.mat*")):
        return SmallNORB(path, part=_part_of_smallnorb(path))
    if any(path.glob("*-morpho.csv")):
        has_training = (path / "train-morpho.csv").is_file()
        return MorphoMNIST(path, part="training" if has_training else "testing")
    if has_labelled_names(path):
        return from_labelled_names(path)
    for inner in (path / "train", path / "test"):
        if inner.is_dir() and has_labelled_names(inner):
            got = f"folders of them; say which, such as {inner}"
            raise ValueError(f"{path}: expected a folder of images, got {got}")
    return from_folder(path)


def _part_of_smallnorb(path: Path) -> Literal["training", "testing", "both"]:
    """The part of SmallNORB whose images are in a folder."""
    has_training = any(path.glob("smallnorb-*-training-dat.mat*"))
    has_testing = any(path.glob("smallnorb-*-testing-dat.mat*"))
    if has_training and has_testing:
        return "both"
    return "training" if has_training else "testing"


def _file(path: Path) -> FactorDataset:
    """The data set in a file."""
    if path.suffix.lower() in TABLE_SUFFIXES:
        return from_table(path)
    names = {*npz.arrays(path), *hdf5.arrays(path)}
    if {"imgs", "latents"} <= names or "latents_values" in names:
        return DSprites(path)
    if {"images", "labels"} <= names and hdf5.arrays(path):
        return Shapes3D(path)
    if is_mpi3d(path):
        return MPI3D(path)
    if path.suffix == ".npz":
        return from_npz(path)
    if starts_like_idx(path):
        return from_idx(path)
    known = "a .npz, HDF5 or IDX file that is known, or a folder"
    raise ValueError(f"{path}: expected {known}, got a file {path.suffix or path.name}")
