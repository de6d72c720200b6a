"""Measures of how well codes match the factors that generated the data: arrays in, numbers out."""

from ppl_disentangle.metrics.active_units import active_units
from ppl_disentangle.metrics.baselines import LinearCode, ica, pca
from ppl_disentangle.metrics.dci import (
    DCI,
    completeness,
    completeness_per_factor,
    dci,
    disentanglement,
    disentanglement_per_code,
)
from ppl_disentangle.metrics.downstream import downstream_accuracy, sample_efficiency
from ppl_disentangle.metrics.evaluate import evaluate
from ppl_disentangle.metrics.factor_vae_score import factor_vae_score, factor_vae_score_from_codes
from ppl_disentangle.metrics.gaussian_total_correlation import gaussian_total_correlation
from ppl_disentangle.metrics.leakage import leakage
from ppl_disentangle.metrics.mcc import mcc
from ppl_disentangle.metrics.mean_mutual_information import mean_mutual_information
from ppl_disentangle.metrics.mig import mig, mig_per_factor
from ppl_disentangle.metrics.model_centrality import Centrality, model_centrality
from ppl_disentangle.metrics.mutual_information import entropies, mutual_information
from ppl_disentangle.metrics.posterior_collapse import collapsed
from ppl_disentangle.metrics.reconstruction import best_log_likelihood, linear_log_likelihood, marginal_log_likelihood
from ppl_disentangle.metrics.udr import UDR, udr
from ppl_disentangle.metrics.unfairness import Unfairness, total_variation, unfairness, unfairness_from_codes
from ppl_disentangle.metrics.wasserstein_correlation import wasserstein_correlation

__all__ = [
    "DCI",
    "UDR",
    "Centrality",
    "LinearCode",
    "Unfairness",
    "active_units",
    "best_log_likelihood",
    "collapsed",
    "completeness",
    "completeness_per_factor",
    "dci",
    "disentanglement",
    "disentanglement_per_code",
    "downstream_accuracy",
    "entropies",
    "evaluate",
    "factor_vae_score",
    "factor_vae_score_from_codes",
    "gaussian_total_correlation",
    "ica",
    "leakage",
    "linear_log_likelihood",
    "marginal_log_likelihood",
    "mcc",
    "mean_mutual_information",
    "mig",
    "mig_per_factor",
    "model_centrality",
    "mutual_information",
    "pca",
    "sample_efficiency",
    "total_variation",
    "udr",
    "unfairness",
    "unfairness_from_codes",
    "wasserstein_correlation",
]
