"""The FactorVAE score against reference values, its votes one by one, and its threshold."""

import json

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import (
    factor_vae_score,
    factor_vae_score_from_codes,
)
from tests import GOLDEN
from tests.golden.representations import REPRESENTATIONS, SIZES
from tests.metrics.codes import Factors, rotation, rows, standardised, votes

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]


@pytest.mark.parametrize("name", ["rotated", "noisy_dead", "split_merge"])
def test_factor_vae_score_is_the_reference_value(name):
    encode = REPRESENTATIONS[name].encoder()
    score = factor_vae_score(Factors(*SIZES), lambda x: encode(x.long().numpy()), seed=0)
    value, tolerance = REFERENCE[name]["factor_vae_score"]
    assert score == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("name", ["rotated", "noisy_dead", "split_merge"])
def test_factor_vae_score_of_given_rows_is_that_of_the_grid(name):
    factors = REPRESENTATIONS[name].factors()
    score = factor_vae_score_from_codes(REPRESENTATIONS[name].encoder()(factors), factors, seed=0)
    value, tolerance = REFERENCE[name]["factor_vae_score"]
    assert score == pytest.approx(value, abs=tolerance)


def test_every_vote_holds_one_varying_factor_fixed_and_the_others_uniform():
    grid = Factors(200, 1, 150)
    score = factor_vae_score(
        grid, lambda x: x, seed=0, num_train=300, num_eval=100, batch_size=50, num_variance=500
    )
    assert score == 1
    assert max(map(len, grid.rendered)) <= 4096
    variance_rows, drawn = torch.cat(grid.rendered).split([500, 20_000])
    fixed = (drawn.view(400, 50, 3) == drawn.view(400, 50, 3)[:, :1]).all(1)[:, [0, 2]]
    assert (fixed.sum(1) == 1).all()
    assert fixed[:, 0].float().mean() == pytest.approx(0.5, abs=0.1)
    values = torch.bincount(drawn.view(400, 50, 3)[:, 0, 2] // 25, minlength=6)
    assert values.min() > 30
    assert torch.bincount(variance_rows[:, 0] // 50, minlength=4).min() > 90


def test_factor_vae_score_follows_its_seed_and_leaves_the_global_one_alone():
    state, mixed = torch.get_rng_state(), torch.tensor(rotation(3)).float()

    def score(seed):
        return factor_vae_score(
            Factors(3, 4, 5),
            lambda x: x @ mixed,
            seed=seed,
            num_train=300,
            num_eval=301,
            num_variance=500,
        )

    assert score(0) == score(0) != score(1)
    assert torch.equal(state, torch.get_rng_state())


def test_codes_below_the_threshold_do_not_vote():
    factors = rows()
    codes = standardised(factors)
    idle = 0.04 * np.random.default_rng(0).standard_normal((len(codes), 1))
    assert votes(np.hstack([codes, idle]), factors) == votes(codes, factors) == 1
    assert votes(0.01 * codes, factors) == 0
    with pytest.raises(ValueError, match="expected threshold > 0"):
        factor_vae_score_from_codes(codes, factors, seed=0, threshold=0)


def test_a_row_alone_with_its_value_leads_no_vote():
    factors = np.stack([np.arange(400), np.arange(400) % 4], 1)
    lonely = factor_vae_score_from_codes(
        standardised(factors), factors, seed=0, num_train=200, num_eval=200
    )
    assert lonely == 1
    with pytest.raises(ValueError, match="a value that two rows share"):
        votes(standardised(factors), factors[:, :1])


def test_a_grid_of_one_value_has_no_factor_vae_score():
    with pytest.raises(ValueError, match=r"got sizes \(1, 1\)"):
        factor_vae_score(Factors(1, 1), lambda x: x, seed=0)
