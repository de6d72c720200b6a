"""The beta-VAE score of rows that are given instead of drawn."""

import json

import numpy as np
import pytest

from ppl_disentangle.metrics import beta_vae_score_from_codes
from ppl_disentangle.metrics.estimators.row_sampler import RowSampler
from tests import GOLDEN
from tests.golden.representations import REPRESENTATIONS

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]


@pytest.mark.parametrize("name", ["rotated", "noisy_dead", "split_merge"])
def test_beta_vae_score_of_given_rows_is_that_of_the_grid(name):
    factors = REPRESENTATIONS[name].factors()
    value, tolerance = REFERENCE[name]["beta_vae_score"]
    score = beta_vae_score_from_codes(REPRESENTATIONS[name].encoder()(factors), factors, seed=0)
    assert score == pytest.approx(value, abs=max(tolerance, 0.02))


def test_pairs_share_one_factor_and_its_value_differs_from_pair_to_pair():
    factors = np.stack(
        [np.random.default_rng(k).integers(n, size=3000) for k, n in enumerate((30, 40))], 1
    )
    fixed, pairs = RowSampler(factors.astype(float), factors, 0).sample_groups(50, 20, 2)
    assert pairs.shape == (50, 20, 2, 2)
    alike = (pairs[:, :, 0] == pairs[:, :, 1]).all(1)
    assert (alike.argmax(1) == fixed).all()
    assert (alike.sum(1) == 1).all()
    shared = np.take_along_axis(pairs[:, :, 0], fixed[:, None, None], 2)[..., 0]
    assert (shared != shared[:, :1]).any(1).all()
    assert set(fixed) == {0, 1}


def test_chance_and_small_data():
    factors = np.stack([np.arange(60) % 3, np.arange(60) // 3 % 4], 1)
    few = {"seed": 0, "num_train": 200, "num_eval": 200}
    assert beta_vae_score_from_codes(np.ones((60, 2)), factors, **few) == pytest.approx(
        0.5, abs=0.1
    )
    assert beta_vae_score_from_codes(factors, factors, **few) == 1
    assert beta_vae_score_from_codes(factors, factors, **few) == beta_vae_score_from_codes(
        factors - 7, factors, **few
    )
    with pytest.raises(ValueError, match="a factor with a value that two rows share"):
        beta_vae_score_from_codes(np.ones((4, 1)), np.arange(4)[:, None], **few)
