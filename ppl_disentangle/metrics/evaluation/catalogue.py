"""The metrics that :func:`evaluate` knows, by the names of their scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy import ndarray

from ppl_disentangle.metrics.active_units import active_units
from ppl_disentangle.metrics.beta_vae_score import beta_vae_score_from_codes
from ppl_disentangle.metrics.dci import completeness, disentanglement
from ppl_disentangle.metrics.dcimig import separate_information
from ppl_disentangle.metrics.downstream import sample_efficiency
from ppl_disentangle.metrics.estimators.mutual_information import binned, entropies
from ppl_disentangle.metrics.evaluation.scored_codes import LABELS, ScoredCodes
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

__all__ = ["METRICS", "METRIC_NAMES", "Metric"]

BINS = 20  # the default of all metrics of mutual information


class Metric(NamedTuple):
    """Names of scores that are computed together, and how.

    Attributes:
        names: of the scores.
        score: from codes to as many numbers.
        error: from ``score`` and codes to their standard errors.
        better: which end of the scale is the better one; ``None`` for a mere description, which has neither
            chance nor ceiling.
    """

    names: tuple[str, ...]
    score: Score
    error: Callable[[Score, ScoredCodes], ndarray] = bootstrap
    better: Literal["higher", "lower"] | None = "higher"


def _mig(scored: ScoredCodes) -> Sequence[float]:
    return (float(information_gaps(scored.information, scored.entropies).mean()),)


def _mig_sup(scored: ScoredCodes) -> Sequence[float]:
    return (float(mig_sup_per_code(scored.information, scored.entropies).mean()),)


def _dcimig(scored: ScoredCodes) -> Sequence[float]:
    return (float(separate_information(scored.information).sum() / scored.entropies.sum()),)


def _jemmig(scored: ScoredCodes) -> Sequence[float]:
    of_codes = entropies(binned(scored.train[0], BINS))
    return (
        float(jemmig_per_factor(scored.information, of_codes, scored.entropies, bins=BINS).mean()),
    )


def _modularity(scored: ScoredCodes) -> Sequence[float]:
    return (float(modularity_per_code(scored.information).mean()),)


def _mig_exact(scored: ScoredCodes) -> Sequence[float]:
    if scored.scales is None:
        return (math.nan,)  # codes alone have no posterior
    means, factors = scored.train
    q = torch.distributions.Normal(torch.tensor(means), torch.tensor(scored.scales[: len(means)]))
    return (mig_exact(q, factors, num_samples=min(2000, len(means)), seed=scored.task.seed),)


def _infomec(scored: ScoredCodes) -> Sequence[float]:
    return infomec(*scored.train, seed=scored.task.seed)


def _dci(scored: ScoredCodes) -> Sequence[float]:
    importances, predictions = scored.trees
    several = ~np.isnan(importances[0])
    accuracy = np.mean(predictions[:, several] == scored.split[3][:, several])
    return disentanglement(importances), completeness(importances), float(accuracy)


def _votes(score: Callable[..., float]) -> Score:
    """A score that draws votes among the rows; of one factor it needs no telling which is fixed: NaN."""

    def of_rows(scored: ScoredCodes) -> Sequence[float]:
        task, (num_train, num_eval) = scored.task, scored.task.factor_vae_votes
        if task.factors.shape[1] < 2:
            return (math.nan,)
        return (
            score(
                scored.codes, task.factors, seed=task.seed, num_train=num_train, num_eval=num_eval
            ),
        )

    return of_rows


def _unfairness(scored: ScoredCodes) -> Sequence[float]:
    importances, predictions = scored.trees
    several = ~np.isnan(importances[0])
    return (
        unfairness_of_predictions(
            predictions, scored.split[3], several, seed=scored.task.seed
        ).mean,
    )


def _correlations(scored: ScoredCodes) -> Sequence[float]:
    z = scored.train[0]
    distances = (wasserstein_correlation(z, normalised=normalised) for normalised in (False, True))
    return gaussian_total_correlation(z), *distances, mean_mutual_information(z)


def _accuracies(name: Literal["linear_probe", "boosted_trees"]) -> Score:
    """Mean accuracy over the factors at each number of labels, and the sample efficiency."""

    def score(scored: ScoredCodes) -> Sequence[float]:
        accuracy = getattr(scored, name)["accuracy"]
        return *accuracy.mean("factor").values.tolist(), sample_efficiency(accuracy)

    return score


def _accuracy_errors(
    name: Literal["linear_probe", "boosted_trees"],
) -> Callable[[Score, ScoredCodes], ndarray]:
    """Errors from the draws of labels and from the test rows, factors taken to err independently."""

    def error(score: Score, scored: ScoredCodes) -> ndarray:
        found, (*means, ratio) = getattr(scored, name), score(scored)
        accuracy, num_test = found["accuracy"], len(scored.codes) - scored.task.num_train
        draws = found["accuracy_standard_error"].fillna(0.0) ** 2
        variances = (draws + accuracy * (1 - accuracy) / num_test).mean("factor") / accuracy.sizes[
            "factor"
        ]
        errors = np.sqrt(np.where(np.isnan(means), np.nan, variances))
        few, many = (LABELS.index(num) for num in (100, 10_000))
        return np.append(
            errors, ratio * math.hypot(errors[few] / means[few], errors[many] / means[many])
        )

    return error


def _downstream(name: Literal["linear_probe", "boosted_trees"]) -> Metric:
    names = *(f"{name}_{num}" for num in LABELS), f"{name}_sample_efficiency"
    return Metric(names, _accuracies(name), _accuracy_errors(name))


METRICS = (
    Metric(("mig",), _mig),
    Metric(("mig_exact",), _mig_exact, blocks),
    Metric(("mig_sup",), _mig_sup),
    Metric(("dcimig",), _dcimig),
    Metric(("jemmig",), _jemmig),
    Metric(("modularity",), _modularity),
    Metric(("explicitness",), lambda scored: (explicitness(*scored.split),), blocks),
    Metric(("infomec_modularity", "infomec_explicitness", "infomec_compactness"), _infomec, blocks),
    Metric(("dci_disentanglement", "dci_completeness", "dci_informativeness"), _dci, blocks),
    Metric(("sap_continuous",), lambda scored: (sap(*scored.train, continuous=True),)),
    Metric(("sap_discrete",), lambda scored: (sap(*scored.split, continuous=False),), blocks),
    Metric(("irs",), lambda scored: (irs(*scored.train),)),
    Metric(("mcc_pearson",), lambda scored: (mcc(*scored.train),)),
    Metric(("mcc_spearman",), lambda scored: (mcc(*scored.train, method="spearman"),)),
    Metric(("beta_vae_score",), _votes(beta_vae_score_from_codes), blocks),
    Metric(("factor_vae_score",), _votes(factor_vae_score_from_codes), blocks),
    _downstream("linear_probe"),
    _downstream("boosted_trees"),
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
