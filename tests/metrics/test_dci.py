"""DCI against reference values and fixed matrices, with each predictor."""

import json
import sys

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    completeness,
    completeness_per_factor,
    dci,
    disentanglement,
    disentanglement_per_code,
)
from tests import GOLDEN
from tests.golden.representations import NUM_TRAIN, REPRESENTATIONS
from tests.metrics.codes import half_dci, noisy, rows

REFERENCE = json.loads((GOLDEN / "metrics.json").read_text())
QUICK_DCI = ("quantised_dup",)

every_predictor = pytest.mark.parametrize("predictor", ["gbt", "lightgbm", "forest"])


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK_DCI else pytest.param(n, marks=pytest.mark.slow) for n in REPRESENTATIONS],
)
def test_dci_by_boosted_trees_is_the_reference_value(name):
    factors = REPRESENTATIONS[name].factors()
    codes, coarse = REPRESENTATIONS[name].encoder()(factors), factors // np.array([1, 1, 8, 8, 8])
    train, test = slice(1000), slice(NUM_TRAIN, NUM_TRAIN + 1000)
    scores = dci(codes[train], coarse[train], codes[test], coarse[test])
    for score in ("disentanglement", "completeness", "informativeness"):
        value, tolerance = REFERENCE["cases"][name][f"dci_{score}"]
        assert getattr(scores, score) == pytest.approx(value, abs=tolerance)
    assert scores.predictor == "gbt"


@pytest.mark.parametrize("matrix", REFERENCE["matrices"].values(), ids=REFERENCE["matrices"])
def test_formulas_on_a_fixed_matrix_are_the_reference_values(matrix):
    importances = np.array(matrix["matrix"])
    assert disentanglement(importances) == pytest.approx(matrix["dci_disentanglement"], abs=1e-9)
    assert completeness(importances) == pytest.approx(matrix["dci_completeness"], abs=1e-9)
    np.testing.assert_allclose(
        disentanglement_per_code(importances), matrix["dci_disentanglement_per_code"], atol=1e-9
    )
    np.testing.assert_allclose(
        completeness_per_factor(importances), matrix["dci_completeness_per_factor"], atol=1e-9
    )


@pytest.mark.parametrize("warp", [np.exp, lambda z: z**3, np.arctan], ids=["exp", "cube", "arctan"])
def test_importances_of_trees_ignore_monotone_maps(warp):
    factors = rows()
    codes = noisy(factors)
    np.testing.assert_allclose(
        half_dci(warp(codes), factors).importances, half_dci(codes, factors).importances, atol=0.02
    )


def test_disentanglement_of_one_factor_and_completeness_of_one_code_are_no_numbers():
    """They would be 1 for noise: any code serves the only factor alone."""
    assert np.isnan(disentanglement([[0.3], [0.7]]))
    assert np.isnan(completeness([[0.3, 0.7]]))
    assert np.isnan(disentanglement([[0.0], [0.0]]))
    assert disentanglement(np.zeros((3, 2))) == completeness(np.zeros((3, 2))) == 0


@every_predictor
def test_classes_missing_in_training_or_test_are_wrong_but_no_error(predictor):
    factors = rows(300, (3, 4))
    codes = noisy(factors, 0.01)
    train = (factors[:, 0] != 1) & (np.arange(300) < 200)
    test = (factors[:, 1] != 2) & (np.arange(300) >= 200)
    scores = dci(codes[train], factors[train], codes[test], factors[test], predictor=predictor)
    unseen = np.mean(factors[test, 0] == 1)
    assert scores.informativeness == pytest.approx(1 - unseen / 2, abs=0.03)
    assert scores.predictor == predictor


def test_dci_checks_both_halves():
    z, v = noisy(rows(50)), rows(50)
    with pytest.raises(ValueError, match=r"as many num_codes in test as in training, got \[3, 2\]"):
        dci(z, v, z[:, :2], v)
    with pytest.raises(
        ValueError, match="a code for each row of the factors, in training and test"
    ):
        dci(z[:40], v, z, v[:40])
    with pytest.raises(
        KeyError, match=r"no predictor named 'tree'; there are \['forest', 'gbt', 'lightgbm'\]"
    ):
        dci(z, v, z, v, predictor="tree")


@pytest.mark.parametrize(
    ("importances", "message"),
    [
        ([0.5, 0.5], r"got \(2,\)"),
        ([[-0.1, 1.0]], "not negative"),
        ([[0.1, np.nan], [0.2, 0.3]], "finite"),
    ],
)
def test_importances_are_checked(importances, message):
    with pytest.raises(ValueError, match=message):
        disentanglement(importances)


def test_a_column_of_nan_is_left_out_of_the_formulas():
    importances = np.array([[0.2, 0.5], [0.8, 0.5]])
    padded = np.insert(importances, 1, np.nan, axis=1)
    assert disentanglement(padded) == disentanglement(importances)
    assert completeness(padded) == completeness(importances)


def test_lightgbm_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match=r'pip install "ppl-disentangle\[fast-metrics\]"'):
        half_dci(noisy(rows()), rows())


def test_lightgbm_importances_are_close_to_the_reference_predictors():
    factors = rows(1200, (3, 4))
    codes = noisy(np.hstack([factors, factors[:, :1]]), 1.0)
    reference = half_dci(codes, factors, "gbt").importances
    np.testing.assert_allclose(half_dci(codes, factors).importances, reference, atol=0.06)
