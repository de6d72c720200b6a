"""Many runs: stories by hyper-parameters by data by seeds, each run a function of its configuration alone."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import os
import shutil
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from ppl_disentangle.runs.demo import configure
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.studies.workers import Workers
from ppl_disentangle.zoo import choose

__all__ = ["Trial", "read_grid", "results", "study", "trials"]

GRID = {
    "models": list,
    "data": list,
    "seeds": (int, list),
    "held_out": int,
    "training": dict,
    "evaluation": dict,
}
MODEL = ("story", "name", "options", "sweep", "latent_dim", "network", "likelihood")
TREE, TABLE = "study.nc", "study.csv"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        model: its name.
        setting: the place of its hyper-parameter in the model's sweep.
        value: that hyper-parameter as text, such as ``beta=4``; empty where nothing is swept.
        data: name of its data.
        seed: of weights, order, draws and measures.
        config: what :func:`run_trial` takes; the trial is a function of it alone.
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
        return hashlib.sha256(json.dumps(self.config, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        return " ".join(filter(None, (self.model, self.value, self.data, f"seed {self.seed}")))


def read_grid(path: str | Path) -> dict[str, Any]:
    """A grid from a TOML file, of the keys that :func:`trials` describes.

    Raises:
        ValueError: no TOML, or not such a grid.
    """
    try:
        grid = tomllib.loads(Path(path).read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    trials(grid)  # says what is wrong
    return grid


def trials(grid: Mapping[str, Any]) -> list[Trial]:
    """The runs of a grid, seed by seed, so that a study that is stopped early has all models.

    Args:
        grid: ``models``, a list of tables with ``story``, and if wanted ``name``, ``options`` of the story, a
            ``sweep`` of one option over a list, ``latent_dim``, ``network`` and ``likelihood``; ``data``, names of data
            sets; ``seeds``, their number or a list of them; ``held_out``, data kept out of training; and tables
            ``training`` and ``evaluation`` with options of :func:`~ppl_disentangle.inference.fit` and
            :func:`~ppl_disentangle.metrics.evaluate`.

    Raises:
        ValueError: a key that is not known or is missing, a value of another kind, or two models of one name.

    Example:
        >>> grid = {"models": [{"story": "beta_vae", "sweep": {"beta": [1, 4]}}], "data": ["sprites"], "seeds": 2}
        >>> [str(trial) for trial in trials(grid)][:3]
        ['beta_vae beta=1 sprites seed 0', 'beta_vae beta=4 sprites seed 0', 'beta_vae beta=1 sprites seed 1']
    """
    _check("grid", grid, GRID, required=("models", "data", "seeds"))
    seeds = range(grid["seeds"]) if isinstance(grid["seeds"], int) else grid["seeds"]
    names = [model.get("name", model.get("story")) for model in grid["models"]]
    if len(set(names)) < len(names):
        raise ValueError(f"expected models of different names, got {names}; give them a name each")
    rest = {"held_out": grid.get("held_out", 1000), "evaluation": dict(grid.get("evaluation", {}))}
    found = []
    for seed, data, (name, model) in itertools.product(
        seeds, grid["data"], zip(names, grid["models"], strict=True)
    ):
        for setting, (value, swept) in enumerate(_settings(model)):
            story = {
                "name": model["story"],
                "options": dict(model.get("options", {})) | swept,
                "seed": seed,
            }
            story |= {key: model.get(key) for key in ("latent_dim", "network")}
            story["likelihood"] = model.get("likelihood", "bernoulli")
            training = dict(grid.get("training", {})) | {"seed": seed}
            config = {"story": story, "source": data, "training": training, **rest}
            found.append(Trial(name, setting, value, data, seed, config))
    return found


def _settings(model: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What a model's sweep goes through, as text and as options."""
    _check("model", model, dict.fromkeys(MODEL, object), required=("story",))
    sweep = model.get("sweep", {})
    if len(sweep) > 1 or not all(isinstance(values, list) and values for values in sweep.values()):
        raise ValueError(f"expected a sweep of one option over a list of values, got {dict(sweep)}")
    return [(f"{k}={json.dumps(v)}", {k: v}) for k, values in sweep.items() for v in values] or [
        ("", {})
    ]


def _check(
    what: str, given: Mapping[str, Any], kinds: Mapping[str, Any], *, required: Sequence[str]
) -> None:
    for key, value in given.items():
        choose(f"key of a {what}", key, list(kinds))
        if not isinstance(value, kinds[key]):
            raise ValueError(f"{key!r} of a {what}: expected {kinds[key]}, got {value!r}")
    for key in required:
        if not given.get(key):
            raise ValueError(f"a {what} needs {key!r}, got {dict(given)}")


