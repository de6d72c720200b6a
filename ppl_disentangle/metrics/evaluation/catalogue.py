"""The metrics that :func:`evaluate` knows, by the names of their scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from numpy import ndarray

from ppl_disentangle.metrics.active_units import active_units
from ppl_disentangle.metrics.beta_vae_score import beta_vae_score_from_codes
from ppl_disentangle.metrics.dci import completeness, disentanglement
from ppl_disentangle.metrics.dcimig import separate_information
from ppl_disentangle.metrics.downstream import sample_efficiency
from ppl_disentangle.metrics.estimators.mutual_information import binned, entropies
from ppl_disentangle.metrics.evaluation.scored_codes import NUM_LABELS, ScoredCodes
from ppl_disentangle.metrics.evaluation.standard_errors import Score, blocks, bootstrap
from ppl_disentangle.metrics.explicitness import explicitness
from ppl_disentangle.metrics.factor_vae_score import factor_vae_score_from_codes
from ppl_disentangle.metrics.gaussian_total_correlation import gaussian_total_correlation
from ppl_disentangle.metrics.infomec import infomec
from ppl_disentangle.metrics.irs import irs
from ppl_disentangle.metrics.jemmig import jemmig_per_factor
from ppl_disentangle.metrics.mcc import mcc
from ppl_disentangle.metrics.mean_mutual_information import mean_mutual_information
from ppl_disentangle.metrics.mig import information_gaps
from ppl_disentangle.metrics.mig_exact import mig_exact
from ppl_disentangle.metrics.mig_sup import mig_sup_per_code
from ppl_disentangle.metrics.modularity import modularity_per_code
from ppl_disentangle.metrics.sap import sap
from ppl_disentangle.metrics.unfairness import unfairness_of_predictions
from ppl_disentangle.metrics.wasserstein_correlation import wasserstein_correlation

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["METRICS", "METRIC_NAMES", "Metric"]

NUM_BINS = 20
"""Number of bins of all metrics that bin the codes; their default."""
FEW_LABELS = 100
MANY_LABELS = 10_000


class Metric(NamedTuple):
    """The names of scores that are computed together, and the functions that compute them.

    Attributes:
        names: Names of the scores.
        score: Function from codes to one number for each name.
        error: Function from ``score`` and codes to the standard errors of the scores.
        better: Whether higher or lower scores are better. ``None`` marks a description of the
            codes, for which neither chance nor ceiling is computed.
        undefined: Function from codes to reasons for scores that these codes and factors leave
            undefined, by name.
    """

    names: tuple[str, ...]
    score: Score
    error: Callable[[Score, ScoredCodes], ndarray] = bootstrap
    better: Literal["higher", "lower"] | None = "higher"
    undefined: Callable[[ScoredCodes], Mapping[str, str]] = lambda scored: {}


def _needs_factors(*names: str) -> Callable[[ScoredCodes], Mapping[str, str]]:
    """Reasons for scores that compare factors, where there is only one factor."""

    def undefined(scored: ScoredCodes) -> Mapping[str, str]:
        if scored.task.factors.shape[1] > 1:
            return {}
        return dict.fromkeys(names, "it needs two factors, and one varies in these data")

    return undefined


def _undefined_dci(scored: ScoredCodes) -> Mapping[str, str]:
    """Disentanglement needs two factors and completeness two codes."""
    reasons = dict(_needs_factors("dci_disentanglement")(scored))
    if scored.codes.shape[1] < 2:
        reasons["dci_completeness"] = "it needs two codes, and the story has one"
    return reasons


def _mig(scored: ScoredCodes) -> Sequence[float]:
    return (float(information_gaps(scored.information, scored.entropies).mean()),)


def _mig_sup(scored: ScoredCodes) -> Sequence[float]:
    return (float(mig_sup_per_code(scored.information, scored.entropies).mean()),)


def _dcimig(scored: ScoredCodes) -> Sequence[float]:
    return (float(separate_information(scored.information).sum() / scored.entropies.sum()),)


def _jemmig(scored: ScoredCodes) -> Sequence[float]:
    code_entropies = entropies(binned(scored.train[0], NUM_BINS))
    scores = jemmig_per_factor(scored.information, code_entropies, scored.entropies, bins=NUM_BINS)
    return (float(scores.mean()),)


def _modularity(scored: ScoredCodes) -> Sequence[float]:
    return (float(modularity_per_code(scored.information).mean()),)


def _mig_exact(scored: ScoredCodes) -> Sequence[float]:
    if scored.scales is None:
        return (math.nan,)  # codes without a posterior
    means, factors = scored.train
    scales = scored.scales[: len(means)]
    posterior = torch.distributions.Normal(torch.tensor(means), torch.tensor(scales))
    num_samples = min(2000, len(means))
    return (mig_exact(posterior, factors, num_samples=num_samples, seed=scored.task.seed),)


def _infomec(scored: ScoredCodes) -> Sequence[float]:
    return infomec(*scored.train, seed=scored.task.seed)


def _dci(scored: ScoredCodes) -> Sequence[float]:
    importances, predictions = scored.trees
    varies = ~np.isnan(importances[0])
    accuracy = np.mean(predictions[:, varies] == scored.test[1][:, varies])
    return disentanglement(importances), completeness(importances), float(accuracy)


def _voting(score: Callable[..., float]) -> Score:
    """A score that samples votes among the rows; NaN if there is only one factor to choose."""

    def score_of_rows(scored: ScoredCodes) -> Sequence[float]:
        task = scored.task
        if task.factors.shape[1] < 2:
            return (math.nan,)
        num_train, num_eval = task.factor_vae_votes
        votes = {"num_train": num_train, "num_eval": num_eval}
        return (score(scored.codes, task.factors, seed=task.seed, **votes),)

    return score_of_rows


def _unfairness(scored: ScoredCodes) -> Sequence[float]:
    importances, predictions = scored.trees
    varies = ~np.isnan(importances[0])
    factors = scored.test[1]
    return (unfairness_of_predictions(predictions, factors, varies, seed=scored.task.seed).mean,)


def _correlations(scored: ScoredCodes) -> Sequence[float]:
    codes = scored.train[0]
    return (
        gaussian_total_correlation(codes),
        wasserstein_correlation(codes),
        wasserstein_correlation(codes, normalised=True),
        mean_mutual_information(codes),
    )


def _accuracies(probe: Callable[[ScoredCodes], xr.Dataset]) -> Score:
    """Mean accuracy over the factors at each number of labels, and the sample efficiency."""

    def score(scored: ScoredCodes) -> Sequence[float]:
        accuracy = probe(scored)["accuracy"]
        means = accuracy.mean("factor").values.tolist()
        return *means, sample_efficiency(accuracy, few=FEW_LABELS, many=MANY_LABELS)

    return score


def _accuracy_errors(
    probe: Callable[[ScoredCodes], xr.Dataset],
) -> Callable[[Score, ScoredCodes], ndarray]:
    """Standard errors from the draws of the labels and from the test rows.

    The errors of the factors are taken to be independent.
    """

    def error(score: Score, scored: ScoredCodes) -> ndarray:
        *means, efficiency = score(scored)
        num_test = len(scored.codes) - scored.task.num_train
        variances = _accuracy_variances(probe(scored), num_test)
        errors = np.sqrt(np.where(np.isnan(means), np.nan, variances))
        relative = errors / means
        # The efficiency is a ratio of two accuracies: relative errors add in squares.
        few = relative[NUM_LABELS.index(FEW_LABELS)]
        many = relative[NUM_LABELS.index(MANY_LABELS)]
        return np.append(errors, efficiency * math.hypot(few, many))

    return error


def _accuracy_variances(accuracies: xr.Dataset, num_test: int) -> xr.DataArray:
    """Variance of the mean accuracy over the factors, at each number of labels."""
    accuracy = accuracies["accuracy"]
    label_variance = accuracies["accuracy_standard_error"].fillna(0.0) ** 2
    test_variance = accuracy * (1 - accuracy) / num_test
    return (label_variance + test_variance).mean("factor") / accuracy.sizes["factor"]


def _downstream(prefix: str, probe: Callable[[ScoredCodes], xr.Dataset]) -> Metric:
    names = [f"{prefix}_{num}" for num in NUM_LABELS]
    names.append(f"{prefix}_sample_efficiency")
    return Metric(tuple(names), _accuracies(probe), _accuracy_errors(probe))


METRICS = (
    Metric(("mig",), _mig),
    Metric(("mig_exact",), _mig_exact, blocks),
    Metric(("mig_sup",), _mig_sup),
    Metric(("dcimig",), _dcimig),
    Metric(("jemmig",), _jemmig),
    Metric(("modularity",), _modularity, undefined=_needs_factors("modularity")),
    Metric(("explicitness",), lambda scored: (explicitness(*scored.split),), blocks),
    Metric(("infomec_modularity", "infomec_explicitness", "infomec_compactness"), _infomec, blocks),
    Metric(
        ("dci_disentanglement", "dci_completeness", "dci_informativeness"),
        _dci,
        blocks,
        undefined=_undefined_dci,
    ),
    Metric(("sap_continuous",), lambda scored: (sap(*scored.numbers, continuous=True),)),
    Metric(("sap_discrete",), lambda scored: (sap(*scored.split, continuous=False),), blocks),
    Metric(("irs",), lambda scored: (irs(*scored.train),)),
    Metric(("mcc_pearson",), lambda scored: (mcc(*scored.numbers),)),
    Metric(("mcc_spearman",), lambda scored: (mcc(*scored.numbers, method="spearman"),)),
    Metric(
        ("beta_vae_score",),
        _voting(beta_vae_score_from_codes),
        blocks,
        undefined=_needs_factors("beta_vae_score"),
    ),
    Metric(
        ("factor_vae_score",),
        _voting(factor_vae_score_from_codes),
        blocks,
        undefined=_needs_factors("factor_vae_score"),
    ),
    _downstream("linear_probe", lambda scored: scored.linear_probe),
    _downstream("boosted_trees", lambda scored: scored.boosted_trees),
    Metric(("unfairness",), _unfairness, blocks, "lower"),
    Metric(
        (
            "gaussian_total_correlation",
            "wasserstein_correlation",
            "wasserstein_correlation_normalised",
            "mean_mutual_information",
        ),
        _correlations,
        better="lower",
    ),
    Metric(("active_units",), lambda scored: (active_units(scored.codes),), better=None),
)
METRIC_NAMES = tuple(name for metric in METRICS for name in metric.names)
