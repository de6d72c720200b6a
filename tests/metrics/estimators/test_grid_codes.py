"""Codes of observations that are sampled from a grid."""

import numpy as np
import torch

from ppl_disentangle.metrics.estimators.grid_codes import GridCodes
from tests.metrics.codes import Factors, rotation


def test_codes_that_are_looked_up_are_those_that_are_encoded():
    mixed = torch.tensor(rotation(3)).double()
    one, other = (
        GridCodes(Factors(3, 4, 5), lambda x: x.double() @ mixed, seed=3, num_draws=n)
        for n in (59, 60)
    )
    assert (one.looks_up, other.looks_up) == (False, True)
    factors = one.sample(5000)
    assert torch.equal(factors, other.sample(5000))
    assert np.array_equal(one.codes(factors), other.codes(factors))
    assert max(map(len, one.grid.rendered)) == 4096
    assert torch.equal(one.sample_factor_indices(9), other.sample_factor_indices(9))


def test_a_random_encoder_keeps_the_code_that_it_gave_first():
    sampler = GridCodes(Factors(3, 4), lambda x: x + torch.randn(len(x), 1), seed=0, num_draws=1000)
    factors = sampler.sample(50)
    assert np.array_equal(sampler.codes(factors), sampler.codes(factors))
