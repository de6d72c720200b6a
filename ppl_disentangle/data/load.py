"""Load a data set by its name or its path."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

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
from ppl_disentangle.data.files.own_files import from_folder, from_npy, from_npz
from ppl_disentangle.data.files.reading import reading
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


def load_data(source: str | Path, **options: Any) -> FactorDataset:
    """Load a data set by name, from a file or folder, or from a function of a Python file.

    The content of a file or folder determines its format: all data sets of
    :func:`~ppl_disentangle.data.catalogue` are recognised. Any other npz file is read by
    :func:`~ppl_disentangle.data.from_npz`, an npy file by
    :func:`~ppl_disentangle.data.from_npy`, any other folder by
    :func:`~ppl_disentangle.data.from_folder`.

    Args:
        source: Name of a data set that needs no file, such as ``"sprites"``; path of a file or
            folder, which may begin with ``~``; or ``"path/to/file.py:function"``, a function
            without arguments that returns a data set. If a folder has the name of a data set, pass
            ``"./sprites"`` or a ``Path``.
        **options: Options of the reader of the file or folder, such as ``size`` and ``channels`` of
            a folder of images, or ``channels_last`` of an npz file; by default its defaults.

    Raises:
        ValueError: The name, path or function does not exist, the file has an unknown format or is
            damaged, or its reader does not take an option.

    Example:
        >>> load_data("sprites").factor_sizes
        (3, 6, 40, 32, 32)
    """
    if isinstance(source, str) and source in NAMES:
        return _made(NAMES[source], source, options)
    if is_function(str(source)):
        return _call(str(source), options)
    path = Path(source).expanduser()
    with reading(path, "a data set that can be read", of_user=True):
        if path.is_dir():
            return _folder(path, options)
        if path.is_file():
            return _file(path, options)
    close = difflib.get_close_matches(str(source), NAMES, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"no data set or path {str(source)!r}; expected one of {list(NAMES)} or a path{hint}"
    )


def _made(
    reader: Callable[..., FactorDataset],
    source: str | Path,
    options: Mapping[str, Any],
    **further: Any,
) -> FactorDataset:
    """The data set that a reader makes, after checking that it takes the options.

    Args:
        reader: Class or function that makes the data set.
        source: Name of a data set, which has no argument, or path, the first argument.
        options: Options that the caller asks for.
        **further: Further arguments that follow from the files.
    """
    arguments = [source] if isinstance(source, Path) else []
    known = list(inspect.signature(reader).parameters)[len(arguments) :]
    for option in options:
        if option not in known:
            takes = ", ".join(known) or "no options"
            raise ValueError(
                f"{source}: {reader.__name__} reads it and takes no {option}; it takes {takes}"
            )
    return reader(*arguments, **{**further, **options})


def _call(source: str, options: Mapping[str, Any]) -> FactorDataset:
    """The data set that a function of a Python file returns."""
    data = _made(function_of(source), source, options)
    if not isinstance(data, FactorDataset):
        got = type(data).__name__
        raise ValueError(f"{source}: expected a function that returns a data set, got {got}")
    return data


def _folder(path: Path, options: Mapping[str, Any]) -> FactorDataset:
    """The data set whose files are in a folder."""
    if (path / "list_attr_celeba.txt").is_file():
        return _made(CelebA, path, options)
    if (path / "list.txt").is_file() and any(path.glob("*_mesh.mat")):
        return _made(Cars3D, path, options)
    if any(path.glob("smallnorb-*.mat*")):
        return _made(SmallNORB, path, options, part=_part_of_smallnorb(path))
    if any(path.glob("*-morpho.csv")):
        has_training = (path / "train-morpho.csv").is_file()
        return _made(MorphoMNIST, path, options, part="training" if has_training else "testing")
    if has_labelled_names(path):
        return _made(from_labelled_names, path, options)
    for inner in (path / "train", path / "test"):
        if inner.is_dir() and has_labelled_names(inner):
            got = f"folders of them; say which, such as {inner}"
            raise ValueError(f"{path}: expected a folder of images, got {got}")
    return _made(from_folder, path, options)


def _part_of_smallnorb(path: Path) -> Literal["training", "testing", "both"]:
    """The part of SmallNORB whose images are in a folder."""
    has_training = any(path.glob("smallnorb-*-training-dat.mat*"))
    has_testing = any(path.glob("smallnorb-*-testing-dat.mat*"))
    if has_training and has_testing:
        return "both"
    return "training" if has_training else "testing"


def _file(path: Path, options: Mapping[str, Any]) -> FactorDataset:
    """The data set in a file."""
    if path.suffix.lower() in TABLE_SUFFIXES:
        return _made(from_table, path, options)
    names = {*npz.arrays(path), *hdf5.arrays(path)}
    if {"imgs", "latents"} <= names or "latents_values" in names:
        return _made(DSprites, path, options)
    if {"images", "labels"} <= names and hdf5.arrays(path):
        return _made(Shapes3D, path, options)
    if is_mpi3d(path):
        return _made(MPI3D, path, options)
    if path.suffix.lower() == ".npz":
        return _made(from_npz, path, options)
    if path.suffix.lower() == ".npy":
        return _made(from_npy, path, options)
    if starts_like_idx(path):
        return _made(from_idx, path, options)
    known = "a .npz, .npy, HDF5 or IDX file that is known, or a folder"
    raise ValueError(f"{path}: expected {known}, got a file {path.suffix or path.name}")
