"""A run: a folder with a configuration, weights, results and figures, and its fitted story."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from ppl_disentangle.causal.labels import NodeScales
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.representation import IMAGE_DIMS
from ppl_disentangle.runs.preparation import add_conditions, build_story, load_run_data, split_data
from ppl_disentangle.storage import atomic_path, load_tensors
from ppl_disentangle.story import GenerativeStory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Fitted", "Run", "free_folder", "round_images"]

DEFAULT_PARENT = Path("runs")
"""Folder in which runs are made that have no --out."""
OLD_RESULTS = "results.nc"
"""File of all groups in runs of earlier versions, which is read but never written."""


IMAGE_LEVELS = 1024
"""Steps between 0 and 1 that images are rounded to: four for each of 256 grey levels."""


@dataclasses.dataclass(frozen=True)
class Run:
    """A story fitted to data, in a folder.

    The folder has ``config.json``; ``environment.json``; ``checkpoint.safetensors``, from which
    training can be resumed; ``model.safetensors``, the weights; ``results/*.nc``, labelled arrays,
    a file for each group; ``figures/*.png`` and ``report.html``. No file is a pickle. A folder that
    exists is never used for a new run.

    Attributes:
        folder: Path of the folder.
        config: Options of the ``story``, the ``data``, the ``training`` and the ``evaluation``, and
            the ``command``.
        progress: Whether progress bars are shown.
    """

    folder: Path
    config: dict[str, Any]
    progress: bool = True

    @classmethod
    def create(cls, folder: str | Path, config: Mapping[str, Any], *, progress: bool = True) -> Run:
        """Make the folder of a new run and write its configuration.

        Raises:
            FileExistsError: The folder exists.
        """
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(
                f"{folder} exists, and a run is never overwritten; choose another --out, or"
                " --resume it"
            )
        folder.mkdir(parents=True)
        run = cls(folder, dict(config), progress)
        run.write_json("config.json", run.config)
        return run

    @classmethod
    def open(cls, folder: str | Path, *, progress: bool = True) -> Run:
        """Open an existing run.

        Raises:
            FileNotFoundError: The folder has no ``config.json``.
            ValueError: The file is damaged.
        """
        path = Path(folder) / "config.json"
        if not path.is_file():
            raise FileNotFoundError(f"no run in {folder}: expected the file config.json there")
        try:
            config = json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: expected JSON, got a damaged file: {error}") from error
        return cls(Path(folder), config, progress)

    @property
    def weights_path(self) -> Path:
        """Path of the fitted weights."""
        return self.folder / "model.safetensors"

    @property
    def checkpoint_path(self) -> Path:
        """Path of the checkpoint of training."""
        return self.folder / "checkpoint.safetensors"

    def fitted(self, *, data: str | None = None) -> Fitted:
        """Load the data and the fitted story, once for everything that needs them.

        Args:
            data: Name or path of the data, where they have moved or others are asked for; by default
                the source in the configuration.

        Raises:
            FileNotFoundError: Training has not ended.
            ValueError: The data are not there or have changed since the training.
        """
        if not self.weights_path.is_file():
            raise FileNotFoundError(
                f"{self.folder} has no fitted weights yet; go on with:"
                f" ppl-disentangle train --resume {self.folder}"
            )
        dataset = load_run_data(self.config, self.folder, source=data)
        story = build_story(self.config, dataset, folder=self.folder)
        weights, _ = load_tensors(self.weights_path)
        story.load_state_dict(weights)
        return Fitted(self, story, dataset, *split_data(self.config, story, dataset))

    def resumed_with(self, *, steps: int | None = None, device: str | None = None) -> Run:
        """The run with more steps or another device, which its next training takes.

        Raises:
            ValueError: The run was made for more steps already.
        """
        training = dict(self.config["training"])
        if steps is not None and steps < training["steps"]:
            raise ValueError(
                f"{self.folder} was made for {training['steps']} steps, and --resume only adds to"
                f" them; expected --steps of at least {training['steps']}, got {steps}"
            )
        given = {"steps": steps, "device": device}
        training |= {name: value for name, value in given.items() if value is not None}
        config = {**self.config, "training": training}
        self.write_json("config.json", config)
        return dataclasses.replace(self, config=config)

    @contextmanager
    def kept_if_started(self) -> Iterator[None]:
        """Remove the folder if training ends before it has anything that could be resumed."""
        try:
            yield
        except BaseException:
            if not self._has_started():
                shutil.rmtree(self.folder)
                if self.folder.parent == DEFAULT_PARENT:
                    with suppress(OSError):  # it stays if it has other runs
                        DEFAULT_PARENT.rmdir()
            raise

    def _has_started(self) -> bool:
        """Whether a step has been taken and saved."""
        if self.weights_path.exists():
            return True
        if not self.checkpoint_path.exists():
            return False
        _, numbers = load_tensors(self.checkpoint_path)
        return bool(numbers["step"] > 0)

    def read_json(self, name: str) -> dict[str, Any]:
        """Read a JSON file of the folder; a missing file is empty."""
        path = self.folder / name
        return json.loads(path.read_text("utf-8")) if path.is_file() else {}

    def write_json(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file of the folder, atomically."""
        with atomic_path(self.folder / name) as path:
            path.write_text(json.dumps(content, indent=2) + "\n")

    def write_figure(self, name: str, figure: Figure) -> None:
        """Write a PNG file of ``figures/``, atomically."""
        with atomic_path(self.folder / "figures" / f"{name}.png") as path:
            figure.savefig(path, format="png")

    def group_names(self) -> list[str]:
        """Names of all groups of results, in alphabetical order."""
        names = {path.stem for path in (self.folder / "results").glob("*.nc")}
        old = self.folder / OLD_RESULTS
        if old.is_file():
            with xr.open_datatree(old, engine="h5netcdf") as tree:
                names |= set(tree.children)
        return sorted(names)

    def read_group(self, name: str) -> xr.Dataset:
        """Read one group of results.

        Raises:
            FileNotFoundError: The run has no such group.
        """
        path = self._group_path(name)
        if path.is_file():
            with xr.open_dataset(path, engine="h5netcdf") as group:
                return group.load()
        old = self.folder / OLD_RESULTS
        if name not in self.group_names():
            raise FileNotFoundError(f"{self.folder} has no results named {name!r}: expected {path}")
        with xr.open_dataset(old, group=name, engine="h5netcdf") as group:
            return group.load()

    def read_tree(self) -> xr.DataTree:
        """Read all results, a group a node; :func:`~ppl_disentangle.to_arviz` converts the tree."""
        return xr.DataTree.from_dict({name: self.read_group(name) for name in self.group_names()})

    def write_group(self, name: str, group: xr.Dataset) -> None:
        """Add or replace one group of results, atomically; no other group is read or written."""
        compressed = {
            str(variable): {"zlib": True, "complevel": 4, "shuffle": True}
            for variable, values in group.variables.items()
            if values.ndim and values.dtype.kind in "fiub"
        }
        with atomic_path(self._group_path(name)) as path:
            group.to_netcdf(path, engine="h5netcdf", encoding=compressed)

    def _group_path(self, name: str) -> Path:
        return self.folder / "results" / f"{name}.nc"


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A run with its fitted story and its data in memory.

    Attributes:
        run: The run.
        story: The fitted story.
        data: All data.
        training: Training data, with the labels that the run was given.
        held_out: Data kept out of training, as they are stored.
        held_out_with_conditions: The same data, with the conditions that the story needs, such as
            labels or auxiliary variables.
        scales: Mean and scale of the nodes that have labels; empty where no labels tie the nodes
            of the story to the nodes of the data.
    """

    run: Run
    story: GenerativeStory
    data: FactorDataset
    training: FactorDataset
    held_out: FactorDataset
    held_out_with_conditions: FactorDataset
    scales: NodeScales

    def conditioned(self, data: FactorDataset) -> FactorDataset:
        """Add the conditions that the story needs to other data of the run."""
        return add_conditions(self.story, data, self.scales)

    def untrained(self) -> GenerativeStory:
        """Build the story with the initial weights of another seed, a baseline of its scores."""
        seed = self.run.config["story"]["seed"] + 1
        return build_story(self.run.config, self.data, folder=self.run.folder, seed=seed)


def round_images(group: xr.Dataset) -> xr.Dataset:
    """Round the images of a group to 1/1024, so that their file is a third as large.

    Variables that are not images stay as they are.
    """
    rounded = {
        str(name): (values * IMAGE_LEVELS).round() / IMAGE_LEVELS
        for name, values in group.data_vars.items()
        if set(IMAGE_DIMS) <= set(values.dims)
    }
    return group.assign(rounded)


def free_folder(stem: Path) -> Path:
    """Return the first of ``stem-1``, ``stem-2``, … that does not exist."""
    number = 1
    while (folder := stem.with_name(f"{stem.name}-{number}")).exists():
        number += 1
    return folder
