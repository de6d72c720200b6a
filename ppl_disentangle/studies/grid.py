"""The grid of a study: stories by hyper-parameters by data sets by seeds, unrolled into trials."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppl_disentangle.zoo import choose

__all__ = ["Trial", "read_grid", "trials"]

GRID_KEYS = {
    "models": list,
    "data": list,
    "seeds": (int, list),
    "held_out": int,
    "training": dict,
    "evaluation": dict,
}
"""The keys of a grid, and the types of their values."""

MODEL_KEYS = ("story", "name", "options", "sweep", "latent_dim", "network", "likelihood")
NUM_HELD_OUT = 1000


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        model: Name of its model in the grid.
        setting: Position of its hyper-parameter in the model's sweep.
        value: The hyper-parameter as text, such as ``beta=4``; empty if the model sweeps nothing.
        data: Name of its data set.
        seed: Seed of the weights, the order of the data, the draws and the metrics.
        config: Everything that :func:`~ppl_disentangle.studies.study.run_trial` needs. The trial is
            a function of it alone.
    """

    model: str
    setting: int
    value: str
    data: str
    seed: int
    config: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The name of its folder: a hash of its configuration."""
        text = json.dumps(self.config, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.model, self.value, self.data, f"seed {self.seed}")))


def read_grid(path: str | Path) -> dict[str, Any]:
    """Read a grid from a TOML file. :func:`trials` lists its keys.

    Raises:
        ValueError: The file is not valid TOML, or :func:`trials` rejects the grid.
    """
    try:
        grid = tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    trials(grid)  # raises if the grid is invalid
    return grid


def trials(grid: Mapping[str, Any]) -> list[Trial]:
    """Unroll a grid into trials, seed by seed, so that a study stopped early has run all models.

    Args:
        grid: ``models``: A list of tables with the key ``story``, and optionally ``name``,
            ``options`` of the story, a ``sweep`` of one option over a list of values,
            ``latent_dim``, ``network`` and ``likelihood``. ``data``: Names of data sets.
            ``seeds``: The number of seeds, or a list of them. ``held_out``: The number of data kept
            out of training, 1000 by default. ``training`` and ``evaluation``: Tables with options of
            :func:`~ppl_disentangle.inference.fit` and :func:`~ppl_disentangle.metrics.evaluate`.

    Raises:
        ValueError: A key is unknown or missing, a value has the wrong type, or two models have the
            same name.

    Example:
        >>> models = [{"story": "beta_vae", "sweep": {"beta": [1, 4]}}]
        >>> grid = {"models": models, "data": ["sprites"], "seeds": 2}
        >>> for trial in trials(grid):
        ...     print(trial)
        beta_vae beta=1 sprites seed 0
        beta_vae beta=4 sprites seed 0
        beta_vae beta=1 sprites seed 1
        beta_vae beta=4 sprites seed 1
    """
    _check_table("grid", grid, GRID_KEYS, required=("models", "data", "seeds"))
    names = [model.get("name", model.get("story")) for model in grid["models"]]
    if len(set(names)) < len(names):
        raise ValueError(f"expected models of different names, got {names}; name each one")
    seeds = range(grid["seeds"]) if isinstance(grid["seeds"], int) else grid["seeds"]
    models = list(zip(names, grid["models"], strict=True))
    planned = []
    for seed, data, (name, model) in itertools.product(seeds, grid["data"], models):
        for setting, (value, swept) in enumerate(_sweep(model)):
            config = _config(grid, model, swept, data, seed)
            planned.append(Trial(name, setting, value, data, seed, config))
    return planned


def _config(
    grid: Mapping[str, Any],
    model: Mapping[str, Any],
    swept: Mapping[str, Any],
    data: str,
    seed: int,
) -> dict[str, Any]:
    """The configuration of one trial."""
    story = {
        "name": model["story"],
        "options": dict(model.get("options", {})) | dict(swept),
        "seed": seed,
        "latent_dim": model.get("latent_dim"),
        "network": model.get("network"),
        "likelihood": model.get("likelihood"),
    }
    return {
        "story": story,
        "source": data,
        "training": dict(grid.get("training", {})) | {"seed": seed},
        "held_out": grid.get("held_out", NUM_HELD_OUT),
        "evaluation": dict(grid.get("evaluation", {})),
    }


def _sweep(model: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each value of a model's swept option, as text and as options; once nothing without a sweep."""
    _check_table("model", model, dict.fromkeys(MODEL_KEYS, object), required=("story",))
    sweep = model.get("sweep", {})
    if len(sweep) > 1 or not all(isinstance(values, list) and values for values in sweep.values()):
        raise ValueError(f"expected a sweep of one option over a list of values, got {dict(sweep)}")
    if not sweep:
        yield "", {}
    for option, values in sweep.items():
        for value in values:
            yield f"{option}={json.dumps(value)}", {option: value}


def _check_table(
    kind: str, table: Mapping[str, Any], types: Mapping[str, Any], *, required: Sequence[str]
) -> None:
    """Raise a ValueError unless the table has known keys, values of their types, and all required keys."""
    for key, value in table.items():
        choose(f"key of a {kind}", key, list(types))
        if not isinstance(value, types[key]):
            raise ValueError(f"{key!r} of a {kind}: expected {types[key]}, got {value!r}")
    for key in required:
        if not table.get(key):
            raise ValueError(f"a {kind} needs {key!r}, got {dict(table)}")
