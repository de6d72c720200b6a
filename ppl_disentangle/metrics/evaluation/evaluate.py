"""Scores of codes beside their standard errors, chance, baselines and a perfect code, all on the same data."""

from __future__ import annotations

import contextlib
import importlib.metadata
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.arrays import from_arrays
from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.metrics.estimators.arrays import as_array, varying
from ppl_disentangle.metrics.estimators.predictors import Predictor
from ppl_disentangle.metrics.evaluation.catalogue import METRIC_NAMES, METRICS, Metric
from ppl_disentangle.metrics.evaluation.representations import codes_of, is_story, references
from ppl_disentangle.metrics.evaluation.scored_codes import ScoredCodes, ScoringTask

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["evaluate"]


def evaluate(
    representation: Any,
    data: FactorDataset | ArrayLike,
    *,
    metrics: Literal["all"] | str | Sequence[str] = "all",
    baselines: Mapping[str, Any] | None = None,
    num_data: int = 10_000,
    num_test: int = 5_000,
    seed: int = 0,
    dci_predictor: Predictor = "gbt",
    factor_vae_votes: tuple[int, int] = (10_000, 5_000),
    resamples: int = 50,
    progress: bool = True,
) -> xr.Dataset:
    """Score codes, and by the same estimators on the same rows what to compare them with.

    Rows are drawn without replacement and encoded once by each encoder; what several scores need, such as the
    matrix of mutual information or the trees of DCI, is computed once for each set of codes. Scores that train
    nothing read the training rows; predictors train on them and are scored on the test rows; the FactorVAE score
    draws its votes among all rows, as :func:`factor_vae_score_from_codes`, and active units are counted over
    all rows. Factors that take one value in the training rows are left out. ``mig_exact`` takes the posteriors of
    a story for normal, with their means and scales, and draws at most 2,000 codes; elsewhere it is NaN.

    Args:
        representation: a story, whose codes are its posterior means; a function from stored observations
            ``(num, *observation_shape)`` to codes ``(num, num_codes)``; or the codes of all data in order,
            ``(len(data), num_codes)``.
        data: data with factors; with codes also the factors themselves, ``(num_data, num_factors)``.
        metrics: names out of ``METRIC_NAMES``, or all of them.
        baselines: further representations by name.
        num_data: training rows. Where data are fewer than ``num_data + num_test``, all serve, split in
            proportion.
        num_test: test rows.
        seed: seed of the rows, the votes, the predictors, the resamples and the permutation.
        dci_predictor: predictor of :func:`dci`, of ``unfairness`` and of ``boosted_trees_*``. The reference
            ``"gbt"`` takes minutes a code at the default number of rows, ``"lightgbm"`` seconds.
        factor_vae_votes: votes, or points, that train and that score the classifiers of the FactorVAE and the
            beta-VAE score.
        resamples: of the bootstrap; 0 leaves all standard errors out.
        progress: show a progress bar.

    Returns:
        A dataset over ``metric`` with the variables ``estimate``; ``standard_error`` of it, as its metric has
        it (:func:`bootstrap`, :func:`blocks`); ``chance``, the score of the same codes, each in a random order
        of its own; ``ceiling``, the score of a perfect code: one code per factor, its standardised classes, and
        small noise in as many further codes as the representation has; and, if there are any,
        ``baseline_estimate`` over ``(baseline, metric)``. Scores that are a mere description have neither
        chance nor ceiling: NaN. The attributes hold the settings, the versions, and by ``lower_is_better`` the
        scores that a good code has small. Scores that the rows are too few for are NaN.

    Raises:
        KeyError: there is no metric of that name.
        TypeError: no codes, where the data are factors alone.
        ValueError: data without factors, codes that do not match them, or that are not finite; ``mig_exact`` of
            what is no story.

    Example:
        >>> v = np.indices((4, 5, 6)).reshape(3, -1).T
        >>> scores = evaluate(-2 * v, v, metrics=["mig", "gaussian_total_correlation"], progress=False)
        >>> [round(scores[name].sel(metric="mig").item(), 2) for name in ("estimate", "ceiling")]
        [0.97, 0.97]
    """
    names = (
        METRIC_NAMES
        if metrics == "all"
        else (metrics,)
        if isinstance(metrics, str)
        else tuple(metrics)
    )
    catalogued = _metrics_of(names)
    if "mig_exact" in names and metrics != "all" and not is_story(representation):
        raise ValueError(
            f"expected a story for 'mig_exact', which reads posteriors, got {type(representation).__name__}"
        )
    source = _source(data)
    index, num_train = _rows(len(source), num_data, num_test, seed)
    factors, left_out = _factors(source, index, num_train)
    task = ScoringTask(factors, num_train, seed, dci_predictor, factor_vae_votes, resamples)
    baselines = dict(baselines or {})
    own, *others = codes_of([representation, *baselines.values()], data, index, progress=progress)
    rng = np.random.default_rng(seed)
    sets = [
        ScoredCodes(z, task, scales)
        for z, scales in (own, *references(*own, factors, rng), *others)
    ]
    result = _scores(sets, catalogued, list(baselines), progress=progress).sel(metric=list(names))
    lower = [name for m in catalogued for name in m.names if m.better == "lower" and name in names]
    notes = {
        "data": source.name,
        "factors_left_out": ", ".join(left_out),
        "lower_is_better": ", ".join(lower),
    }
    return result.assign_attrs(_settings(task) | notes)


