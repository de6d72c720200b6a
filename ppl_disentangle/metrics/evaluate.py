"""Scores of an encoder beside chance, baselines and the score of a perfect code, all on the same data."""

from __future__ import annotations

import dataclasses
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.metrics.active_units import active_units
from ppl_disentangle.metrics.arrays import as_array, as_codes, varying
from ppl_disentangle.metrics.dci import Predictor, classifier_of, dci
from ppl_disentangle.metrics.factor_vae_score import factor_vae_score_from_codes
from ppl_disentangle.metrics.mig import mig

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["MEASURES", "METRICS", "Task", "evaluate"]

Encode = Callable[[Tensor], ArrayLike]
_ROWS_PER_CALL = 1024


@dataclasses.dataclass(frozen=True)
class Task:
    """What a measure scores codes against: classes of all rows, how many train, and the settings."""

    factors: ndarray
    num_train: int
    seed: int
    dci_predictor: Predictor
    factor_vae_votes: tuple[int, int]

    def __post_init__(self) -> None:
        classifier_of(self.dci_predictor, seed=self.seed)  # fails before the codes are computed


Measure = Callable[[ndarray, Task], tuple[float, ...]]


def _mig(codes: ndarray, task: Task) -> tuple[float, ...]:
    return (mig(codes[: task.num_train], task.factors[: task.num_train]),)


def _dci(codes: ndarray, task: Task) -> tuple[float, ...]:
    train, test = slice(task.num_train), slice(task.num_train, None)
    split = codes[train], task.factors[train], codes[test], task.factors[test]
    return dci(*split, predictor=task.dci_predictor, seed=task.seed)[:3]


def _factor_vae_score(codes: ndarray, task: Task) -> tuple[float, ...]:
    num_train, num_eval = task.factor_vae_votes
    if task.factors.shape[1] < 2:
        return (np.nan,)  # which of one factor is fixed needs no telling
    score = factor_vae_score_from_codes(codes, task.factors, seed=task.seed, num_train=num_train, num_eval=num_eval)
    return (score,)


def _active_units(codes: ndarray, task: Task) -> tuple[float, ...]:
    return (active_units(codes),)


MEASURES: dict[tuple[str, ...], Measure] = {
    ("mig",): _mig,
    ("dci_disentanglement", "dci_completeness", "dci_informativeness"): _dci,
    ("factor_vae_score",): _factor_vae_score,
    ("active_units",): _active_units,
}
METRICS = tuple(name for names in MEASURES for name in names)
WITHOUT_REFERENCES = frozenset({"active_units"})


def evaluate(
    encode: Encode,
    data: FactorDataset,
    *,
    metrics: Literal["all"] | Sequence[str] = "all",
    baselines: Mapping[str, Encode] | None = None,
    num_data: int = 10_000,
    num_test: int = 5_000,
    seed: int = 0,
    dci_predictor: Predictor = "gbt",
    factor_vae_votes: tuple[int, int] = (10_000, 5_000),
    progress: bool = True,
) -> xr.Dataset:
    """Score the codes of ``encode``, and by the same estimators on the same rows what to compare them with.

    Rows are drawn without replacement and encoded once by each encoder. MIG reads the training rows, DCI
    trains on them and is scored on the test rows, the FactorVAE score draws its votes among all rows, as
    :func:`factor_vae_score_from_codes`, and active units are counted over all rows. Factors that take one
    value in the training rows are left out.

    Args:
        encode: from stored observations ``(num, *observation_shape)`` to codes ``(num, num_codes)``.
        data: data with factors.
        metrics: names out of ``METRICS``, or all of them.
        baselines: further encoders by name.
        num_data: training rows. Where data are fewer than ``num_data + num_test``, all serve, split in
            proportion.
        num_test: test rows.
        seed: seed of the rows, the votes, the predictors and the permutation.
        dci_predictor: predictor of :func:`dci`. The reference ``"gbt"`` takes minutes a code at the default
            number of rows, ``"lightgbm"`` seconds.
        factor_vae_votes: votes that train and that score the classifier of the FactorVAE score.
        progress: show a progress bar.

    Returns:
        A dataset over ``metric`` with the variables ``estimate``; ``chance``, the score of the same codes in
        random order; ``ceiling``, the score of a perfect code: one code per factor, its standardised classes,
        and small noise in as many further codes as ``encode`` has; and, if there are any,
        ``baseline_estimate`` over ``(baseline, metric)``. Chance and ceiling of the active units are NaN. The
        attributes hold the settings.
    """
    names = METRICS if metrics == "all" else (metrics,) if isinstance(metrics, str) else tuple(metrics)
    measures = _measures_of(names)
    baselines = dict(baselines or {})
    index, num_train = _rows(len(data), num_data, num_test, seed)
    factors, left_out = _factors(data, index, num_train)
    task = Task(factors, num_train, seed, dci_predictor, factor_vae_votes)
    codes, *others = _encode((encode, *baselines.values()), data, index, progress=progress)
    rng = np.random.default_rng(seed)
    code_sets = codes, rng.permutation(codes), _perfect_codes(factors, codes.shape[1], rng), *others
    scores = _scores(code_sets, measures, task, progress=progress)
    result = _dataset(scores, measures, tuple(baselines)).sel(metric=list(names))
    left = ", ".join(left_out)
    return result.assign_attrs(_settings(task) | {"data": data.name, "factors_left_out": left})


