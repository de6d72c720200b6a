"""The data and the story of a run, made from its configuration."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ppl_disentangle.causal.labels import NodeScales, with_labels, with_needed_labels
from ppl_disentangle.data import CausalDataset, FactorDataset, load_data
from ppl_disentangle.data.load import NAMES
from ppl_disentangle.data.python_source import is_function
from ppl_disentangle.runs.fingerprint import what_changed
from ppl_disentangle.story import GenerativeStory
from ppl_disentangle.zoo import build

__all__ = [
    "ChangedDataWarning",
    "Splits",
    "absolute_source",
    "add_conditions",
    "build_story",
    "default_held_out",
    "found_file",
    "load_run_data",
    "split_data",
]

NUM_HELD_OUT = 1000
"""Number of data that are held out by default, where they are at most a fifth."""


class Splits(NamedTuple):
    """The two parts of the data of a run.

    Attributes:
        training: Training data, with the labels that the run was given.
        held_out: Data kept out of training, as they are stored.
        held_out_with_conditions: The same data, with the conditions that the story needs.
        scales: Mean and scale of the nodes that have labels.
    """

    training: FactorDataset
    held_out: FactorDataset
    held_out_with_conditions: FactorDataset
    scales: NodeScales


class ChangedDataWarning(UserWarning):
    """A run is used with other data than it was trained on."""


def load_run_data(
    config: Mapping[str, Any], folder: Path, *, source: str | None = None
) -> FactorDataset:
    """Load the data of a run, and check that they are the data that the run was trained on.

    Args:
        config: Configuration of the run.
        folder: Folder of the run, near which files are looked for that have moved with it.
        source: Name or path of the data, where they have moved; by default the configuration's.

    Raises:
        ValueError: The data are not there, or have changed since the training; with ``source``, they
            differ from the data of the training in shape.
    """
    options = config["data"].get("options", {})
    if source is not None:
        data = load_data(source, **options)
        _check_given(config["data"], source, data)
        return data
    path = found_file(config["data"]["source"], folder)
    data = load_data(path, **options)
    changes = what_changed(config["data"], data)
    if changes:
        raise ValueError(
            f"{path}: the data have changed since {folder} was trained: {'; '.join(changes)};"
            " restore them, or pass --data PATH to use the run with the data at that path"
        )
    return data


def _check_given(config: Mapping[str, Any], source: str, data: FactorDataset) -> None:
    """Raise an error for data of another shape than the run's, and warn of other data."""
    shape = config.get("observation_shape", list(data.observation_shape))
    if shape != list(data.observation_shape):
        got = tuple(data.observation_shape)
        raise ValueError(
            f"--data {source}: expected observations of shape {tuple(shape)}, on which the run was"
            f" trained, got {got}"
        )
    changes = what_changed(config, data)
    if changes:
        text = f"--data {source}: not the data of the training: {'; '.join(changes)}"
        warnings.warn(text, ChangedDataWarning, stacklevel=2)


def absolute_source(source: str) -> str:
    """A source of data or of a story that holds from every folder: names stay, paths are absolute."""
    if source in NAMES:
        return source
    return str(Path(source).expanduser().resolve())


def found_file(source: str, folder: Path) -> str:
    """The source of a configuration, or the file of the same name near the folder of the run.

    Args:
        source: Name, path, or ``path/to/file.py:function``.
        folder: Folder of the run. A file that is not where it was is looked for in this folder and
            in the folders above it.

    Raises:
        ValueError: The file is nowhere.
    """
    path, _, function = source.rpartition(":") if is_function(source) else (source, "", "")
    is_path = bool(function) or Path(source).is_absolute()
    if not is_path or Path(path).exists():
        return source
    for place in (folder.resolve(), *folder.resolve().parents):
        moved = place / Path(path).name
        if moved.exists():
            return f"{moved}:{function}" if function else str(moved)
    raise ValueError(
        f"{path} is not there any more, nor is {Path(path).name} in a folder above {folder}; put it"
        " back, or name moved data by --data PATH"
    )


def build_story(
    config: Mapping[str, Any],
    data: FactorDataset,
    *,
    folder: Path | None = None,
    seed: int | None = None,
) -> GenerativeStory:
    """Build the story that a configuration names, with initial weights.

    Args:
        config: Configuration of a run.
        data: Data of the run.
        folder: Folder of the run, near which a Python file is looked for that has moved with it.
        seed: Seed of the weights; by default the seed of the configuration.
    """
    options = dict(config["story"])
    name = options.pop("name")
    if folder is not None and is_function(name):
        name = found_file(name, folder)
    if not is_function(name) and options.get("network") is None:
        options["network"] = _network_of_old_run(data)
    if seed is not None:
        options["seed"] = seed
    return build(name, data, **options)


def _network_of_old_run(data: FactorDataset) -> str:
    """The network of a run whose configuration does not name it, as earlier versions chose it."""
    return "study" if tuple(data.observation_shape[1:]) == (64, 64) else "mlp"


def split_data(config: Mapping[str, Any], story: GenerativeStory, data: FactorDataset) -> Splits:
    """Split data into training data with labels and held-out data with conditions.

    Args:
        config: Configuration of a run: the number of held-out data and the fraction of labels.
        story: Story of the run, which decides about the columns of labels and about conditions.
        data: Data of the run.
    """
    training, held_out = data.split(_num_held_out(config["data"], len(data)))
    scales = NodeScales()
    fraction = config["data"].get("labels")
    if fraction is not None and isinstance(training, CausalDataset):
        training, scales = with_labels(story, training, fraction)
    return Splits(training, held_out, add_conditions(story, held_out, scales), scales)


def _num_held_out(config: Mapping[str, Any], num_data: int) -> int:
    """Number of held-out data: as it was asked for; runs that were not asked hold out a fifth at most."""
    if "num_held_out" in config and num_data == config["num_data"]:
        return int(config["num_held_out"])
    return default_held_out(num_data, config["held_out"])


def default_held_out(num_data: int, most: int = NUM_HELD_OUT) -> int:
    """A fifth of the data, at least one and at most 1000."""
    return max(1, min(most, num_data // 5))


def add_conditions(
    story: GenerativeStory, data: FactorDataset, scales: NodeScales
) -> FactorDataset:
    """Add the conditions that a story needs to data that it was not trained on.

    Args:
        story: Story of the run.
        data: Data of the run.
        scales: Mean and scale of the nodes that have labels.
    """
    return story.held_out_data(with_needed_labels(story, data, scales))
