"""This package under the names and signatures of a shared table of reference values."""

from ppl_disentangle.metrics import (
    completeness,
    completeness_per_factor,
    dci,
    disentanglement,
    disentanglement_per_code,
    factor_vae_score,
    mig,
)


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


ADAPTERS = {"mig": mig, "dci": _dci, "factorvae": _factor_vae, "matrix": _matrix}
