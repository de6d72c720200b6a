"""The beta-VAE score against reference values, its pairs one by one, and codes that are encoded once."""

import json

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import beta_vae_score, beta_vae_score_from_codes, factor_vae_score
from ppl_disentangle.metrics.beta_vae_score import beta_vae_accuracies
from tests import GOLDEN
from tests.golden.representations import REPRESENTATIONS, SIZES
from tests.metrics.codes import Factors, rotation

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]
FEW = {"num_train": 400, "num_eval": 400}


@pytest.mark.parametrize("name", ["rotated", "noisy_dead", "split_merge"])
def test_beta_vae_score_is_the_reference_value(name):
    encode = REPRESENTATIONS[name].encoder()
    value, tolerance = REFERENCE[name]["beta_vae_score"]
    score = beta_vae_score(Factors(*SIZES), lambda x: encode(x.long().numpy()), seed=0)
    assert score == pytest.approx(value, abs=tolerance)


def test_a_perfect_code_scores_one_and_one_that_tells_nothing_as_chance():
    assert beta_vae_score(Factors(3, 4, 5), lambda x: -2 * x + 1, seed=0, **FEW) == 1
    assert beta_vae_score(Factors(3, 4, 5), torch.zeros_like, seed=0, **FEW) == pytest.approx(
        1 / 3, abs=0.08
    )


def test_the_factor_that_no_code_holds_is_found_by_exclusion():
    assert beta_vae_score(Factors(3, 4, 5), lambda x: x[:, :2], seed=0, **FEW) == 1


def test_every_pair_shares_one_varying_factor_and_its_features_are_mean_distances():
    grid = Factors(40, 1, 50)
    points = []

    def encode(x):
        points.append(x)
        return x

    train, held_out = beta_vae_accuracies(
        grid, encode, seed=0, num_train=20, num_eval=4, batch_size=25
    )
    assert (train, held_out) == (1, 1)
    first, second = torch.cat(points).view(24, 2, 25, 3).unbind(1)
    shared = (first == second).all(1)[:, [0, 2]]
    assert (shared.sum(1) == 1).all()
    assert shared[:, 0].any()
    assert shared[:, 1].any()
    assert (
        (first != first[:, :1]).any(1)[:, [0, 2]].all()
    )  # the shared value differs from pair to pair


def test_small_codes_lose_to_the_penalty_and_a_shift_does_not_matter():
    mixed = torch.tensor(rotation(3)).float() + 1.5 * torch.eye(3)
    settings = {"seed": 0, **FEW}
    scores = [
        beta_vae_score(Factors(3, 4, 5), lambda x, s=scale: s * x @ mixed + 100, **settings)
        for scale in (1.0, 1e-4)
    ]
    assert scores[0] > 0.9 > scores[1] + 0.1
    assert beta_vae_score(Factors(3, 4, 5), lambda x: x @ mixed, **settings) == pytest.approx(
        scores[0], abs=0.01
    )


def test_beta_vae_score_follows_its_seed_and_leaves_the_global_one_alone():
    state, mixed = torch.get_rng_state(), torch.tensor(rotation(4)).float()
    scores = [
        beta_vae_score(Factors(3, 4, 5, 6), lambda x: x @ mixed, seed=s, **FEW) for s in (0, 0, 1)
    ]
    assert scores[0] == scores[1] != scores[2]
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("score", [beta_vae_score, factor_vae_score])
def test_a_small_grid_is_encoded_once(score):
    grid = Factors(4, 1, 6)
    assert score(grid, lambda x: x, seed=0, **FEW) == 1
    assert len(grid.rendered) == 1
    assert grid.rendered[0].unique(dim=0).shape == (24, 3)


def test_encoders_are_called_without_gradients_and_their_codes_checked():
    weight = torch.eye(3, requires_grad=True)
    assert beta_vae_score(Factors(3, 4, 5), lambda x: x @ weight, seed=0, **FEW) == 1
    with pytest.raises(ValueError, match="NaN or infinity in code column 0, 1, 2"):
        beta_vae_score(Factors(3, 4, 5), lambda x: x * torch.nan, seed=0, **FEW)


def test_settings_and_grids_are_checked():
    with pytest.raises(
        ValueError,
        match="expected num_train >= 2, num_eval >= 1 and batch_size >= 1, got 1, 5000 and",
    ):
        beta_vae_score(Factors(3, 4), lambda x: x, seed=0, num_train=1)
    with pytest.raises(
        ValueError, match=r"expected a factor with at least two values, got sizes \(1, 1\)"
    ):
        beta_vae_score(Factors(1, 1), lambda x: x, seed=0)
    assert (
        beta_vae_score(Factors(1, 4), lambda x: x, seed=0, **FEW) == 1
    )  # there is nothing to tell


@pytest.mark.parametrize("name", ["rotated", "noisy_dead", "split_merge"])
def test_beta_vae_score_of_given_rows_is_that_of_the_grid(name):
    factors = REPRESENTATIONS[name].factors()
    value, tolerance = REFERENCE[name]["beta_vae_score"]
    score = beta_vae_score_from_codes(REPRESENTATIONS[name].encoder()(factors), factors, seed=0)
    assert score == pytest.approx(value, abs=max(tolerance, 0.02))


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
