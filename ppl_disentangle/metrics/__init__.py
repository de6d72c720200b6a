"""Metrics of how well codes match the factors that generated the data: arrays in, numbers out."""

from ppl_disentangle.metrics.active_units import active_units
from ppl_disentangle.metrics.beta_vae_score import beta_vae_score, beta_vae_score_from_codes
from ppl_disentangle.metrics.dci import (
    DCI,
    completeness,
    completeness_per_factor,
    dci,
    disentanglement,
    disentanglement_per_code,
)
from ppl_disentangle.metrics.dcimig import dcimig
from ppl_disentangle.metrics.downstream import downstream_accuracy, sample_efficiency
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information
from ppl_disentangle.metrics.estimators.neighbour_information import neighbour_information
from ppl_disentangle.metrics.evaluation.baselines import LinearCode, ica, pca
from ppl_disentangle.metrics.evaluation.evaluate import evaluate
from ppl_disentangle.metrics.evaluation.reconstruction import (
    best_log_likelihood,
    linear_log_likelihood,
    marginal_log_likelihood,
)
from ppl_disentangle.metrics.explicitness import explicitness
from ppl_disentangle.metrics.factor_vae_score import factor_vae_score, factor_vae_score_from_codes
from ppl_disentangle.metrics.gaussian_total_correlation import gaussian_total_correlation
from ppl_disentangle.metrics.infomec import InfoMEC, infomec
from ppl_disentangle.metrics.irs import irs, irs_of_grid
from ppl_disentangle.metrics.jemmig import jemmig
from ppl_disentangle.metrics.leakage import leakage
from ppl_disentangle.metrics.mcc import mcc
from ppl_disentangle.metrics.mean_mutual_information import mean_mutual_information
from ppl_disentangle.metrics.mig import mig, mig_per_factor
from ppl_disentangle.metrics.mig_exact import mig_exact, posterior_information
from ppl_disentangle.metrics.mig_sup import mig_sup
from ppl_disentangle.metrics.mmcs import mmcs
from ppl_disentangle.metrics.model_centrality import Centrality, model_centrality
from ppl_disentangle.metrics.modularity import modularity, modularity_per_code
from ppl_disentangle.metrics.posterior_collapse import collapsed
from ppl_disentangle.metrics.sap import sap
from ppl_disentangle.metrics.udr import UDR, udr
from ppl_disentangle.metrics.unfairness import (
    Unfairness,
    total_variation,
    unfairness,
    unfairness_from_codes,
)
from ppl_disentangle.metrics.wasserstein_correlation import wasserstein_correlation

__all__ = [
    "DCI",
    "UDR",
    "Centrality",
    "InfoMEC",
    "LinearCode",
    "Unfairness",
    "active_units",
    "best_log_likelihood",
    "beta_vae_score",
    "beta_vae_score_from_codes",
    "collapsed",
    "completeness",
    "completeness_per_factor",
    "dci",
    "dcimig",
    "disentanglement",
    "disentanglement_per_code",
    "downstream_accuracy",
    "entropies",
    "evaluate",
    "explicitness",
    "factor_vae_score",
    "factor_vae_score_from_codes",
    "gaussian_total_correlation",
    "ica",
    "infomec",
    "irs",
    "irs_of_grid",
    "jemmig",
    "leakage",
    "linear_log_likelihood",
    "marginal_log_likelihood",
    "mcc",
    "mean_mutual_information",
    "mig",
    "mig_exact",
    "mig_per_factor",
    "mig_sup",
    "model_centrality",
    "mmcs",
    "modularity",
    "modularity_per_code",
    "mutual_information",
    "neighbour_information",
    "pca",
    "posterior_information",
    "sample_efficiency",
    "sap",
    "total_variation",
    "udr",
    "unfairness",
    "unfairness_from_codes",
    "wasserstein_correlation",
]
