"""Model centrality on models whose similarity is known."""

import math

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    model_centrality,
)
from tests.metrics.codes import normal, reordered


def test_the_most_central_model_is_the_medoid():
    codes = normal(5000)
    a, b = (codes + 0.75 * normal(5000, seed=seed) for seed in (1, 2))
    found = model_centrality([reordered(a), codes, reordered(b)])
    assert found.scores[1] == pytest.approx(1 / math.sqrt(1 + 0.75**2), abs=0.01)  # 0.8
    assert found.scores[[0, 2]] == pytest.approx((0.8 + 1 / (1 + 0.75**2)) / 2, abs=0.01)
    assert (found.similarities == found.similarities.T).all()


def test_centrality_of_the_same_codes_is_one_and_codes_without_a_partner_count_zero():
    codes = normal()
    found = model_centrality([codes, reordered(codes), reordered(codes[:, :3])])
    assert found.similarities[0, 1] == pytest.approx(1)
    assert found.similarities[0, 2] == pytest.approx(3 / 4, abs=1e-9)
    assert model_centrality([codes, normal(seed=1)]).scores.max() < 0.05


def test_a_matching_takes_the_best_pairs_together_not_one_by_one():
    a = normal(20_000, 2)
    b = np.stack([a[:, 0], 0.9 * a[:, 0] + math.sqrt(1 - 0.81) * normal(20_000, 1, 1)[:, 0]], 1)
    # correlations with a: [[1, 0.9], [0, 0]]; one to one the best is 1 + 0, not 1 + 0.9.
    assert model_centrality([a, b]).scores == pytest.approx(0.5, abs=0.02)
