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
from ppl_disentangle.metrics.evaluate import evaluate
from ppl_disentangle.metrics.factor_vae_score import factor_vae_score, factor_vae_score_from_codes
from ppl_disentangle.metrics.mig import mig, mig_per_factor
from ppl_disentangle.metrics.mutual_information import entropies, mutual_information
from ppl_disentangle.metrics.reconstruction import best_log_likelihood, linear_log_likelihood, marginal_log_likelihood

__all__ = [
    "DCI",
    "LinearCode",
    "active_units",
    "best_log_likelihood",
    "completeness",
    "completeness_per_factor",
    "dci",
    "disentanglement",
    "disentanglement_per_code",
    "entropies",
    "evaluate",
    "factor_vae_score",
    "factor_vae_score_from_codes",
    "ica",
    "linear_log_likelihood",
    "marginal_log_likelihood",
    "mig",
    "mig_per_factor",
    "mutual_information",
    "pca",
]
