"""Networks that return distributions: ``z = pyro.sample("z", encoder(x))``."""

from ppl_disentangle.conditionals.base import (
    MAX_FLOAT32_WEIGHTS,
    Bernoulli,
    Conditional,
    ContinuousBernoulli,
    Deterministic,
    Gaussian,
    GaussianLearnedScale,
    Grouped,
    StudentT,
    at_least_single,
    unrounded,
)
from ppl_disentangle.conditionals.classes import Categorical, Ordinal
from ppl_disentangle.conditionals.counts import (
    NegativeBinomial,
    Poisson,
    ZeroInflatedNegativeBinomial,
    ZeroInflatedPoisson,
)
from ppl_disentangle.conditionals.rows import Row, RowDistribution, num_row_outputs

__all__ = [
    "MAX_FLOAT32_WEIGHTS",
    "Bernoulli",
    "Categorical",
    "Conditional",
    "ContinuousBernoulli",
    "Deterministic",
    "Gaussian",
    "GaussianLearnedScale",
    "Grouped",
    "NegativeBinomial",
    "Ordinal",
    "Poisson",
    "Row",
    "RowDistribution",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "at_least_single",
    "num_row_outputs",
    "unrounded",
]
