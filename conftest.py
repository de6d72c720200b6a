"""One thread, a fresh parameter store, a fixed seed and validation for every test and doctest."""

import os
import warnings
from typing import Any

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

torch.set_num_threads(1)

if (
    "PYTEST_XDIST_WORKER" not in os.environ
):  # two processes that note ArviZ's daily warning at once fail
    with warnings.catch_warnings(action="ignore"):
        import arviz  # noqa: F401

# Collected from here they would be second copies under their bare names; ppl_disentangle/ links to both.
# The checks on a fake accelerator tell autograd of it for good; they have a process of their own, as the cluster has.
collect_ignore = [
    "models",
    "inference",
    "tests/models/accelerator_checks.py",
    "tests/studies/ray_cluster.py",
]


@pytest.fixture(autouse=True)
def _fresh_pyro() -> None:
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    pyro.enable_validation(True)


@pytest.fixture(autouse=True)
def _names_in_docstrings(doctest_namespace: dict[str, Any]) -> None:
    doctest_namespace.update(pyro=pyro, dist=dist, torch=torch, nn=nn)
