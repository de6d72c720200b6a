"""Analyses of a study: the models' mean scores, how metrics agree, and choices of runs without labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr

from ppl_disentangle import plots
from ppl_disentangle.metrics import model_centrality, udr
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.studies.grid import Trial
from ppl_disentangle.studies.study import finished

if TYPE_CHECKING:
    from arviz import InferenceData

__all__ = [
    "analyse",
    "compare_models",
    "probability_best",
    "rank_correlation",
    "select_without_labels",
]

RUN_DIMENSIONS = ("model", "setting", "seed")
MIN_RUNS = 3
"""Fewer runs have no rank correlation, and no run that agrees with most of the others."""

CRITERIA: Mapping[str, Callable[..., Any]] = {"udr": udr, "centrality": model_centrality}
"""Scores of runs by the agreement of their codes, which need no labels."""


def rank_correlation(study: xr.Dataset) -> xr.DataArray:
    """Compute Spearman's rank correlation of each pair of metrics over the runs on one data set [1].

    Args:
        study: The data set that :func:`~ppl_disentangle.studies.study.results` returns.

    Returns:
        Correlations over ``data``, ``metric`` and ``other``. A correlation is NaN if either metric is
        the same for all runs, or if fewer than three runs have both.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359 (figure 2)
    """
    scores = study["score"].stack(run=RUN_DIMENSIONS).transpose("data", "metric", "run").values
    correlation = np.stack([_correlations(of_metrics) for of_metrics in scores])
    metrics = study["metric"].values
    coordinates = {"data": study["data"].values, "metric": metrics, "other": metrics}
    return xr.DataArray(correlation, coordinates, name="correlation")


def _correlations(scores: np.ndarray) -> np.ndarray:
    """Rank correlation of all pairs of rows; scores of shape ``(metrics, runs)``."""
    correlation = np.full((len(scores), len(scores)), np.nan)
    for i, j in np.ndindex(*correlation.shape):
        pair = scores[[i, j]]
        first, second = pair[:, np.isfinite(pair).all(0)]
        correlation[i, j] = _spearman(first, second)
    return correlation


def _spearman(first: np.ndarray, second: np.ndarray) -> float:
    """Rank correlation of two scores over runs; NaN if either is constant or NaN, or runs are few."""
    from scipy.stats import spearmanr

    if len(first) < MIN_RUNS or not (np.ptp(first) > 0 and np.ptp(second) > 0):
        return np.nan
    return float(spearmanr(first, second).statistic)


def compare_models(
    study: xr.Dataset, metric: str, *, draws: int = 4000, seed: int = 0, best_setting: bool = True
) -> InferenceData:
    r"""Draw from the posterior of each model's mean score.

    .. math:: s_{mdr} = \mu_m + \delta_d + \sigma \varepsilon_{mdr}, \quad p(\mu, \delta, \log \sigma) \propto 1,
       \quad \sum_d \delta_d = 0

    for model m, data set d and run r, with standard normal :math:`\varepsilon_{mdr}`. The posterior is a
    multivariate Student's t in closed form, so the draws are independent. On one data set, ``arviz.hdi``
    gives the textbook's t-intervals for a common variance. The posterior is about the mean over seeds,
    not about the score of a further run; :func:`probability_best` gives the probability of the order.

    Args:
        study: The data set that :func:`~ppl_disentangle.studies.study.results` returns.
        metric: Name of the score.
        draws: Number of draws.
        seed: Seed of the draws.
        best_setting: Whether to use only the setting with the best mean of each model, which favours
            models with many settings. Otherwise all runs count.

    Returns:
        The group ``posterior`` with ``mean`` over ``model``, and ``scale``, which is :math:`\sigma`.

    Raises:
        KeyError: The study has no such metric.
        ValueError: The runs are too few to estimate a scale.
    """
    if metric not in study["metric"].values:
        raise KeyError(
            f"no metric named {metric!r}; the study has {study['metric'].values.tolist()}"
        )
    scores = study["score"].sel(metric=metric)
    if best_setting:
        scores = _at_best_setting(scores)
    values = scores.transpose("model", "data", "setting", "seed").values
    is_scored = np.isfinite(values)
    model, data, *_ = np.nonzero(is_scored)  # (runs,): positions on the axes of the study
    models, model = np.unique(model, return_inverse=True)
    design = _design(model, data, num_models=len(models), num_data_sets=values.shape[1])
    regression = _least_squares(design, values[is_scored])
    if regression is None:
        raise ValueError(
            f"{len(data)} runs of {len(models)} models on {values.shape[1]} data sets are too few"
            " to estimate the models' means, the effects of the data sets, and a scale"
        )
    coefficients, scale = regression.draw(draws, seed)
    means = coefficients[:, : len(models)]
    return _inference_data(means, scale, study["model"].values[models], metric)


def _at_best_setting(scores: xr.DataArray) -> xr.DataArray:
    """The scores of each model at its setting of the best mean score."""
    best = scores.mean(("data", "seed")).fillna(-np.inf).argmax("setting")
    return scores.isel(setting=best).drop_vars("setting").expand_dims("setting")


def _design(
    model: np.ndarray, data: np.ndarray, *, num_models: int, num_data_sets: int
) -> np.ndarray:
    """One row a run: indicators of its model, then of its data set, whose effects sum to zero.

    The last data set has no column: its effect is minus the sum of the others, so its runs have -1 in
    every column of a data set.
    """
    models = model[:, None] == np.arange(num_models)
    data_sets = data[:, None] == np.arange(num_data_sets - 1)
    in_last = data[:, None] == num_data_sets - 1
    return np.concatenate([models, data_sets.astype(float) - in_last], 1).astype(float)


class _LeastSquares(NamedTuple):
    """A linear regression with the prior p(coefficients, log scale) constant."""

    coefficients: np.ndarray
    covariance: np.ndarray  # of the coefficients, for a scale of 1
    squared_error: float
    degrees_of_freedom: int

    def draw(self, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients ``(draws, coefficients)`` and scales ``(draws,)`` from the posterior."""
        random = np.random.default_rng(seed)
        scale = np.sqrt(self.squared_error / random.chisquare(self.degrees_of_freedom, draws))
        noise = random.standard_normal((draws, len(self.coefficients)))
        deviation = noise @ np.linalg.cholesky(self.covariance).T
        return self.coefficients + scale[:, None] * deviation, scale