def _measures_of(names: Sequence[str]) -> dict[tuple[str, ...], Measure]:
    if unknown := [name for name in names if name not in METRICS]:
        raise KeyError(f"no metric named {unknown[0]!r}; there are {list(METRICS)}")
    return {group: measure for group, measure in MEASURES.items() if set(group) & set(names)}


def _rows(available: int, num_data: int, num_test: int, seed: int) -> tuple[Tensor, int]:
    """Distinct random rows, and how many of them train."""
    if num_data < 2 or num_test < 2:
        raise ValueError(f"expected num_data >= 2 and num_test >= 2, got {num_data} and {num_test}")
    share = min(1.0, available / (num_data + num_test))
    index = np.random.default_rng(seed).choice(available, int(share * (num_data + num_test)), replace=False)
    return torch.from_numpy(index), int(share * num_data)


def _factors(data: FactorDataset, index: Tensor, num_train: int) -> tuple[ndarray, list[str]]:
    """Classes of the factors that vary in the training rows, and the names of the others."""
    if not data.space:
        raise ValueError(f"expected data with ground-truth factors, got {data.name!r} with none")
    factors = as_array(data.factors(index))
    several = varying(factors[:num_train])
    return factors[:, several], [name for name, keep in zip(data.factor_names, several, strict=True) if not keep]


def _encode(encoders: Sequence[Encode], data: FactorDataset, index: Tensor, *, progress: bool) -> list[ndarray]:
    """Codes of the rows by every encoder; each observation is read once."""
    from tqdm.auto import tqdm

    parts: list[list[ndarray]] = [[] for _ in encoders]
    with torch.no_grad():
        for rows in tqdm(index.split(_ROWS_PER_CALL), desc="encode", disable=not progress):
            observations = data.observations(rows)
            for part, encode in zip(parts, encoders, strict=True):
                part.append(as_array(encode(observations)))
    return [as_codes(np.concatenate(part)) for part in parts]


def _perfect_codes(factors: ndarray, num_codes: int, rng: np.random.Generator) -> ndarray:
    """The standardised classes of every factor, and noise of standard deviation 0.02 in further codes."""
    classes = (factors - factors.mean(0)) / factors.std(0)
    idle = rng.normal(0, 0.02, (len(factors), max(num_codes - classes.shape[1], 0)))
    return np.concatenate([classes, idle], 1)


def _scores(
    code_sets: Sequence[ndarray], measures: Mapping[tuple[str, ...], Measure], task: Task, *, progress: bool
) -> ndarray:
    """Every metric of every set of codes, ``(num_sets, num_metrics)``."""
    from tqdm.auto import tqdm

    bar = tqdm(code_sets, desc="score", disable=not progress)
    return np.array([[score for measure in measures.values() for score in measure(z, task)] for z in bar])


def _dataset(scores: ndarray, measures: Mapping[tuple[str, ...], Measure], baselines: tuple[str, ...]) -> xr.Dataset:
    import xarray as xr

    names = [name for group in measures for name in group]
    scores[1:3, [name in WITHOUT_REFERENCES for name in names]] = np.nan
    variables: dict[str, Any] = {
        name: ("metric", row) for name, row in zip(("estimate", "chance", "ceiling"), scores, strict=False)
    }
    if baselines:
        variables["baseline_estimate"] = (("baseline", "metric"), scores[3:])
    coordinates = {"metric": names} | ({"baseline": list(baselines)} if baselines else {})
    return xr.Dataset(variables, coordinates)


def _settings(task: Task) -> dict[str, Any]:
    packages = ["ppl-disentangle", "numpy", "scikit-learn"] + ["lightgbm"] * (task.dci_predictor == "lightgbm")
    return {
        "num_data": task.num_train,
        "num_test": len(task.factors) - task.num_train,
        "seed": task.seed,
        "dci_predictor": task.dci_predictor,
        "factor_vae_votes": list(task.factor_vae_votes),
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
    }
