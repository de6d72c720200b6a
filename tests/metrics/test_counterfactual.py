"""Scores of counterfactuals on cases with known values."""

import numpy as np
import pytest
import torch
from torch import nn

from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.metrics.counterfactual import (
    average_effect_error,
    composition,
    counterfactual_error,
    effectiveness,
    minimality,
    reversibility,
)
from ppl_disentangle.models import CausalVAE

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 1, 2, 3))


def test_composition_and_reversibility_are_mean_distances_and_0_if_nothing_moved():
    assert composition(IMAGES, IMAGES) == reversibility(IMAGES, IMAGES) == 0
    assert composition(IMAGES, IMAGES + 0.5) == pytest.approx(0.5)
    moved = IMAGES.copy()
    moved[2, 0, 1, 1] += 3.0
    assert reversibility(torch.tensor(IMAGES), torch.tensor(moved)) == pytest.approx(3.0 / 6 / 5)
    farthest = composition(IMAGES, moved, distance=lambda a, b: np.abs(a - b).max((1, 2, 3)))
    assert farthest == pytest.approx(3.0 / 5)


def test_a_structural_story_scores_0_in_composition_exactly():
    torch.manual_seed(0)
    prior = StructuralPrior("light -> shadow")
    story = CausalVAE(prior, Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6)))
    x = torch.rand(4, 6)
    again = counterfactual(story, x, {}, num_samples=1)["x"].values[0, 0]
    assert composition(x, again) == 0


def test_effectiveness_is_an_error_or_the_share_of_classes_that_agree():
    assert effectiveness([1.0, 2.0, 3.0], [1.0, 2.5, 1.0]) == pytest.approx(2.5 / 3)
    assert effectiveness([0, 1, 2, 2], [0, 1, 1, 2], classes=True) == 0.75


def minimality_by_loops(features, changed, old, new, weights):
    scores = []
    for u in range(len(features)):
        moved = np.abs(changed[u] - features[u]).mean()
        new_class = [
            np.abs(features[v] - features[u]).mean()
            for v in range(len(features))
            if old[v] == new[u]
        ]
        own_class = [
            np.abs(features[v] - features[u]).mean()
            for v in range(len(features))
            if old[v] == old[u]
        ]
        if new_class:
            p = sum(d <= moved for d in new_class) / len(new_class)
            q = sum(d >= moved for d in own_class) / len(own_class)
            scores.append(np.log(weights[0] * np.exp(p) + weights[1] * np.exp(q)))
    return np.mean(scores)


def test_minimality_is_its_formula_and_falls_as_counterfactuals_come_nearer():
    old, new = RNG.integers(0, 3, 60), RNG.integers(0, 4, 60)
    features = RNG.normal(size=(60, 3)) + old[:, None]
    far, near = features + RNG.normal(size=(60, 3)), features + 0.5 * (new - old)[:, None]
    for weights in ((0.8, 0.2), (0.5, 0.5)):
        expected = minimality_by_loops(features, far, old, new, weights)
        assert minimality(features, far, old, new, weights=weights) == pytest.approx(expected)
    assert minimality(features, near, old, new) < minimality(features, far, old, new)
    with pytest.raises(ValueError, match="no unit is of any of the classes"):
        minimality(features, far, old, np.full(60, 9))
    with pytest.raises(ValueError, match="a class for each unit, got 3 for 60 units"):
        minimality(features, far, old[:3], new[:3])


def test_the_counterfactual_error_stands_beside_doing_nothing_and_drawing_anew():
    truth = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = counterfactual_error(
        truth, truth + [[3.0, 0], [0, 4.0]], factual=truth - 3.0, resampled=truth + [1.0, -1.0]
    )
    assert found == pytest.approx({"model": 2.5, "do_nothing": 3.0, "resample": 1.0})
    assert list(counterfactual_error(truth, truth, factual=truth)) == ["model", "do_nothing"]


def test_the_error_of_an_average_effect_lets_errors_of_units_cancel():
    assert average_effect_error([1.0, 3.0], [2.0, 2.0]) == 0
    assert average_effect_error([1.0, 3.0], [2.0, 3.0]) == 0.5


def test_scores_refuse_what_does_not_match():
    with pytest.raises(ValueError, match=r"of one shape, got \(5, 1, 2, 3\) and \(5,\)"):
        composition(IMAGES, IMAGES[:, 0, 0, 0])
    with pytest.raises(ValueError, match="expected finite values"):
        composition([np.nan], [0.0])