def _least_squares(design: np.ndarray, observed: np.ndarray) -> _LeastSquares | None:
    """The regression of ``observed`` on the columns of ``design``; None if they do not determine it."""
    degrees_of_freedom = len(observed) - design.shape[1]
    if degrees_of_freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        return None
    covariance = np.linalg.inv(design.T @ design)
    coefficients = covariance @ design.T @ observed
    squared_error = np.square(observed - design @ coefficients).sum()
    return _LeastSquares(coefficients, covariance, squared_error, degrees_of_freedom)


def _inference_data(
    means: np.ndarray, scale: np.ndarray, models: np.ndarray, metric: str
) -> InferenceData:
    """Draws of means ``(draws, models)`` and scales ``(draws,)`` as one chain."""
    import arviz

    variables = {
        "mean": (("chain", "draw", "model"), means[None]),
        "scale": (("chain", "draw"), scale[None]),
    }
    coordinates = {"chain": [0], "draw": np.arange(len(scale)), "model": models}
    return arviz.InferenceData(posterior=xr.Dataset(variables, coordinates, {"metric": metric}))


def probability_best(comparison: InferenceData) -> xr.DataArray:
    """The posterior probability that a model has the largest mean score, over ``model``."""
    means = comparison.posterior["mean"]
    return (means == means.max("model")).mean(("chain", "draw")).rename("probability")


def select_without_labels(planned: Sequence[Trial], root: str | Path, metric: str) -> xr.Dataset:
    """Judge choices of a run that need no labels, beside the best choice and a random one.

    The finished runs of each model on each data set are compared by how well their codes of the same
    data agree: by :func:`~ppl_disentangle.metrics.udr` [1] and by
    :func:`~ppl_disentangle.metrics.model_centrality` [2]. Either criterion chooses one run.

    Args:
        planned: All trials of the study.
        root: Folder of the study.
        metric: Name of the score by which the choices are judged.

    Returns:
        Over ``model`` and ``data``: ``score``, the score of the chosen run by ``choice``, which is
        ``"udr"``, ``"centrality"``, ``"labels"`` (the best run) or ``"random"`` (the mean of all
        runs); ``correlation``, the rank correlation of each criterion with the score; and ``runs``,
        the number of finished runs. Scores are NaN if fewer than three runs are finished.

    References:
        [1] Duan et al., 2020. https://arxiv.org/abs/1905.12614
        [2] Lin et al., 2020. https://arxiv.org/abs/1906.06034
    """
    models = list(dict.fromkeys(trial.model for trial in planned))
    data_sets = list(dict.fromkeys(trial.data for trial in planned))
    pairs = pd.MultiIndex.from_product([models, data_sets], names=["model", "data"])
    runs: dict[tuple[str, str], list[Run]] = {pair: [] for pair in pairs}
    for trial, run in finished(planned, root):
        runs[trial.model, trial.data].append(run)
    judged = [_judge_choices(of_pair, metric) for of_pair in runs.values()]
    by_pair = xr.concat(judged, "pair").assign_coords(
        xr.Coordinates.from_pandas_multiindex(pairs, "pair")
    )
    by_model_and_data = by_pair.unstack("pair").sel(model=models, data=data_sets)  # in their order
    return by_model_and_data.transpose("model", "data", ...).assign_attrs(metric=metric)


