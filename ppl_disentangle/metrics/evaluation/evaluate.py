"""Scores of codes beside standard errors, chance, baselines and a perfect code, on the same data."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn

import numpy as np
import torch
from numpy import ndarray
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.conditions import arranged, by_name, check_conditions, check_rows
from ppl_disentangle.data.arrays import from_arrays
from ppl_disentangle.data.base import Factor, FactorDataset
from ppl_disentangle.data.conversion import as_dataset, has_parts
from ppl_disentangle.metrics.estimators.arrays import as_array, varying
from ppl_disentangle.metrics.estimators.predictors import Predictor
from ppl_disentangle.metrics.evaluation.catalogue import METRIC_NAMES, METRICS, Metric
from ppl_disentangle.metrics.evaluation.representations import (
    codes_of,
    is_story,
    perfect_codes,
    permuted_codes,
)
from ppl_disentangle.metrics.evaluation.scored_codes import ScoredCodes, ScoringTask
from ppl_disentangle.pairs import story_of

if TYPE_CHECKING:
    import xarray as xr
    from tqdm.auto import tqdm

__all__ = ["evaluate"]

REASONS = "reasons"
"""Attribute of the result with the reasons for scores that are missing, by metric, as JSON."""

_MOST_DISTINCT_NAMES = 20
"""Rows with a different name each, from which on a factor identifies rows and has no classes."""


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
    **conditions: Any,
) -> xr.Dataset:
    """Score codes by any or all metrics, beside standard errors, chance, ceiling and baselines.

    All scores of a metric use the same estimator and the same rows. Rows are sampled without
    replacement and encoded once by each encoder. Results that several metrics need, such as the
    matrix of mutual information or the trees of DCI, are computed once for each set of codes.
    Metrics that train nothing read the training rows; predictors are trained on the training rows
    and scored on the test rows. The FactorVAE and beta-VAE scores sample their votes among all
    rows, as :func:`factor_vae_score_from_codes` does, and active units are counted over all rows.
    Factors with a single value in the training rows are left out, and names that differ in every
    row, such as identifiers. Continuous factors enter correlations with their numbers and other
    metrics as classes, which are intervals. ``mig_exact`` treats the
    posteriors of a story as normal, with their means and scales, and draws at most 2,000 codes; for
    other representations it is NaN.

    Args:
        representation: A story, whose codes are its posterior means; a function from stored
            observations ``(num, *observation_shape)`` to codes ``(num, num_codes)``; or the codes
            of all data in order, ``(len(data), num_codes)``.
        data: Data set with factors, or a torch data set, a loader, an xarray data set or a mapping
            with factors, as :func:`~ppl_disentangle.data.as_dataset` takes them. If the
            representation is an array of codes, the factors themselves, ``(num_data,
            num_factors)``, are accepted too.
        metrics: Names of metrics, or ``"all"``. The names are in ``METRIC_NAMES``.
        baselines: Further representations by name, which are scored too.
        num_data: Number of training rows. If the data have fewer than ``num_data + num_test`` rows,
            all rows are used and split in the same proportion.
        num_test: Number of test rows.
        seed: Seed of the rows, votes, predictors, resamples and permutations.
        dci_predictor: Predictor of :func:`dci`, of ``unfairness`` and of ``boosted_trees_*``. The
            reference ``"gbt"`` takes minutes per code at the default number of rows, ``"lightgbm"``
            seconds.
        factor_vae_votes: Numbers of votes (FactorVAE score) or points (beta-VAE score) that train
            and that score the classifier.
        resamples: Number of bootstrap resamples; 0 leaves out all standard errors.
        progress: Whether to show a progress bar.
        **conditions: Conditions of all data that the guide or model of the story takes, such as
            ``labels``, ``(num_data, …)`` each. They win over those that the data carry. A baseline
            that is a story gets those that it takes.

    Returns:
        A dataset over ``metric`` with these variables:

        * ``estimate``: the score;
        * ``standard_error``: its standard error, by :func:`bootstrap` or :func:`blocks` as suits
          the metric;
        * ``chance``: the score of the same codes after each code was shuffled independently over
          the data;
        * ``ceiling``: the score of a perfect code, which has one code per factor, its standardised
          class or number, and small noise in the other codes, up to the number of codes of the
          representation;
        * ``baseline_estimate``, over ``(baseline, metric)``: the scores of the baselines, if there
          are any.

        Chance and ceiling are NaN for scores that only describe the codes; scores are NaN if there
        are too few rows for them. A metric that fails is NaN, and the attribute ``reasons``, the
        text of a JSON object, says why, by name. The attributes also hold the settings, the
        versions of the packages, the factors that were left out, and, as ``lower_is_better``, the
        scores that are low for a good code.

    Raises:
        KeyError: A metric has an unknown name.
        TypeError: The data are factors alone, and a representation is not an array of codes; or the
            representation takes no condition of that name.
        ValueError: The data have no factors, the codes do not match the data or are not finite, or
            ``mig_exact`` is requested for a representation that is not a story.

    Example:
        >>> v = np.indices((4, 5, 6)).reshape(3, -1).T
        >>> scores = evaluate(-2 * v, v, metrics=["mig", "mcc_pearson"], progress=False)
        >>> [round(scores[name].sel(metric="mig").item(), 2) for name in ("estimate", "ceiling")]
        [0.97, 0.97]
    """
    names = _metric_names(metrics)
    if "mig_exact" in names and metrics != "all" and not is_story(representation):
        got = type(representation).__name__
        raise ValueError(f"expected a story for 'mig_exact', which reads posteriors, got {got}")
    if has_parts(data):
        data = as_dataset(data)
    source = _source(data)
    if is_story(representation):
        conditions = by_name(story_of(representation), conditions)
        source = arranged(story_of(representation), source)
        data = source if isinstance(data, FactorDataset) else data
    index, num_train = _labelled(source, *_rows(len(source), num_data, num_test, seed))
    factors, numbers, left_out = _factors(source, index, num_train)
    task = ScoringTask(
        factors, num_train, seed, dci_predictor, factor_vae_votes, resamples, numbers
    )
    baselines = dict(baselines or {})
    _check_conditions(representation, source, conditions)
    encoded = codes_of(
        [representation, *baselines.values()],
        data,
        index,
        progress=progress,
        conditions=conditions,
    )
    code_sets = _code_sets(encoded, list(baselines), task)
    result = _scores(code_sets, _metrics_named(names), progress=progress).sel(metric=list(names))
    return result.assign_attrs(_settings(task) | _notes(source, left_out, names))


def _check_conditions(
    representation: Any, data: FactorDataset, conditions: Mapping[str, Any]
) -> None:
    """Refuse conditions that the representation does not take, or that are not of all data."""
    if is_story(representation):
        check_conditions(story_of(representation), conditions)
    elif conditions:
        raise TypeError(
            f"conditions are for a story, {type(representation).__name__} takes no"
            f" {next(iter(conditions))!r}"
        )
    check_rows(conditions, len(data))


def _metric_names(metrics: str | Sequence[str]) -> tuple[str, ...]:
    """The requested names; an unknown name is an error."""
    if metrics == "all":
        return METRIC_NAMES
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    for name in names:
        if name not in METRIC_NAMES:
            close = get_close_matches(name, METRIC_NAMES, 1)
            hint = f"; did you mean {close[0]!r}?" if close else ""
            raise KeyError(f"no metric named {name!r}; there are {list(METRIC_NAMES)}{hint}")
    return names


def _metrics_named(names: Sequence[str]) -> list[Metric]:
    return [metric for metric in METRICS if set(metric.names) & set(names)]


def _source(data: FactorDataset | ArrayLike) -> FactorDataset:
    """A data set that gives factors by row, also if only an array of factors is given."""
    if isinstance(data, FactorDataset):
        return data
    factors = as_array(data)
    if factors.ndim != 2:
        expected = "data with factors, or factors (num_data, num_factors)"
        raise ValueError(f"expected {expected}, got shape {factors.shape}")
    return from_arrays(np.zeros((len(factors), 1), np.float32), factors, name="factors")


def _rows(available: int, num_data: int, num_test: int, seed: int) -> tuple[Tensor, int]:
    """Distinct random rows, training rows first, and the number of training rows."""
    if num_data < 2 or num_test < 2:
        raise ValueError(f"expected num_data >= 2 and num_test >= 2, got {num_data} and {num_test}")
    share = min(1.0, available / (num_data + num_test))
    num_rows = int(share * (num_data + num_test))
    index = np.random.default_rng(seed).choice(available, num_rows, replace=False)
    return torch.from_numpy(index), int(share * num_data)


def _labelled(data: FactorDataset, index: Tensor, num_train: int) -> tuple[Tensor, int]:
    """The rows of which no factor is missing, and the number of training rows among them."""
    known = (data.factors(index) >= 0).all(1)
    if known.all():
        return index, num_train
    num_known = int(known[:num_train].sum())
    if num_known < 2 or int(known.sum()) < num_known + 2:
        raise ValueError(
            f"expected rows of {data.name!r} with a value of every factor, got {int(known.sum())} of"
            f" {len(known)} rows"
        )
    return index[known], num_known


def _factors(
    data: FactorDataset, index: Tensor, num_train: int
) -> tuple[ndarray, ndarray, list[str]]:
    """Factors that vary in the training rows, and the names of those that are left out.

    Names that differ in every row, such as identifiers, are left out, because they are not classes.

    Returns:
        Classes ``(num_data, num_factors)``; numbers of continuous factors and classes of others, of
        the same shape; and the names of the factors that are left out.
    """
    if not data.space:
        raise ValueError(f"expected data with ground-truth factors, got {data.name!r} with none")
    factors = as_array(data.factors(index))
    is_used = varying(factors[:num_train])
    columns = zip(data.space, factors.T, strict=True)
    is_used &= ~np.array([_names_rows(factor, column) for factor, column in columns])
    if not is_used.any():
        raise ValueError(
            f"expected a factor with classes or numbers, got a different name in every row of"
            f" {', '.join(data.factor_names)}"
        )
    numbers = as_array(data.factor_numbers(index))
    left_out = np.array(data.factor_names)[~is_used].tolist()
    return factors[:, is_used], numbers[:, is_used], left_out


def _names_rows(factor: Factor, classes: ndarray) -> bool:
    """Whether a factor without order has another value in every row, such as the name of a file."""
    num_values = len(np.unique(classes))
    return factor.kind == "categorical" and num_values == len(classes) > _MOST_DISTINCT_NAMES


class _CodeSets(NamedTuple):
    """The codes that are scored on the same rows."""

    own: ScoredCodes
    chance: ScoredCodes
    ceiling: ScoredCodes
    baselines: dict[str, ScoredCodes]


def _code_sets(
    encoded: Sequence[tuple[ndarray, ndarray | None]], baselines: Sequence[str], task: ScoringTask
) -> _CodeSets:
    """The codes to score, from the encoded rows of the representation and of the baselines."""
    rng = np.random.default_rng(task.seed)
    codes, scales = encoded[0]
    permuted, permuted_scales = permuted_codes(codes, scales, rng)
    perfect, perfect_scales = perfect_codes(
        task.factor_numbers, codes.shape[1], has_scales=scales is not None, rng=rng
    )
    return _CodeSets(
        own=ScoredCodes(codes, task, scales),
        chance=ScoredCodes(permuted, task, permuted_scales),
        ceiling=ScoredCodes(perfect, task, perfect_scales),
        baselines={
            name: ScoredCodes(z, task, s)
            for name, (z, s) in zip(baselines, encoded[1:], strict=True)
        },
    )


def _scores(code_sets: _CodeSets, metrics: Sequence[Metric], *, progress: bool) -> xr.Dataset:
    """Every score of every set of codes, and the standard errors of the representation's scores."""
    import xarray as xr
    from tqdm.auto import tqdm

    own = code_sets.own
    reasons: dict[str, str] = {}
    num_columns = 3 + len(code_sets.baselines) + bool(own.task.resamples)
    with tqdm(total=len(metrics) * num_columns, disable=not progress) as bar:
        columns = {
            "estimate": _column(metrics, own, bar, reasons=reasons),
            "standard_error": _standard_errors(metrics, own, bar),
            "chance": _column(metrics, code_sets.chance, bar, is_reference=True),
            "ceiling": _column(metrics, code_sets.ceiling, bar, is_reference=True),
        }
        baselines = {
            name: _column(metrics, scored, bar) for name, scored in code_sets.baselines.items()
        }
    names = [name for metric in metrics for name in metric.names]
    variables = {name: ("metric", column) for name, column in columns.items()}
    result = xr.Dataset(variables, {"metric": names}, {REASONS: json.dumps(reasons)})
    return _with_baselines(result, baselines) if baselines else result


