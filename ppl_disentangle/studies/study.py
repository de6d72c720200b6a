"""A study: every trial of a grid is run in its own folder, and all scores are gathered in one xarray data set."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import xarray as xr
from tqdm import tqdm

from ppl_disentangle.runs.drawing import encode_with_kl
from ppl_disentangle.runs.folder import Fitted, Run
from ppl_disentangle.runs.recipes import configure
from ppl_disentangle.runs.scoring import evaluate
from ppl_disentangle.runs.training import train
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.studies.grid import NUM_HELD_OUT, Trial, read_grid, trials
from ppl_disentangle.studies.workers import Workers
from ppl_disentangle.zoo import choose

__all__ = ["results", "run_trial", "study"]

DIMENSIONS = ("model", "setting", "data", "seed")
"""The axes of a study, which are attributes of :class:`~ppl_disentangle.studies.grid.Trial`."""

SCORES = {
    "estimate": "score",
    "standard_error": "standard_error",
    "chance": "chance",
    "ceiling": "ceiling",
}
"""Variables of a run's metrics, and their names in a study."""

NUM_CODED_DATA = 1000
NUM_METRICS_SHOWN = 3


def run_trial(
    folder: str, config: Mapping[str, Any], *, threads: int, keep_weights: bool = False
) -> None:
    """Train and evaluate one trial in its folder, or continue it. A finished trial is left as it is.

    A finished trial keeps its scores, its terms, and the codes of up to 1000 data, by which
    :func:`~ppl_disentangle.studies.analysis.select_without_labels` compares trials.

    Args:
        folder: Folder of the trial.
        config: Configuration of a :class:`~ppl_disentangle.studies.grid.Trial`.
        threads: Number of threads that torch may use.
        keep_weights: Whether to keep the fitted weights as well.
    """
    torch.set_num_threads(threads)
    path = Path(folder)
    if (path / "done.json").exists():
        return
    fitted = _train_or_load(path, config)
    run = fitted.run
    start = time.monotonic()
    evaluate(fitted, seed=config["story"]["seed"])
    seconds = time.monotonic() - start
    run.write_group("codes", _codes(fitted))
    run.write_json("done.json", {"evaluation_seconds": round(seconds, 1)})
    run.checkpoint_path.unlink(missing_ok=True)
    if not keep_weights:
        run.weights_path.unlink()


def _train_or_load(path: Path, config: Mapping[str, Any]) -> Fitted:
    """The fitted run of a trial, whose folder may be left from an earlier attempt."""
    if path.exists() and not (path / "config.json").exists():
        shutil.rmtree(path)  # left by a process that ended before it wrote anything
    if path.exists():
        run = Run.open(path, progress=False)
        return run.fitted() if run.weights_path.exists() else train(run, draws=False)
    plan = configure(
        config["story"],
        config["source"],
        config["training"],
        command="ppl-disentangle study",
        held_out=None if config["held_out"] == NUM_HELD_OUT else config["held_out"],
        evaluation=config["evaluation"],
    )
    return train(Run.create(path, plan.config, progress=False), plan, draws=False)


def _codes(fitted: Fitted) -> xr.Dataset:
    """Codes and KL of some data, the same data in every trial on one data set."""
    data = fitted.data
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
    coded = fitted.conditioned(data.subset(order[:NUM_CODED_DATA]))
    return encode_with_kl(fitted.story, coded)[["mean", "kl"]]