def _judge_choices(runs: Sequence[Run], metric: str) -> xr.Dataset:
    """The score of the run that each criterion chooses, beside the best and the mean score."""
    choice = pd.Series(np.nan, [*CRITERIA, "labels", "random"])
    correlation = pd.Series(np.nan, list(CRITERIA))
    if len(runs) >= MIN_RUNS:
        trees = [run.read_tree() for run in runs]
        scores = np.array([_score(tree, metric) for tree in trees])
        for criterion, agreement in _agreements(trees).items():
            choice[criterion] = scores[np.nanargmax(agreement)]
            correlation[criterion] = _spearman(agreement, scores)
        choice["labels"] = scores.max()
        choice["random"] = scores.mean()
    return xr.Dataset(
        {
            "score": choice.rename_axis("choice").to_xarray(),
            "correlation": correlation.rename_axis("criterion").to_xarray(),
            "runs": len(runs),
        }
    )


def _score(tree: xr.DataTree, metric: str) -> float:
    """A score of a run, from its results."""
    return float(tree["metrics"]["estimate"].sel(metric=metric))


def _codes(tree: xr.DataTree) -> tuple[np.ndarray, np.ndarray]:
    """A run's codes ``(data, codes)`` and their KL ``(codes,)``, from its results."""
    codes = tree["codes"].to_dataset()
    return codes["mean"].values, codes["kl"].values


def _agreements(trees: Sequence[xr.DataTree]) -> dict[str, np.ndarray]:
    """How well each run's codes agree with the codes of the other runs, by criterion."""
    codes, kls = zip(*map(_codes, trees), strict=True)
    every_kl_exists = all(np.isfinite(kl).all() for kl in kls)
    agreements = {}
    for name, criterion in CRITERIA.items():
        agreements[name] = criterion(codes, kls if every_kl_exists else None).scores
    return agreements


def analyse(study: xr.Dataset, root: str | Path) -> list[str]:
    """Write figures and ``comparison.csv`` of a study into its folder.

    Args:
        study: The data set that :func:`~ppl_disentangle.studies.study.results` returns.
        root: Folder of the study.

    Returns:
        The rows of ``comparison.csv`` as lines of text.
    """
    if "score" not in study:
        return []
    figures = {"rank_correlation": plots.plot_rank_correlation(rank_correlation(study))}
    for metric in map(str, study["metric"].values):
        figures[metric] = plots.plot_sweep(study, metric)
    for name, figure in figures.items():
        with atomic_path(Path(root) / "figures" / f"{name}.png") as path:
            figure.savefig(path, format="png")
    table = _comparisons(study)
    with atomic_path(Path(root) / "comparison.csv") as path:
        table.to_csv(path, index=False)
    width = max(table["model"].map(len), default=0)
    return [
        f"{metric:<22} {model:<{width}} {mean:8.3f} [{low:.3f}, {high:.3f}]  best with {best:.2f}"
        for metric, model, mean, low, high, best in table.itertuples(index=False, name=None)
    ]


def _comparisons(study: xr.Dataset) -> pd.DataFrame:
    """Posterior mean, 94 % interval and probability to be best, a row for each metric and model."""
    import arviz

    rows = []
    for metric in map(str, study["metric"].values):
        try:
            comparison = compare_models(study, metric)
        except ValueError:  # too few runs
            continue
        mean = comparison.posterior["mean"].mean(("chain", "draw"))
        interval = arviz.hdi(comparison, hdi_prob=0.94)["mean"]
        best = probability_best(comparison)
        for model in mean["model"].values:
            numbers = [mean.sel(model=model), *interval.sel(model=model), best.sel(model=model)]
            rows.append((metric, str(model), *map(float, numbers)))
    columns = ["metric", "model", "mean", "hdi_3%", "hdi_97%", "probability_best"]
    return pd.DataFrame(rows, columns=columns)
