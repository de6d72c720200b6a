"""Factors, codes of known quality, and every metric of both as a function to one number."""

import math

import numpy as np

from ppl_disentangle.data.base import Factor, FactorGrid
from ppl_disentangle.metrics import (
    dci,
    dcimig,
    explicitness,
    factor_vae_score_from_codes,
    infomec,
    irs,
    jemmig,
    mcc,
    mig,
    mig_sup,
    modularity,
    sap,
)


class Factors(FactorGrid):
    """A grid whose observation is the float vector of its factor classes."""

    name, maximum = "factors", 1.0

    def __init__(self, *sizes):
        self.space = tuple(Factor(f"factor_{k}", tuple(range(n))) for k, n in enumerate(sizes))
        self.observation_shape = (len(sizes),)
        self.rendered = []

    def render(self, factors):
        self.rendered.append(factors)
        return factors.float()


def grid(*sizes):
    """Every combination once, the last factor varying fastest."""
    return np.indices(sizes).reshape(len(sizes), -1).T


def rows(num=800, sizes=(3, 4, 5), seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(n, size=num) for n in sizes], 1)


def standardised(factors):
    return (factors - factors.mean(0)) / factors.std(0)


def noisy(factors, noise=0.4, seed=1):
    return standardised(factors) + noise * np.random.default_rng(seed).standard_normal(
        factors.shape
    )


def noise(num, size, seed=7):
    return np.random.default_rng(seed).standard_normal((num, size))


def normal(num=2000, size=4, seed=0):
    return np.random.default_rng(seed).standard_normal((num, size))


def with_covariance(covariance):
    """Codes that have exactly this covariance."""
    points = np.linalg.cholesky(covariance).T * math.sqrt(len(covariance) - 0.5)
    return np.concatenate([points, -points])


def reordered(codes, seed=0):
    """The same codes in another order, with other signs, scales and shifts."""
    rng = np.random.default_rng(seed)
    size = codes.shape[1]
    return codes[:, rng.permutation(size)] * rng.choice([-1, 1], size) * rng.uniform(
        0.5, 2, size
    ) + rng.normal(size)


def rotation(size):
    """The reflection that spreads every factor over all codes."""
    return np.eye(size) - 2 / size


def entangled_and_shared():
    """Codes and factors of 4 values each: the first code holds the first factor, the second both."""
    v = grid(4, 4)
    return np.stack([v[:, 0], 4 * v[:, 1] + v[:, 0]], 1), v


def mixed_rows():
    """Four noisy, partly rotated codes of three factors."""
    factors = rows(500, (3, 4, 6))
    codes = noisy(np.hstack([factors, factors[:, :1]]), 0.7)
    return codes @ (np.eye(4) + 0.3 * rotation(4)), factors


def information_by_scikit_learn(codes, factors, bins):
    """Information of binned codes and factors, entropies of the binned codes and of the factors."""
    from sklearn.metrics import mutual_info_score

    binned = [np.digitize(z, np.histogram(z, bins)[1][1:-1]) for z in codes.T]
    information = np.zeros((len(binned), factors.shape[1]))
    for d, k in np.ndindex(*information.shape):
        information[d, k] = mutual_info_score(factors[:, k], binned[d])
    code_entropies = [mutual_info_score(b, b) for b in binned]
    factor_entropies = [mutual_info_score(v, v) for v in factors.T]
    return information, code_entropies, factor_entropies


def information_of_bins(values):
    """Entropy of the values 0 to 39 in 20 bins of equal width."""
    share = np.bincount(np.digitize(values, np.linspace(0, 39, 21)[1:-1])) / 40
    return -(share * np.log(share)).sum()


def halves(codes, factors):
    n = len(codes) // 2
    return codes[:n], factors[:n], codes[n:], factors[n:]


def half_dci(codes, factors, predictor="lightgbm"):
    return dci(*halves(codes, factors), predictor=predictor)


def votes(codes, factors):
    return factor_vae_score_from_codes(codes, factors, seed=0, num_train=1000, num_eval=1000)


SCORES = {
    "mig": mig,
    "mig_sup": mig_sup,
    "dcimig": dcimig,
    "jemmig": jemmig,
    "modularity": modularity,
    "explicitness": lambda z, v: explicitness(*halves(z, v)),
    "sap_continuous": lambda z, v: sap(z, v, continuous=True),
    "sap": lambda z, v: sap(*halves(z, v), continuous=False),
    "irs": irs,
    "mcc": mcc,
    "mcc_spearman": lambda z, v: mcc(z, v, method="spearman"),
    "infomec_modularity": lambda z, v: infomec(z, v).modularity,
    "infomec_explicitness": lambda z, v: infomec(z, v).explicitness,
    "infomec_compactness": lambda z, v: infomec(z, v).compactness,
    "disentanglement": lambda z, v: half_dci(z, v).disentanglement,
    "completeness": lambda z, v: half_dci(z, v).completeness,
    "informativeness": lambda z, v: half_dci(z, v).informativeness,
    "factor_vae_score": votes,
}