def study(
    grid: Mapping[str, Any] | str | Path,
    folder: str | Path,
    *,
    executor: Executor | Literal["local", "ray"] = "local",
    workers: int | None = None,
    gpus: float = 0,
    timeout: float | None = None,
    retries: int = 1,
    keep_weights: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Run every trial of a grid that has not been run yet, and gather the scores of all trials.

    A trial that raises an error, hangs, crashes or runs out of memory is tried again, from its last
    checkpoint if it has one, and then given up; the other trials are not affected. Ctrl-C interrupts
    the running trials, which save checkpoints; the same call continues the study.

    Args:
        grid: A grid as :func:`~ppl_disentangle.studies.grid.trials` describes it, or the path of its
            TOML file.
        folder: Folder of the study. Each trial is a run in ``trials/<hash of its configuration>``;
            the scores are written to ``study.nc`` and ``study.csv``.
        executor: ``"local"`` starts processes on this machine; ``"ray"`` starts tasks on a Ray
            cluster, see :class:`~ppl_disentangle.studies.ray_executor.OnRay`. Any other
            ``concurrent.futures.Executor`` will do as well.
        workers: Number of local processes. Left out, it is half of the cores.
        gpus: Number of GPUs that each trial takes on Ray; with 0.25 four trials share one GPU. Local
            processes are distributed over the GPUs of the machine.
        timeout: Seconds after which a local trial is ended. Left out, trials may take any time.
        retries: Number of further attempts at a trial that failed.
        keep_weights: Whether trials keep their fitted weights. Left out, only scores, terms and codes
            are kept, and ``ppl-disentangle train --resume TRIAL`` trains a trial again.
        progress: Whether to show a progress bar, and a line for each trial.

    Returns:
        The data set that :func:`results` describes.

    Raises:
        ValueError: The grid is invalid.
    """
    grid = read_grid(grid) if isinstance(grid, str | Path) else grid
    planned = trials(grid)
    root = Path(folder).absolute()
    (root / "trials").mkdir(parents=True, exist_ok=True)
    num_cores = _num_cores()
    num_workers = workers or max(1, num_cores // 2)
    task = partial(
        run_trial,
        threads=max(1, num_cores // num_workers) if executor == "local" else 1,
        keep_weights=keep_weights,
    )
    pool = _pool(executor, num_workers, timeout, gpus)
    failures: dict[str, str] = {}
    try:
        for trial, error in _with_progress(pool, task, planned, root, retries, progress):
            if error:
                failures[trial.key] = error
    finally:
        if isinstance(executor, str):
            pool.shutdown(cancel_futures=True)
        gathered = results(planned, root, failures)
        _write(gathered, root)
    return gathered


def _num_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _pool(executor: Executor | str, count: int, timeout: float | None, gpus: float) -> Executor:
    if not isinstance(executor, str):
        return executor
    if choose("executor", executor, ["local", "ray"]) == "local":
        return Workers(count, timeout=timeout)
    from ppl_disentangle.studies.ray_executor import OnRay

    return OnRay(gpus=gpus)


def _with_progress(
    pool: Executor,
    task: Callable[..., None],
    planned: Sequence[Trial],
    root: Path,
    retries: int,
    progress: bool,
) -> Iterator[tuple[Trial, str]]:
    """Run the unfinished trials; yields each with its error, empty if it succeeded, beside a bar."""
    unfinished = [trial for trial in planned if not _is_done(root, trial)]
    num_done = len(planned) - len(unfinished)
    with tqdm(total=len(planned), initial=num_done, disable=not progress, unit="run") as bar:
        for trial, error in _attempts(pool, task, unfinished, root, retries):
            bar.update()
            if progress:
                bar.write(f"{trial}: {error or _summary(_folder(root, trial))}")
            yield trial, error


def _attempts(
    pool: Executor,
    task: Callable[..., None],
    unfinished: Sequence[Trial],
    root: Path,
    retries: int,
) -> Iterator[tuple[Trial, str]]:
    """Yield each trial as it ends, with the error of its last attempt, empty if that succeeded."""

    def start(trial: Trial) -> Future[None]:
        return pool.submit(task, str(_folder(root, trial)), dict(trial.config))

    running = {start(trial): (trial, retries) for trial in unfinished}
    while running:
        ended, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in ended:
            trial, retries_left = running.pop(future)
            error = future.exception()
            if error is not None and retries_left > 0:
                running[start(trial)] = (trial, retries_left - 1)
            else:
                yield trial, "" if error is None else f"failed: {error}"


def _folder(root: Path, trial: Trial) -> Path:
    return root / "trials" / trial.key


def _is_done(root: Path, trial: Trial) -> bool:
    return (_folder(root, trial) / "done.json").exists()


def finished(planned: Sequence[Trial], root: str | Path) -> Iterator[tuple[Trial, Run]]:
    """The trials that are done, each with its run."""
    for trial in planned:
        if _is_done(Path(root), trial):
            yield trial, Run.open(_folder(Path(root), trial), progress=False)


@dataclasses.dataclass(frozen=True)
class _Axes:
    """The coordinates of a study, by dimension."""

    coordinates: Mapping[str, Sequence[Any]]

    @classmethod
    def of(cls, planned: Sequence[Trial]) -> _Axes:
        """The axes of some trials, in the order of the grid."""
        coordinates = {}
        for dimension in DIMENSIONS:
            distinct = dict.fromkeys(getattr(trial, dimension) for trial in planned)
            coordinates[dimension] = list(distinct)
        coordinates["setting"].sort()
        return cls(coordinates)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of coordinates of each dimension."""
        return tuple(len(values) for values in self.coordinates.values())

    def index(self, trial: Trial) -> tuple[int, ...]:
        """The position of a trial in an array over all dimensions."""
        return tuple(
            values.index(getattr(trial, dimension))
            for dimension, values in self.coordinates.items()
        )


def results(
    planned: Sequence[Trial], root: str | Path, failures: Mapping[str, str] | None = None
) -> xr.Dataset:
    """Gather the scores of the trials that are done.

    Args:
        planned: All trials of the study.
        root: Folder of the study.
        failures: Error messages by :attr:`~ppl_disentangle.studies.grid.Trial.key`. Left out, no trial
            has failed.

    Returns:
        ``score``, ``standard_error``, ``chance`` and ``ceiling`` over ``model``, ``setting``,
        ``data``, ``seed`` and ``metric``, and ``baseline_score`` over ``baseline`` as well;
        ``seconds`` of training; and ``status``: ``"done"``, ``"not run"``, ``"not planned"`` or an
        error message. The coordinate ``value(model, setting)`` is the swept hyper-parameter as text.
        Scores that do not exist are NaN.
    """
    axes = _Axes.of(planned)
    metrics = {
        axes.index(trial): run.read_group("metrics") for trial, run in finished(planned, root)
    }
    states = _states(planned, Path(root), failures or {}, axes)
    return states.merge(_scores(metrics, axes.shape)) if metrics else states


def _states(
    planned: Sequence[Trial], root: Path, failures: Mapping[str, str], axes: _Axes
) -> xr.Dataset:
    """What became of every trial, how long it took, and the value of its hyper-parameter."""
    status = np.full(axes.shape, "not planned", dtype=object)
    seconds = np.full(axes.shape, np.nan)
    value = np.full(axes.shape[:2], "", dtype=object)  # (model, setting)
    for trial in planned:
        index = axes.index(trial)
        value[index[:2]] = trial.value
        if _is_done(root, trial):
            status[index] = "done"
            seconds[index] = _seconds(_folder(root, trial))
        else:
            status[index] = failures.get(trial.key, "not run")
    return xr.Dataset(
        {"status": (DIMENSIONS, status.astype(str)), "seconds": (DIMENSIONS, seconds)},
        {**axes.coordinates, "value": (DIMENSIONS[:2], value.astype(str))},
    )


def _scores(metrics: Mapping[tuple[int, ...], xr.Dataset], shape: tuple[int, ...]) -> xr.Dataset:
    """The scores of the trials at some positions of the axes; NaN at all other positions."""
    names = _union(metrics.values(), "metric")
    baselines = _union(metrics.values(), "baseline")
    dimensions = (*DIMENSIONS, "metric")
    empty = np.full((*shape, len(names), len(baselines)), np.nan)
    scores = xr.Dataset(
        {name: (dimensions, np.full((*shape, len(names)), np.nan)) for name in SCORES.values()},
        {"metric": names, "baseline": baselines},
    ).assign(baseline_score=((*dimensions, "baseline"), empty))
    for index, trial_metrics in metrics.items():
        aligned = trial_metrics.reindex(metric=names)
        for variable, name in SCORES.items():
            if variable in aligned:
                scores[name].values[index] = aligned[variable].values
        if "baseline" in aligned:
            by_baseline = aligned["baseline_estimate"].reindex(baseline=baselines)
            by_baseline = by_baseline.transpose("metric", "baseline")
            scores["baseline_score"].values[index] = by_baseline.values
    return scores


def _union(metrics: Iterable[xr.Dataset], coordinate: str) -> list[str]:
    """All values of a coordinate, in the order in which they first occur."""
    names: dict[str, None] = {}
    for scores in metrics:
        if coordinate in scores:
            names.update(dict.fromkeys(map(str, scores[coordinate].values)))
    return list(names)


def _seconds(folder: Path) -> float:
    """The seconds that the training of a trial took."""
    return float(json.loads((folder / "environment.json").read_text())["seconds"])


def _write(gathered: xr.Dataset, root: Path) -> None:
    """Write the results as ``study.nc`` and, if there are scores, as ``study.csv``."""
    with atomic_path(root / "study.nc") as path:
        gathered.to_netcdf(path, engine="h5netcdf")
    if "score" in gathered:
        rows = gathered[["score", "standard_error", "seconds", "status"]].to_dataframe()
        with atomic_path(root / "study.csv") as path:
            rows[rows["status"] != "not planned"].to_csv(path)


def _summary(folder: Path) -> str:
    """The first scores of a trial and the seconds of its training, as text."""
    scores = Run.open(folder).read_group("metrics")["estimate"]
    cells = []
    for metric in scores["metric"].values[:NUM_METRICS_SHOWN]:
        cells.append(f"{metric} {scores.sel(metric=metric).item():.3f}")
    return ", ".join([*cells, f"{_seconds(folder):.0f} s"])