def run_trial(folder: str, config: Mapping[str, Any], threads: int) -> None:
    """Train and measure one run in its folder, or go on with it; nothing if it is done.

    Args:
        folder: of the run.
        config: of :class:`Trial`.
        threads: of torch.
    """
    torch.set_num_threads(threads)
    path = Path(folder)
    if (path / "done.json").exists():
        return
    if path.exists() and not (path / "config.json").exists():
        shutil.rmtree(path)  # of a process that ended before it had written anything
    if path.exists():
        run = Run.open(path, progress=False)
    else:
        evaluation, held_out = config["evaluation"], config["held_out"]
        command = "ppl-disentangle study"
        full, _ = configure(
            config["story"],
            config["source"],
            config["training"],
            command=command,
            held_out=held_out,
            evaluation=evaluation,
        )
        run = Run.create(path, full, progress=False)
    if not (path / "model.safetensors").exists():
        run.train()
    start = time.monotonic()
    run.evaluate(seed=config["story"]["seed"])
    run.write_json("done.json", {"evaluation_seconds": round(time.monotonic() - start, 1)})


def study(
    grid: Mapping[str, Any] | str | Path,
    folder: str | Path,
    *,
    executor: Executor | Literal["local", "ray"] = "local",
    workers: int | None = None,
    gpus: float = 0,
    timeout: float | None = None,
    retries: int = 1,
    progress: bool = True,
) -> xr.Dataset:
    """Run every trial of a grid that has not been run yet, and gather all results.

    A trial that raises an error, hangs, crashes or runs out of memory is tried again, where it was if it had saved
    something, and then left out; the others do not notice. Ctrl-C ends the trials under way, which save where they
    are; the same call again goes on.

    Args:
        grid: what :func:`trials` takes, or a TOML file of it.
        folder: ``trials/<hash of the configuration>`` are runs, ``study.nc`` and ``study.csv`` the results.
        executor: ``"local"``: processes on this machine, as many as ``workers``; ``"ray"``: tasks on a Ray cluster, see
            :class:`~ppl_disentangle.studies.ray_executor.OnRay`; or any ``concurrent.futures.Executor``.
        workers: number of processes; by default half of the cores, each with two threads.
        gpus: that each trial takes on Ray; 0.25 lets four share one. On this machine workers take turns at the GPUs
            that there are.
        timeout: seconds that a trial may take, on this machine.
        retries: further attempts at a trial that failed.
        progress: show a bar, and a line for each trial.

    Returns:
        What :func:`results` gathers.

    Raises:
        ValueError: a grid that is none.
    """
    grid = read_grid(grid) if isinstance(grid, str | Path) else grid
    planned, root = trials(grid), Path(folder).absolute()
    (root / "trials").mkdir(parents=True, exist_ok=True)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    count = workers or max(1, cores // 2)
    pool = _pool(executor, count, timeout, gpus)
    threads = max(1, cores // count) if executor == "local" else 1
    unfinished = [t for t in planned if not (root / "trials" / t.key / "done.json").exists()]
    failures: dict[str, str] = {}
    try:
        with tqdm(
            total=len(planned),
            initial=len(planned) - len(unfinished),
            disable=not progress,
            unit="run",
        ) as bar:
            for trial, error in _attempts(pool, unfinished, root, threads, retries):
                if error:
                    failures[trial.key] = error
                bar.update()
                if progress:
                    bar.write(f"{trial}: {error or _summary(root / 'trials' / trial.key)}")
    finally:
        if isinstance(executor, str):
            pool.shutdown(cancel_futures=True)
        gathered = results(planned, root, failures)
        _write(gathered, root)
    return gathered


def _pool(executor: Executor | str, count: int, timeout: float | None, gpus: float) -> Executor:
    if not isinstance(executor, str):
        return executor
    if choose("executor", executor, ["local", "ray"]) == "local":
        return Workers(count, timeout=timeout)
    from ppl_disentangle.studies.ray_executor import OnRay

    return OnRay(gpus=gpus)


def _attempts(
    pool: Executor, unfinished: Sequence[Trial], root: Path, threads: int, retries: int
) -> Iterator[tuple[Trial, str]]:
    """Each trial when it is through, with what went wrong at the last attempt."""

    def start(trial: Trial) -> Future[None]:
        return pool.submit(run_trial, str(root / "trials" / trial.key), dict(trial.config), threads)

    running = {start(trial): (trial, retries) for trial in unfinished}
    while running:
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            trial, left = running.pop(future)
            error = future.exception()
            if error is not None and left > 0:
                running[start(trial)] = trial, left - 1
            else:
                yield trial, "" if error is None else f"failed: {error}"


def results(
    planned: Sequence[Trial], root: str | Path, failures: Mapping[str, str] | None = None
) -> xr.Dataset:
    """What the finished ones of some trials gave.

    Args:
        planned: the trials.
        root: the folder of the study.
        failures: what went wrong, by key.

    Returns:
        ``score``, ``standard_error``, ``chance`` and ``ceiling`` over ``model``, ``setting``, ``data``, ``seed`` and
        ``metric``, and ``baseline_score`` over ``baseline`` as well; ``seconds`` of training, and ``status``:
        ``"done"``, ``"not run"`` or what went wrong. ``value(model, setting)`` says what was swept. NaN where there is
        nothing.
    """
    dims = ("model", "setting", "data", "seed")
    axes: dict[str, list[Any]] = {
        dim: list(dict.fromkeys(getattr(t, dim) for t in planned)) for dim in dims
    }
    axes["setting"].sort()
    shape = [len(axis) for axis in axes.values()]
    status, seconds = np.full(shape, "not planned", dtype=object), np.full(shape, np.nan)
    value = np.full(shape[:2], "", dtype=object)
    found: dict[tuple[int, ...], xr.Dataset] = {}
    for trial in planned:
        place = tuple(axes[dim].index(getattr(trial, dim)) for dim in dims)
        path = Path(root) / "trials" / trial.key
        done = (path / "done.json").exists()
        status[place] = "done" if done else (failures or {}).get(trial.key, "not run")
        value[place[:2]] = trial.value
        if done:
            found[place] = Run.open(path).read_tree()["metrics"].to_dataset()
            seconds[place] = float(json.loads((path / "environment.json").read_text())["seconds"])
    variables: dict[str, Any] = {"status": (dims, status.astype(str)), "seconds": (dims, seconds)}
    coords: dict[str, Any] = axes | {"value": (dims[:2], value.astype(str))}
    return xr.Dataset(variables | _scores(found, shape, dims, coords), coords)


def _scores(
    found: Mapping[tuple[int, ...], xr.Dataset],
    shape: Sequence[int],
    dims: Sequence[str],
    coords: dict[str, Any],
) -> dict[str, Any]:
    """Scores of all trials in arrays; adds their metrics and baselines to ``coords``."""
    metrics = list(
        dict.fromkeys(str(m) for scores in found.values() for m in scores["metric"].values)
    )
    if not metrics:
        return {}
    names = {
        "estimate": "score",
        "standard_error": "standard_error",
        "chance": "chance",
        "ceiling": "ceiling",
    }
    arrays = {name: np.full((*shape, len(metrics)), np.nan) for name in names.values()}
    baselines = list(
        dict.fromkeys(
            str(b) for s in found.values() if "baseline" in s for b in s["baseline"].values
        )
    )
    others = np.full((*shape, len(metrics), len(baselines)), np.nan)
    for place, scores in found.items():
        aligned = scores.reindex(metric=metrics)
        for variable, name in names.items():
            if variable in aligned:
                arrays[name][place] = aligned[variable].values
        if baselines and "baseline" in aligned:
            others[place] = (
                aligned["baseline_estimate"]
                .reindex(baseline=baselines)
                .transpose("metric", "baseline")
            )
    coords |= {"metric": metrics, "baseline": baselines}
    gathered: dict[str, Any] = {name: ((*dims, "metric"), array) for name, array in arrays.items()}
    return gathered | {"baseline_score": ((*dims, "metric", "baseline"), others)}


def _write(gathered: xr.Dataset, root: Path) -> None:
    writers: dict[str, Callable[[Path], Any]] = {
        TREE: lambda path: gathered.to_netcdf(path, engine="h5netcdf")
    }
    if "score" in gathered:
        rows = gathered[["score", "standard_error", "seconds", "status"]].to_dataframe()
        writers[TABLE] = rows[rows["status"] != "not planned"].to_csv
    for name, write in writers.items():
        with atomic_path(root / name) as path:
            write(path)


def _summary(path: Path) -> str:
    scores = Run.open(path).read_tree()["metrics"].to_dataset()["estimate"]
    first = [
        f"{metric} {scores.sel(metric=metric).item():.3f}" for metric in scores["metric"].values[:3]
    ]
    seconds = json.loads((path / "environment.json").read_text())["seconds"]
    return ", ".join([*first, f"{seconds} s"])