def _metrics_of(names: Sequence[str]) -> list[Metric]:
    for name in names:
        if name not in METRIC_NAMES:
            close = get_close_matches(name, METRIC_NAMES, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise KeyError(f"no metric named {name!r}; there are {list(METRIC_NAMES)}{hint}")
    return [metric for metric in METRICS if set(metric.names) & set(names)]


def _source(data: FactorDataset | ArrayLike) -> FactorDataset:
    """Data whose factors can be asked for by row."""
    if isinstance(data, FactorDataset):
        return data
    factors = as_array(data)
    if factors.ndim != 2:
        raise ValueError(
            f"expected data with factors, or factors (num_data, num_factors), got shape {factors.shape}"
        )
    return from_arrays(np.zeros((len(factors), 1), np.float32), factors, name="factors")


def _rows(available: int, num_data: int, num_test: int, seed: int) -> tuple[Tensor, int]:
    """Distinct random rows, and how many of them train."""
    if num_data < 2 or num_test < 2:
        raise ValueError(f"expected num_data >= 2 and num_test >= 2, got {num_data} and {num_test}")
    share = min(1.0, available / (num_data + num_test))
    index = np.random.default_rng(seed).choice(
        available, int(share * (num_data + num_test)), replace=False
    )
    return torch.from_numpy(index), int(share * num_data)


def _factors(data: FactorDataset, index: Tensor, num_train: int) -> tuple[ndarray, list[str]]:
    """Classes of the factors that vary in the training rows, and the names of the others."""
    if not data.space:
        raise ValueError(f"expected data with ground-truth factors, got {data.name!r} with none")
    factors = as_array(data.factors(index))
    several = varying(factors[:num_train])
    return factors[:, several], [
        name for name, keep in zip(data.factor_names, several, strict=True) if not keep
    ]


def _scores(
    sets: Sequence[ScoredCodes],
    catalogued: Sequence[Metric],
    baselines: list[str],
    *,
    progress: bool,
) -> xr.Dataset:
    """Every score of every set of codes, which are the representation's, chance, the perfect code, and baselines."""
    import xarray as xr
    from tqdm.auto import tqdm

    resampled = bool(sets[0].task.resamples)
    columns: list[list[float]] = [[] for _ in range(len(sets) + 1)]
    with tqdm(total=len(catalogued) * (len(sets) + resampled), disable=not progress) as bar:
        for metric in catalogued:
            bar.set_description(metric.names[0])
            for place, scored in enumerate(sets):
                unranked = metric.better is None and place in (1, 2)
                columns[place] += (
                    [np.nan] * len(metric.names) if unranked else list(metric.score(scored))
                )
                bar.update()
            columns[-1] += _standard_errors(metric, sets[0])
            bar.update(resampled)
    estimate, chance, ceiling, *others, error = (("metric", column) for column in columns)
    names = [name for metric in catalogued for name in metric.names]
    variables = {
        "estimate": estimate,
        "standard_error": error,
        "chance": chance,
        "ceiling": ceiling,
    }
    result = xr.Dataset(variables, {"metric": names})
    if not baselines:
        return result
    rows = [column for _, column in others]
    return result.assign(baseline_estimate=(("baseline", "metric"), rows)).assign_coords(
        baseline=baselines
    )


def _standard_errors(metric: Metric, scored: ScoredCodes) -> list[float]:
    """Of every score of a metric; NaN where none are asked for, or some of the rows are too few for the score."""
    if scored.task.resamples:
        with contextlib.suppress(
            ValueError
        ):  # the score of all rows is known by now, so that they are right
            return list(metric.error(metric.score, scored))
    return [np.nan] * len(metric.names)


def _settings(task: ScoringTask) -> dict[str, Any]:
    packages = ["ppl-disentangle", "torch", "numpy", "scipy", "scikit-learn"]
    packages += ["lightgbm"] * (task.dci_predictor == "lightgbm")
    return {
        "num_data": task.num_train,
        "num_test": len(task.factors) - task.num_train,
        "seed": task.seed,
        "dci_predictor": task.dci_predictor,
        "factor_vae_votes": list(task.factor_vae_votes),
        "resamples": task.resamples,
        "versions": ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages),
    }
