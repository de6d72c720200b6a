"""This package under the names and signatures of a shared table of reference values."""

import pyro.distributions as dist
import torch

from ppl_disentangle.inference.aggregate import log_mixture, minibatch_log_weights, pairwise_log_prob
from ppl_disentangle.metrics import (
    completeness,
    completeness_per_factor,
    dci,
    disentanglement,
    disentanglement_per_code,
    factor_vae_score,
    mig,
)
from ppl_disentangle.sites import Plate, Site


class Grid:
    """A ground truth whose observation is its factor vector."""

    def __init__(self, ground_truth):
        self.factor_sizes = ground_truth.factor_sizes

    def render(self, factors):
        return factors.double()


def _dci(*split):
    scores = dci(*split)
    return {
        "dci_disentanglement": scores.disentanglement,
        "dci_completeness": scores.completeness,
        "dci_informativeness_test": scores.informativeness,
    }


def _factor_vae(ground_truth, encoder, seed):
    return {"factorvae_eval": factor_vae_score(Grid(ground_truth), lambda x: encoder(x.numpy()), seed=seed)}


def _matrix(importances):
    return {
        "dci_disentanglement": disentanglement(importances),
        "dci_completeness": completeness(importances),
        "dci_disentanglement_per_code": disentanglement_per_code(importances),
        "dci_completeness_per_factor": completeness_per_factor(importances),
    }


def _minibatch(z, mu, log_std, num_data):
    z, mu, log_std = (torch.as_tensor(a) for a in (z, mu, log_std))
    plate = Plate("data", -1, len(z), num_data)
    pairs = pairwise_log_prob(Site("z", dist.Normal(mu, log_std.exp()).to_event(1), z, 1.0, None, (plate,)), plate)
    values = {}
    for key, estimator in (("mws", "weighted"), ("mss", "stratified")):
        weights = minibatch_log_weights(len(z), num_data, estimator, like=z)
        joint = log_mixture(pairs.sum(-1, keepdim=True), weights).sum(-1)
        factored = log_mixture(pairs, weights).sum(-1)
        values |= {f"{key}_log_qz": joint, f"{key}_log_prod_qzj": factored, f"{key}_tc_mean": (joint - factored).mean()}
    return {name: value.numpy() for name, value in values.items()}


ADAPTERS = {"mig": mig, "dci": _dci, "factorvae": _factor_vae, "matrix": _matrix, "minibatch": _minibatch}
