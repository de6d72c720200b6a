"""What a study tells: which hyper-parameter, which metrics agree, which run one would choose without labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from ppl_disentangle import plots
from ppl_disentangle.metrics import model_centrality, udr
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.storage import atomic_path
from ppl_disentangle.studies.study import Trial

__all__ = [
    "analyse",
    "compare_models",
    "probability_best",
    "rank_correlation",
    "select_without_labels",
]

RUNS = ("model", "setting", "seed")


def rank_correlation(study: xr.Dataset) -> xr.DataArray:
    """Spearman's rank correlation of each two metrics over the runs on one data set [1].

    Args:
        study: what :func:`~ppl_disentangle.studies.study.results` returned.

    Returns:
        Over ``data``, ``metric`` and ``other``; NaN where a metric is the same for all runs, or fewer than three have
        both.

    References:
        [1] Locatello et al., 2019. https://arxiv.org/abs/1811.12359 (figure 2)
    """
    from scipy.stats import spearmanr

    scores = study["score"].stack(run=RUNS).transpose("data", "metric", "run").values
    found = np.full((*scores.shape[:2], scores.shape[1]), np.nan)
    for place in np.ndindex(*found.shape):
        both = scores[place[0]][[place[1], place[2]]]
        both = both[:, np.isfinite(both).all(0)]
        if both.shape[1] > 2 and (np.ptp(both, axis=1) > 0).all():
            found[place] = spearmanr(*both).statistic
    metrics = study["metric"].values
    return xr.DataArray(
        found,
        {"data": study["data"].values, "metric": metrics, "other": metrics},
        name="correlation",
    )


def compare_models(
    study: xr.Dataset, metric: str, *, draws: int = 4000, seed: int = 0, best_setting: bool = True
) -> Any:
    r"""The posterior of each model's mean score, as ArviZ's ``InferenceData``.

    .. math:: s_{mdr} = \mu_m + \delta_d + \sigma \varepsilon_{mdr}, \quad p(\mu, \delta, \log \sigma) \propto 1,
       \quad \sum_d \delta_d = 0

    for model m, data d and seed r. The posterior is Student's t in closed form, from which the draws are independent:
    ``arviz.hdi`` of one data set gives the t-intervals of the textbook for a common variance. It is of the mean over
    seeds and not of a further run; :func:`probability_best` says how sure the order is.

    Args:
        study: what :func:`~ppl_disentangle.studies.study.results` returned.
        metric: the score.
        draws: number of draws.
        seed: of the draws.
        best_setting: take of each model the setting of the best mean, which favours models of many settings; otherwise
            all runs.

    Returns:
        ``posterior`` with ``mean`` over ``model`` and ``scale``.

    Raises:
        KeyError: no such metric.
        ValueError: too few runs to tell a scale.
    """
    import arviz

    if metric not in study["metric"].values:
        raise KeyError(
            f"no metric named {metric!r}; the study has {study['metric'].values.tolist()}"
        )
    scores = study["score"].sel(metric=metric)
    if best_setting:
        chosen = scores.mean(("data", "seed")).fillna(-np.inf).argmax("setting")
        scores = scores.isel(setting=chosen).drop_vars("setting").expand_dims("setting")
    values = scores.transpose("model", "data", "setting", "seed").values
    model, data, *_ = np.nonzero(np.isfinite(values))
    observed = values[np.isfinite(values)]
    present, number = np.unique(model), values.shape[1]
    columns = [model == m for m in present]
    columns += [(data == d).astype(float) - (data == number - 1) for d in range(number - 1)]
    design = np.stack(columns, -1).astype(float)
    freedom = len(observed) - np.linalg.matrix_rank(design)
    if freedom < 1 or np.linalg.matrix_rank(design) < design.shape[1]:
        raise ValueError(
            f"{len(observed)} runs of {len(present)} models on {number} data sets are too few for their means, what the"
            " data do, and a scale"
        )
    inverse = np.linalg.inv(design.T @ design)
    estimate = inverse @ design.T @ observed
    squares = np.square(observed - design @ estimate).sum()
    random = np.random.default_rng(seed)
    scale = np.sqrt(squares / random.chisquare(freedom, draws))
    noise = random.standard_normal((draws, len(estimate))) @ np.linalg.cholesky(inverse).T
    means = (estimate + scale[:, None] * noise)[:, : len(present)]
    names = study["model"].values[present]
    variables = {
        "mean": (("chain", "draw", "model"), means[None]),
        "scale": (("chain", "draw"), scale[None]),
    }
    coords = {"chain": [0], "draw": np.arange(draws), "model": names}
    return arviz.InferenceData(posterior=xr.Dataset(variables, coords, {"metric": metric}))


def probability_best(comparison: Any) -> xr.DataArray:
    """How probable it is that each model has the largest mean, over ``model``."""
    means = comparison.posterior["mean"]
    return (means == means.max("model")).mean(("chain", "draw")).rename("probability")


def select_without_labels(
    planned: Sequence[Trial], root: str | Path, metric: str, *, num_data: int = 1000, seed: int = 0
) -> xr.Dataset:
    """What one would get by choosing a run without labels, beside choosing with them and at random.

    Of each model on each data set, all runs that are done are compared by the agreement of their codes on some data:
    by :func:`~ppl_disentangle.metrics.udr` [1] and by :func:`~ppl_disentangle.metrics.model_centrality` [2].

    Args:
        planned: the trials of the study.
        root: its folder.
        metric: the score by which choices are judged.
        num_data: number of data to encode.
        seed: of their choice.

    Returns:
        Over ``model`` and ``data``: the ``score`` by ``choice``: ``"udr"``, ``"centrality"``, ``"labels"`` (the best)
        and ``"random"`` (the mean), the rank ``correlation`` of the two label-free criteria with it, and the number of
        ``runs``; NaN where fewer than three are done.

    References:
        [1] Duan et al., 2020. https://arxiv.org/abs/1905.12614
        [2] Lin et al., 2020. https://arxiv.org/abs/1906.06034
    """
    from scipy.stats import spearmanr

    criteria: dict[str, Callable[..., Any]] = {"udr": udr, "centrality": model_centrality}
    choices = [*criteria, "labels", "random"]
    models, sources = (
        list(dict.fromkeys(getattr(t, axis) for t in planned)) for axis in ("model", "data")
    )
    score = np.full((len(models), len(sources), len(choices)), np.nan)
    correlation = np.full((len(models), len(sources), len(criteria)), np.nan)
    runs = np.zeros((len(models), len(sources)), dtype=int)
    for place in np.ndindex(*runs.shape):
        folders = [
            Path(root) / "trials" / t.key
            for t in planned
            if (t.model, t.data) == _at(models, sources, place)
        ]
        done = [
            Run.open(folder, progress=False)
            for folder in folders
            if (folder / "done.json").exists()
        ]
        runs[place] = len(done)
        if len(done) < 3:
            continue
        known = np.array(
            [float(run.read_tree()["metrics"]["estimate"].sel(metric=metric)) for run in done]
        )
        codes, kls = zip(*(_codes(run, num_data, seed) for run in done), strict=True)
        told = None if any(np.isnan(kl).any() for kl in kls) else kls
        for i, criterion in enumerate(criteria.values()):
            judged = criterion(codes, told).scores
            score[place][i] = known[np.nanargmax(judged)]
            if np.ptp(judged) > 0 and np.ptp(known) > 0:
                correlation[place][i] = spearmanr(judged, known).statistic
        score[place][len(criteria) :] = known.max(), known.mean()
    dims = ("model", "data")
    variables = {
        "score": ((*dims, "choice"), score),
        "correlation": ((*dims, "criterion"), correlation),
    }
    coords = {"model": models, "data": sources, "choice": choices, "criterion": list(criteria)}
    return xr.Dataset(variables | {"runs": (dims, runs)}, coords, {"metric": metric})


def analyse(study: xr.Dataset, root: str | Path) -> list[str]:
    """Write figures and ``comparison.csv`` of a study into its folder; returns what the latter says, as text.

    Args:
        study: what :func:`~ppl_disentangle.studies.study.results` returned.
        root: its folder.
    """
    import arviz

    if "score" not in study:
        return []
    rows = []
    figures = {"rank_correlation": plots.plot_rank_correlation(rank_correlation(study))}
    for metric in map(str, study["metric"].values):
        figures[metric] = plots.plot_sweep(study, metric)
        try:
            comparison = compare_models(study, metric)
        except ValueError:  # too few runs
            continue
        low, high = arviz.hdi(comparison, hdi_prob=0.94)["mean"].transpose("hdi", ...).values
        columns = (
            comparison.posterior["mean"].mean(("chain", "draw")).values,
            low,
            high,
            probability_best(comparison),
        )
        rows += [
            (metric, str(name), *map(float, row))
            for name, *row in zip(*_named(comparison, columns), strict=True)
        ]
    for name, figure in figures.items():
        with atomic_path(Path(root) / "figures" / f"{name}.png") as path:
            figure.savefig(path, format="png")
    head = ("metric", "model", "mean", "hdi_3%", "hdi_97%", "probability_best")
    with atomic_path(Path(root) / "comparison.csv") as path:
        path.write_text("\n".join(",".join(map(str, row)) for row in (head, *rows)) + "\n")
    width = max((len(str(row[1])) for row in rows), default=0)
    return [
        f"{m:<22} {n:<{width}} {a:8.3f} [{b:.3f}, {c:.3f}]  best with {p:.2f}"
        for m, n, a, b, c, p in rows
    ]


def _named(comparison: Any, columns: Sequence[Any]) -> list[Any]:
    return [comparison.posterior["model"].values, *(np.asarray(column) for column in columns)]


def _at(models: Sequence[str], sources: Sequence[str], place: tuple[int, ...]) -> tuple[str, str]:
    return models[place[0]], sources[place[1]]


def _codes(run: Run, num_data: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Codes of some data, the same for all runs on them, and the divergence of each."""
    data = run.data()
    story, training = run.story(data), run.split(data)[0]
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))[:num_data]
    codes, _ = run.codes(story, run.told(story, training, data.subset(order)))
    return codes["mean"].values, codes["kl"].values
