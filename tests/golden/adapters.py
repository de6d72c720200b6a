"""This package behind the names and signatures of shared tables of reference values."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from pyro import poutine

from ppl_disentangle.causal import mechanisms
from ppl_disentangle.causal.structural import NOISE, StructuralPrior
from ppl_disentangle.graphs import as_dag
from ppl_disentangle.inference.bounds.decomposition import decompose
from ppl_disentangle.inference.bounds.per_datum import elbo_per_datum
from ppl_disentangle.inference.elbo.aggregate import (
    log_mixture,
    minibatch_log_weights,
    pairwise_log_prob,
)
from ppl_disentangle.metrics import (
    completeness,
    completeness_per_factor,
    dci,
    disentanglement,
    disentanglement_per_code,
    explicitness,
    gaussian_total_correlation,
    infomec,
    irs,
    irs_of_grid,
    mcc,
    mean_mutual_information,
    mig,
    modularity,
    modularity_per_code,
    sap,
    wasserstein_correlation,
)
from ppl_disentangle.metrics.beta_vae_score import beta_vae_accuracies
from ppl_disentangle.metrics.estimators.arrays import constant
from ppl_disentangle.metrics.estimators.mutual_information import binned
from ppl_disentangle.metrics.factor_vae_score import factor_vae_accuracies
from ppl_disentangle.metrics.mig import information_gaps
from ppl_disentangle.representation import encode
from ppl_disentangle.sites import Plate, Site
from ppl_disentangle.story import GenerativeStory


class Grid:
    """A grid of factors whose observations are the factor vectors themselves."""

    def __init__(self, ground_truth):
        self.factor_sizes = ground_truth.factor_sizes

    def render(self, factors):
        return factors.double()


def _encode(encoder):
    return lambda x: encoder(x.numpy())


def _dci(z, v, *test):
    scores = dci(z, v, *test)
    return {
        "dci_disentanglement": scores.disentanglement,
        "dci_completeness": scores.completeness,
        "dci_informativeness_train": dci(z, v, z, v).informativeness,
        "dci_informativeness_test": scores.informativeness,
    }


def _factor_vae(ground_truth, encoder, seed):
    scores = factor_vae_accuracies(Grid(ground_truth), _encode(encoder), seed=seed)
    return dict(zip(("factorvae_train", "factorvae_eval"), scores, strict=True))


def _beta_vae(ground_truth, encoder, seed):
    scores = beta_vae_accuracies(Grid(ground_truth), _encode(encoder), seed=seed)
    return dict(zip(("betavae_train", "betavae_eval"), scores, strict=True))


def _irs(ground_truth, encoder, seed):
    return irs_of_grid(Grid(ground_truth), _encode(encoder), seed=seed, quantile=0.99, bins=20)


def _irs_static(z, v):
    return {
        "irs_static_q1.0": irs(z, v),
        "irs_static_q0.99": irs(z, v, quantile=0.99),
        "irs_static_binned_q0.99": irs(z, v, quantile=0.99, bins=20),
    }


def _infomec(z, v):
    scores = infomec(z, v)
    return {"infom": scores.modularity, "infoe": scores.explicitness, "infoc": scores.compactness}


def _infomec_discrete(z, v):
    scores = infomec(z, v, discrete=True)
    names = ("infom_discrete", "infoe_discrete", "infoc_discrete")
    return dict(zip(names, scores, strict=True))


def _explicitness(z, v, *test):
    return {
        "explicitness_train": explicitness(z, v, z, v),
        "explicitness_test": explicitness(z, v, *test),
    }


def _with_binned_factors(score):
    return lambda z, v: score(z[:, ~constant(z)], binned(v, 20))


def _sap_binned(z, v):
    rows = np.random.default_rng(0).permutation(len(z))
    train = rows[:10_000]
    test = rows[10_000:15_000]
    bins = 1 + binned(z, 20)
    classes = binned(v, 20)
    return sap(bins[train], classes[train], bins[test], classes[test], continuous=False)


def _matrix(importances):
    return {
        "dci_disentanglement": disentanglement(importances),
        "dci_completeness": completeness(importances),
        "dci_disentanglement_per_code": disentanglement_per_code(importances),
        "dci_completeness_per_factor": completeness_per_factor(importances),
        "modularity": modularity_per_code(importances).mean(),
        "sap_gap": information_gaps(importances, np.ones(importances.shape[1])).mean(),
    }


def _unsupervised(codes):
    return {
        "tc_gaussian": gaussian_total_correlation(codes),
        "wasserstein_corr": wasserstein_correlation(codes),
        "wasserstein_corr_norm": wasserstein_correlation(codes, normalised=True),
        "mi_score": mean_mutual_information(codes),
    }


def _gauss(covariance):
    """The total correlation of codes that have exactly the given covariance."""
    points = np.linalg.cholesky(covariance).T * math.sqrt(len(covariance) - 0.5)
    return gaussian_total_correlation(np.concatenate([points, -points]))


def _minibatch(z, mu, log_std, num_data):
    z = torch.as_tensor(z)
    posterior = dist.Normal(torch.as_tensor(mu), torch.as_tensor(log_std).exp()).to_event(1)
    plate = Plate("data", -1, len(z), num_data)
    pairs = pairwise_log_prob(Site("z", posterior, z, 1.0, None, (plate,)), plate)
    weighted = minibatch_log_weights(len(z), num_data, "weighted", like=z)
    stratified = minibatch_log_weights(len(z), num_data, "stratified", like=z)
    return _log_densities("mws", pairs, weighted) | _log_densities("mss", pairs, stratified)


def _log_densities(estimator, pairs, log_weights):
    """Log densities of the aggregate posterior and of the product of its marginals; the difference."""
    joint = log_mixture(pairs.sum(-1, keepdim=True), log_weights).sum(-1)
    factored = log_mixture(pairs, log_weights).sum(-1)
    return {
        f"{estimator}_log_qz": joint.numpy(),
        f"{estimator}_log_prod_qzj": factored.numpy(),
        f"{estimator}_tc_mean": (joint - factored).mean().numpy(),
    }


class LinearGaussian(GenerativeStory):
    """A story with z ~ N(0, I) and x ~ N(Wz + b, sigma^2 I), and the guide N(Mx + c, diag s^2)."""

    latents = ("z",)

    def __init__(self, params):
        super().__init__()
        self.params = {
            name: torch.as_tensor(value, dtype=torch.float64) for name, value in params.items()
        }

    def model(self, x=None, *, batch_size=1):
        p = self.params
        with self.data_plate(x, batch_size):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(p["s"]), 1.0).to_event(1))
            return pyro.sample(
                "x", dist.Normal(z @ p["W"].T + p["b"], p["sigma"]).to_event(1), obs=x
            )

    def guide(self, x):
        with self.data_plate(x):
            pyro.sample("z", self.posterior(x))

    def posterior(self, x):
        return dist.Normal(
            x @ self.params["M"].T + self.params["c"], self.params["s"].expand(len(x), -1)
        ).to_event(1)


class AtSigmaPoints(LinearGaussian):
    """The same story, whose guide has 2 D fixed points per datum instead of draws.

    The mean of a quadratic function over these points is its expectation.
    """

    def guide(self, x):
        q = self.posterior(x)
        size = q.event_shape.numel()
        offsets = (
            math.sqrt(size)
            * torch.cat([torch.eye(size), -torch.eye(size)]).double()
            * self.params["s"]
        )
        with self.data_plate(x):
            points = q.mean + offsets.repeat(len(x) // len(offsets), 1)
            pyro.sample("z", dist.Delta(points).to_event(1))


def _expected_log_likelihood(params, x, points):
    """The expected log likelihood of each datum, from the given number of points per datum."""
    repeated = x.repeat_interleave(points, 0)
    bound = elbo_per_datum(AtSigmaPoints(params), repeated, batch_size=points)
    return bound["log_likelihood"].to_numpy().reshape(len(x), points).mean(1)


def _vae(params):
    story = LinearGaussian(params)
    x = story.params["X"]
    codes = encode(story, x)
    kl = elbo_per_datum(story, x)["kl"]
    per_datum = kl.sum("code")
    likelihood = _expected_log_likelihood(params, x, points=2 * kl.sizes["code"])
    mean = codes["mean"].to_numpy()
    covariance = ((mean - mean.mean(0)).T @ (mean - mean.mean(0))) / len(x)
    parts = -decompose(story, x.repeat(1 + 300 // len(x), 1), num_samples=200)
    return {
        "mu": mean,
        "recon_n": likelihood,
        "recon_mean": likelihood.mean(),
        "kl_n": per_datum,
        "kl_mean": per_datum.mean(),
        "kl_per_dim_mean": kl.mean("data"),
        "elbo_n": likelihood - per_datum.to_numpy(),
        "elbo_mean": likelihood.mean() - per_datum.mean(),
        "beta4_objective_mean": likelihood.mean() - 4 * per_datum.mean(),
        "agg_mean": mean.mean(0),
        "agg_cov": covariance
        + (codes["scale"].to_numpy() ** 2).mean(0) * torch.eye(len(covariance)).numpy(),
        "cov_of_means": covariance,
        "index_code_mi": parts["mutual_information"],
        "total_correlation": parts["total_correlation"],
        "dimwise_kl": parts["dimension_wise_kl"],
        "marginal_kl": parts["total_correlation"] + parts["dimension_wise_kl"],
    }


def linear_scm(weights, offsets, scales):
    """The structural causal model x = Bx + a + tau noise over nodes x0, x1, …."""
    names = [f"x{i}" for i in range(len(offsets))]
    prior = StructuralPrior(as_dag(weights.T, nodes=names), mechanisms.LinearGaussian).double()
    for i, name in enumerate(names):
        mechanism = prior.mechanisms[name]
        parents = [names.index(p) for p in prior.parents[name]]
        with torch.no_grad():
            mechanism.bias.fill_(offsets[i])
            mechanism.log_scale.fill_(math.log(scales[i]))
            if parents:
                mechanism.weight.copy_(torch.as_tensor(weights[i, parents]))
    return prior


def affine_map(prior, do):
    """Offset and matrix of the affine map from noise to nodes under an intervention.

    The program runs at zero noise, which gives the offset, and at each unit vector of noise, which
    gives a column of the matrix.
    """
    names = sorted(prior.names, key=lambda name: int(name[1:]))
    basis = torch.cat([torch.zeros(1, len(names)), torch.eye(len(names))]).double()
    noise = {f"{name}{NOISE}": basis[:, [i]] for i, name in enumerate(names)}
    values = {names[i]: torch.tensor([v], dtype=torch.float64) for i, v in do.items()}
    program = pyro.do(poutine.condition(prior, noise), values)
    with torch.no_grad():
        values = program()
    columns = torch.cat([values[name].expand(len(basis), 1) for name in names], -1)
    return columns[0], (columns[1:] - columns[0]).T


def _noise_given(prior, evidence):
    """Mean and covariance of the standard normal noise given exact values of some nodes."""
    dim = len(prior.names)
    if not evidence:
        return torch.zeros(dim).double(), torch.eye(dim).double()
    offset, matrix = affine_map(prior, {})
    seen = list(evidence)
    values = torch.tensor(list(evidence.values()), dtype=torch.float64)
    gain = torch.linalg.pinv(matrix[seen])
    return gain @ (values - offset[seen]), torch.eye(dim).double() - gain @ matrix[seen]


def _scm(query, weights, offsets, scales, do, evidence):
    prior = linear_scm(weights, offsets, scales)
    mean, covariance = _noise_given(prior, evidence)
    if query == "abduction":
        offset = 0.0
        matrix = torch.as_tensor(scales).diag()
    else:
        offset, matrix = affine_map(prior, do or {})
    return (offset + matrix @ mean).numpy(), (matrix @ covariance @ matrix.T).numpy()


ADAPTERS = {
    "mig": mig,
    "mig_binned_factors": _with_binned_factors(mig),
    "modularity": modularity,
    "modularity_binned_factors": _with_binned_factors(modularity),
    "explicitness": _explicitness,
    "sap_continuous": lambda z, v: sap(z, v, continuous=True),
    "sap_discrete": lambda *split: sap(*split, continuous=False),
    "sap_binned": _sap_binned,
    "irs": _irs,
    "irs_static": _irs_static,
    "infomec": _infomec,
    "infomec_discrete": _infomec_discrete,
    "mcc": lambda z, v: {
        f"mcc_{method}": mcc(z, v, method=method) for method in ("pearson", "spearman")
    },
    "betavae": _beta_vae,
    "dci": _dci,
    "factorvae": _factor_vae,
    "matrix": _matrix,
    "minibatch": _minibatch,
    "unsupervised": _unsupervised,
    "gauss": _gauss,
    "vae": _vae,
    "scm": _scm,
}
