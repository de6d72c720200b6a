"""One thread, a fresh parameter store, a fixed seed and validation for every test and doctest."""

import pyro
import pytest
import torch

torch.set_num_threads(1)

# Collected from here they would be second copies under their bare names; ppl_disentangle/ links to both.
collect_ignore = ["models", "inference"]


@pytest.fixture(autouse=True)
def _fresh_pyro() -> None:
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    pyro.enable_validation(True)
