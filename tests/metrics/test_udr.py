"""UDR against its formula as loops and on models whose agreement is known."""

import itertools

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    model_centrality,
    udr,
)
from tests.metrics.codes import normal, reordered, rotation

every_method = pytest.mark.parametrize("method", ["lasso", "spearman"])


def test_udr_of_the_same_uncorrelated_codes_is_one_and_by_lasso_what_its_penalty_leaves():
    codes = np.array(list(itertools.product([-1.0, 0.0, 1.0], repeat=4)))
    models = [codes, reordered(codes, 1), reordered(codes, 2)]
    assert udr(models, method="spearman").scores == pytest.approx(1, abs=1e-9)
    found = udr(models)
    assert found.scores == pytest.approx(1 - 0.1, abs=1e-9)
    assert np.isnan(found.pairs.diagonal()).all()


@every_method
def test_udr_of_unrelated_or_rotated_codes_is_low(method):
    codes = normal()
    assert udr([codes, normal(seed=1), normal(seed=2)], method=method).scores.max() < 0.05
    mixed = udr([codes, codes @ rotation(4), reordered(codes)], method=method)
    assert mixed.scores[1] < 0.6 < mixed.pairs[0, 2]


@every_method
def test_udr_is_its_definition_in_loops(method):
    from scipy.stats import spearmanr
    from sklearn.linear_model import Lasso

    models = [normal(300, 3, 0), normal(300, 4, 1)]
    models[1][:, :3] += 2 * models[0] @ np.array([[1, 0, 0], [0.5, 1, 0], [0, 0, 1.0]])
    z = [(m - m.mean(0)) / m.std(0) for m in models]
    for i, j in ((0, 1), (1, 0)):
        relation = np.zeros((z[i].shape[1], z[j].shape[1]))
        for b in range(z[j].shape[1]):
            weights = Lasso(alpha=0.1).fit(z[i], z[j][:, b]).coef_
            for a in range(z[i].shape[1]):
                rank = spearmanr(z[i][:, a], z[j][:, b]).statistic
                relation[a, b] = abs(weights[a] if method == "lasso" else rank)
        columns = [c.max() ** 2 / c.sum() if c.sum() else 0.0 for c in relation.T]
        rows = [r.max() ** 2 / r.sum() if r.sum() else 0.0 for r in relation]
        found = udr(models, method=method)
        assert found.pairs[i, j] == pytest.approx((np.mean(columns) + np.mean(rows)) / 2, abs=1e-9)
        assert found.scores[j] == found.pairs[i, j]


def test_spearman_udr_ignores_monotone_maps():
    codes = normal()
    models = [codes, reordered(codes) + 0.3 * normal(seed=1), normal(seed=2)]
    warped = [np.exp(models[0]), models[1] ** 3, np.arctan(models[2])]
    np.testing.assert_allclose(
        udr(warped, method="spearman").scores, udr(models, method="spearman").scores, atol=1e-12
    )


@pytest.mark.parametrize("score", [udr, model_centrality])
def test_collapsed_and_constant_codes_are_left_out(score):
    codes, other = normal(), normal(seed=1)
    padded = np.hstack([codes, normal(size=2, seed=2), np.full((2000, 1), 0.1)])
    kls = [[1.0] * 4, [1, 1, 1, 1, 0.0, 0.009, 5.0], [1.0] * 4]
    found = score([codes, padded, codes + 0.5 * other], kls)
    np.testing.assert_allclose(
        found.scores, score([codes, codes, codes + 0.5 * other]).scores, atol=1e-12
    )
    with_all = score([codes, padded, codes + 0.5 * other])
    assert with_all.scores[0] < found.scores[0] - 0.05
    none = score([codes, codes, codes], [[1.0] * 4, [1.0] * 4, [0.0] * 4])
    assert (none.pairs if score is udr else none.similarities)[0, 2] == 0


@pytest.mark.parametrize("score", [udr, model_centrality])
def test_models_are_checked(score):
    codes = normal(50)
    with pytest.raises(ValueError, match="expected the codes of at least 2 models, got 1"):
        score([codes])
    with pytest.raises(ValueError, match=r"expected codes of the same data, got \[50, 49\] rows"):
        score([codes, codes[1:]])
    with pytest.raises(ValueError, match="expected kls of 2 models, got 1"):
        score([codes, codes], [[1.0] * 4])
    with pytest.raises(ValueError, match=r"a divergence for each code, \[4, 4\], got \[4, 3\]"):
        score([codes, codes], [[1.0] * 4, [1.0] * 3])


def test_udr_has_two_methods():
    with pytest.raises(
        KeyError, match=r"no method named 'pearson'; there are \['lasso', 'spearman'\]"
    ):
        udr([normal(50), normal(50)], method="pearson")