def _with_baselines(result: xr.Dataset, baselines: Mapping[str, list[float]]) -> xr.Dataset:
    estimates = (("baseline", "metric"), list(baselines.values()))
    return result.assign(baseline_estimate=estimates).assign_coords(baseline=list(baselines))


def _column(
    metrics: Sequence[Metric],
    scored: ScoredCodes,
    bar: tqdm[NoReturn],
    *,
    is_reference: bool = False,
    reasons: dict[str, str] | None = None,
) -> list[float]:
    """All scores of a set of codes. References have no scores that only describe the codes: NaN.

    A score that cannot be computed is NaN; ``reasons`` gets the reason, by its name.
    """
    column: list[float] = []
    for metric in metrics:
        bar.set_description(metric.names[0])
        if is_reference and metric.better is None:
            column += [np.nan] * len(metric.names)
        else:
            scores, reason = _scores_or_reason(metric, scored)
            column += scores
            if reasons is not None:
                reasons |= (
                    dict.fromkeys(metric.names, reason) if reason else metric.undefined(scored)
                )
        bar.update()
    return column


def _scores_or_reason(metric: Metric, scored: ScoredCodes) -> tuple[list[float], str]:
    """The scores of a metric; or NaN, and the reason for it."""
    try:
        return list(metric.score(scored)), ""
    except ImportError:  # of an extra that was asked for
        raise
    except Exception as error:  # whatever fails in one metric must not end the others
        reason = " ".join(str(error).split()) or type(error).__name__
        return [np.nan] * len(metric.names), reason


def _standard_errors(
    metrics: Sequence[Metric], scored: ScoredCodes, bar: tqdm[NoReturn]
) -> list[float]:
    """Standard errors of all scores; NaN without resamples or with too few rows for a metric."""
    column: list[float] = []
    for metric in metrics:
        errors = [np.nan] * len(metric.names)
        if scored.task.resamples:
            bar.set_description(metric.names[0])
            # A score that fails has no error; with the rows of a block alone, others fail too.
            with contextlib.suppress(Exception):
                errors = list(metric.error(metric.score, scored))
            bar.update()
        column += errors
    return column


def _notes(data: FactorDataset, left_out: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Attributes of the result that describe the data and the direction of the scores."""
    lower = [
        name
        for metric in METRICS
        for name in metric.names
        if metric.better == "lower" and name in names
    ]
    return {
        "data": data.name,
        "factors_left_out": ", ".join(left_out),
        "lower_is_better": ", ".join(lower),
    }


def _settings(task: ScoringTask) -> dict[str, Any]:
    """Attributes of the result that record the settings and the versions of the packages."""
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
