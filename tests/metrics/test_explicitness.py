"""Explicitness against reference values, scikit-learn's areas and a closed form."""

import json
import math

import numpy as np
import pytest

from ppl_disentangle.metrics import explicitness
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS
from tests.metrics.codes import halves, noisy, rotation, rows

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())["cases"]


@pytest.mark.parametrize(
    "name",
    [n if n == "noisy_dead" else pytest.param(n, marks=pytest.mark.slow) for n in REPRESENTATIONS],
)
def test_explicitness_is_the_reference_value(name):
    factors = REPRESENTATIONS[name].factors()
    codes = REPRESENTATIONS[name].encoder()(factors)
    train = codes[:NUM_TRAIN], factors[:NUM_TRAIN]
    for key, other in (("train", train), ("test", (codes[NUM_TRAIN:], factors[NUM_TRAIN:]))):
        value, tolerance = REFERENCE[name][f"explicitness_{key}"]
        assert explicitness(*train, *other) == pytest.approx(value, abs=tolerance)


def test_two_normal_classes_have_the_area_of_their_distance():
    v = rows(200_000, (2,))
    codes = 1.5 * v + np.random.default_rng(1).standard_normal(v.shape)
    area = (1 + math.erf(1.5 / 2)) / 2  # of a difference with variance 2
    assert explicitness(*halves(codes, v)) == pytest.approx(area, abs=0.003)
    assert explicitness(*halves(-7 * codes + 3, v)) == pytest.approx(
        explicitness(*halves(codes, v)), abs=1e-6
    )


def test_the_areas_are_scikit_learns():
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score

    factors = rows(600, (3, 5))
    codes = noisy(factors, 1.5)
    z, v, z_test, v_test = halves(codes, factors)
    scale = lambda a: (a - z.mean(0)) / z.std(0)  # noqa: E731
    areas = []
    for k in (0, 1):
        probabilities = LogisticRegression().fit(scale(z), v[:, k]).predict_proba(scale(z_test))
        areas.append(roc_auc_score(v_test[:, k], probabilities, multi_class="ovr", average="macro"))
    assert explicitness(z, v, z_test, v_test) == pytest.approx(np.mean(areas), abs=1e-12)


def test_an_invertible_map_of_the_codes_hardly_matters():
    factors = rows()
    codes = noisy(factors)
    mixed = codes @ (rotation(3) + 0.3 * np.eye(3))
    assert explicitness(*halves(mixed, factors)) == pytest.approx(
        explicitness(*halves(codes, factors)), abs=0.005
    )


def test_neighbouring_values_that_cannot_be_told_apart_still_score_high():
    v = rows(4000, (40,))
    codes = v + 2 * np.random.default_rng(0).standard_normal(v.shape)
    assert explicitness(*halves(codes, v)) > 0.9


def test_values_without_test_rows_are_left_out_and_those_without_training_rows_have_a_half():
    v = np.repeat([0, 1, 2], 100)[:, None]
    codes = np.eye(3)[v[:, 0]] + 0.01 * np.random.default_rng(0).standard_normal((300, 3))
    some = v[:, 0] != 1
    assert explicitness(codes, v, codes[some], v[some]) == pytest.approx(1)
    assert explicitness(codes[some], v[some], codes, v) == pytest.approx((1 + 0.5 + 1) / 3)


def test_a_test_half_of_one_value_is_an_error_unless_another_factor_has_more():
    factors = rows(100, (2, 3))
    codes = noisy(factors)
    same = factors[:, 0] == 1
    with pytest.raises(
        ValueError, match="expected a factor with at least two values in the test rows"
    ):
        explicitness(codes, factors[:, :1], codes[same], factors[same, :1])
    both = explicitness(codes, factors, codes[same], factors[same])
    assert both == pytest.approx(
        explicitness(codes, factors[:, 1:], codes[same], factors[same, 1:])
    )
