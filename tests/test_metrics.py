"""Metrics against reference values and loops, their invariances, and what they do with awkward codes."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
from golden.representations import NUM_TRAIN, REPRESENTATIONS, SIZES

from ppl_disentangle.data.base import Factor, FactorGrid
from ppl_disentangle.metrics import (
    active_units,
    completeness,
    completeness_per_factor,
    dci,
    disentanglement,
    disentanglement_per_code,
    entropies,
    factor_vae_score,
    factor_vae_score_from_codes,
    ica,
    mig,
    mig_per_factor,
    mutual_information,
    pca,
)

REFERENCE = json.loads((Path(__file__).parent / "golden" / "metrics.json").read_text())
QUICK_DCI = ("quantised_dup",)


class Factors(FactorGrid):
    """A grid whose observation is the float vector of its factor classes."""

    name, maximum = "factors", 1.0

    def __init__(self, *sizes):
        self.space = tuple(Factor(f"factor_{k}", tuple(range(n))) for k, n in enumerate(sizes))
        self.observation_shape = (len(sizes),)
        self.rendered = []

    def render(self, factors):
        self.rendered.append(factors)
        return factors.float()


def rows(num=800, sizes=(3, 4, 5), seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(n, size=num) for n in sizes], 1)


def standardised(factors):
    return (factors - factors.mean(0)) / factors.std(0)


def noisy(factors, noise=0.4, seed=1):
    return standardised(factors) + noise * np.random.default_rng(seed).standard_normal(factors.shape)


def rotation(size):
    """The reflection that spreads every factor over all codes."""
    return np.eye(size) - 2 / size


def half_dci(codes, factors, predictor="lightgbm"):
    n = len(codes) // 2
    return dci(codes[:n], factors[:n], codes[n:], factors[n:], predictor=predictor)


def votes(codes, factors):
    return factor_vae_score_from_codes(codes, factors, seed=0, num_train=1000, num_eval=1000)


SCORES = {
    "mig": mig,
    "disentanglement": lambda z, v: half_dci(z, v).disentanglement,
    "completeness": lambda z, v: half_dci(z, v).completeness,
    "informativeness": lambda z, v: half_dci(z, v).informativeness,
    "factor_vae_score": votes,
}
every_score = pytest.mark.parametrize("score", SCORES.values(), ids=SCORES)
every_gap = pytest.mark.parametrize(
    "score", [f for n, f in SCORES.items() if n != "informativeness"], ids=[n for n in SCORES if n[0] != "i"]
)
every_predictor = pytest.mark.parametrize("predictor", ["gbt", "lightgbm", "forest"])


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_mig_is_the_reference_value(name):
    factors = REPRESENTATIONS[name].factors()[:NUM_TRAIN]
    value, tolerance = REFERENCE["cases"][name]["mig"]
    assert mig(REPRESENTATIONS[name].encoder()(factors), factors) == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize(
    "name", [n if n in QUICK_DCI else pytest.param(n, marks=pytest.mark.slow) for n in REPRESENTATIONS]
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


@pytest.mark.parametrize("name", ["rotated", "noisy_dead", "split_merge"])
def test_factor_vae_score_is_the_reference_value(name):
    encode = REPRESENTATIONS[name].encoder()
    score = factor_vae_score(Factors(*SIZES), lambda x: encode(x.long().numpy()), seed=0)
    value, tolerance = REFERENCE["cases"][name]["factor_vae_score"]
    assert score == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("name", ["rotated", "noisy_dead", "split_merge"])
def test_factor_vae_score_of_given_rows_is_that_of_the_grid(name):
    factors = REPRESENTATIONS[name].factors()
    score = factor_vae_score_from_codes(REPRESENTATIONS[name].encoder()(factors), factors, seed=0)
    value, tolerance = REFERENCE["cases"][name]["factor_vae_score"]
    assert score == pytest.approx(value, abs=tolerance)


@pytest.mark.parametrize("matrix", REFERENCE["matrices"].values(), ids=REFERENCE["matrices"])
def test_formulas_on_a_fixed_matrix_are_the_reference_values(matrix):
    importances = np.array(matrix["matrix"])
    assert disentanglement(importances) == pytest.approx(matrix["dci_disentanglement"], abs=1e-9)
    assert completeness(importances) == pytest.approx(matrix["dci_completeness"], abs=1e-9)
    np.testing.assert_allclose(disentanglement_per_code(importances), matrix["dci_disentanglement_per_code"], atol=1e-9)
    np.testing.assert_allclose(completeness_per_factor(importances), matrix["dci_completeness_per_factor"], atol=1e-9)


@pytest.mark.parametrize("bins", [1, 7, 20])
def test_mutual_information_is_scikit_learns_of_every_pair(bins):
    from sklearn.metrics import mutual_info_score

    factors = rows(1000, (2, 7, 40))
    on_edges = np.linspace(0.3, 1.7, 21)[np.arange(1000) % 21]
    codes = np.column_stack([noisy(factors), np.full(1000, 3.7), factors[:, 0], on_edges, np.arange(1000) % 41])
    binned = [np.digitize(c, np.histogram(c, bins)[1][:-1]) for c in codes.T]
    expected = [[mutual_info_score(v, b) for v in factors.T] for b in binned]
    np.testing.assert_allclose(mutual_information(codes, factors, bins=bins), expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize(("low", "high"), [(0.3, 1.7), (-5.0, 0.1), (1e-9, 3e-9), (1e5, 1e5 + 0.7)])
def test_values_on_the_edges_of_bins_belong_to_the_bin_above_and_no_others(low, high):
    edges = np.linspace(low, high, 21)
    codes = np.concatenate([edges, np.nextafter(edges[1:-1], -np.inf), np.nextafter(edges[1:-1], np.inf)])
    shares = np.bincount(np.searchsorted(edges[1:-1], codes, side="right")) / len(codes)
    information = mutual_information(codes[:, None], np.arange(len(codes))[:, None])
    np.testing.assert_allclose(information, -(shares * np.log(shares)).sum(), atol=1e-12)
    assert shares == pytest.approx([2 / 59] + [3 / 59] * 19)


def test_mutual_information_is_not_negative():
    factors = np.stack([rows(n, (7,))[:, 0][np.arange(97) % n] for n in range(20, 90)], 1)
    assert (mutual_information(np.ones((97, 1)), factors) >= 0).all()


def test_mig_is_the_gap_at_its_number_of_bins():
    factors = rows()
    low, middle, high = np.sort(mutual_information(noisy(factors), factors, bins=5), axis=0)
    assert mig(noisy(factors), factors, bins=5) == pytest.approx(((high - middle) / entropies(factors)).mean())
    assert (low < middle).all()
    with pytest.raises(ValueError, match="expected bins >= 1, got 0"):
        mig(noisy(factors), factors, bins=0)


def test_entropies_are_those_of_the_shares():
    factors = np.array([[5, 0.5], [5, 0.5], [-1, 0.5], [2, 0.5]])
    np.testing.assert_allclose(entropies(factors), [1.5 * math.log(2), 0.0], atol=1e-15)


@every_score
def test_a_perfect_code_scores_one(score):
    factors = Factors(3, 4, 5).factors(torch.arange(60)).numpy().repeat(15, 0)
    factors = factors[np.random.default_rng(0).permutation(len(factors))]
    assert score(standardised(factors), factors) == pytest.approx(1.0, abs=1e-6)


def test_a_perfect_code_of_more_values_than_bins_has_the_mig_of_its_bins():
    values = np.arange(40)
    share = np.bincount(np.digitize(values, np.linspace(0, 39, 21)[:-1]) - 1) / 40
    expected = -(share * np.log(share)).sum() / math.log(40)
    assert expected < 0.95
    assert mig(values[:, None], values[:, None]) == pytest.approx(expected, abs=1e-12)


@every_score
def test_scores_ignore_order_sign_scale_and_shift_of_the_codes(score):
    factors = rows()
    codes = noisy(factors)
    changed = codes[:, [2, 0, 1]] * np.array([-2.0, 0.5, 4.0]) + np.array([8.0, -3.0, 0.25])
    assert score(changed, factors) == pytest.approx(score(codes, factors), abs=0.02)


@pytest.mark.parametrize("warp", [np.exp, lambda z: z**3, np.arctan], ids=["exp", "cube", "arctan"])
def test_importances_of_trees_ignore_monotone_maps(warp):
    factors = rows()
    codes = noisy(factors)
    np.testing.assert_allclose(
        half_dci(warp(codes), factors).importances, half_dci(codes, factors).importances, atol=0.02
    )


def test_mig_falls_when_an_outlier_stretches_the_bins():
    factors = rows()
    codes = noisy(factors)
    stretched = np.vstack([codes, 1e3 + codes[:1]])
    assert mig(stretched, np.vstack([factors, factors[:1]])) < 0.05 < 0.3 < mig(codes, factors)


@every_gap
def test_rotated_codes_score_below_aligned_ones(score):
    factors = rows()
    codes = noisy(factors)
    assert score(codes @ rotation(3), factors) < score(codes, factors) - 0.1


@pytest.mark.parametrize(
    ("score", "low", "high"),
    [
        (SCORES["mig"], 0, 0.05),
        (SCORES["disentanglement"], 0, 0.15),
        (SCORES["completeness"], 0, 0.15),
        (SCORES["informativeness"], 0.2, 0.35),  # mean of 1/3, 1/4, 1/5 is 0.26
        (SCORES["factor_vae_score"], 0.28, 0.42),
    ],
    ids=SCORES,
)
def test_codes_in_random_order_score_as_chance(score, low, high):
    factors = rows()
    shuffled = np.random.default_rng(3).permutation(noisy(factors))
    assert low <= score(shuffled, factors) <= high


@every_gap
def test_constant_codes_change_a_score_only_by_their_number(score):
    factors = rows()
    codes = noisy(factors)
    padded = np.hstack([codes, np.full((len(codes), 2), 0.1)])
    expected = score(codes, factors)
    if score is SCORES["completeness"]:
        expected = 1 - (1 - expected) * math.log(3) / math.log(5)
    assert score(padded, factors) == pytest.approx(expected, abs=1e-6)


@every_score
@pytest.mark.parametrize("num_codes", [1, 2])
def test_fewer_codes_than_factors_are_scored(score, num_codes):
    factors = rows()
    assert 0 < score(noisy(factors)[:, -num_codes:], factors) <= 1


@every_score
def test_codes_that_are_all_constant_score_zero_or_chance(score):
    factors = rows()
    value = score(np.ones((len(factors), 3)), factors)
    assert 0.2 < value < 0.35 if score is SCORES["informativeness"] else value == 0


@every_score
def test_integer_codes_are_codes(score):
    factors = rows()
    codes = np.round(3 * noisy(factors))
    assert score(codes.astype(np.int32), factors) == score(codes, factors)


def test_with_one_code_the_runner_up_is_zero():
    factors = rows()
    expected = np.mean(mutual_information(factors[:, :1], factors)[0] / entropies(factors))
    assert mig(factors[:, :1], factors) == pytest.approx(expected, abs=1e-12)


def test_disentanglement_of_one_factor_and_completeness_of_one_code_are_one():
    assert disentanglement([[0.3], [0.7]]) == completeness([[0.3, 0.7]]) == 1
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


@every_predictor
def test_a_factor_with_one_value_is_left_out(predictor):
    factors = rows()
    codes = noisy(factors)
    more = np.insert(factors, 1, 7, axis=1)
    assert mig(codes, more) == mig(codes, factors)
    assert np.isnan(mig_per_factor(codes, more)).tolist() == [False, True, False, False]
    assert votes(codes, more) == votes(codes, factors)
    with_it, without = half_dci(codes, more, predictor), half_dci(codes, factors, predictor)
    assert np.isnan(with_it.importances).all(0).tolist() == [False, True, False, False]
    assert with_it[:3] == without[:3]


@pytest.mark.parametrize("score", [mig, votes, half_dci], ids=["mig", "factor_vae_score", "dci"])
def test_factors_of_one_value_alone_are_an_error(score):
    with pytest.raises(ValueError, match="expected a factor with at least two values"):
        score(noisy(rows(50)), np.ones((50, 2)))


@pytest.mark.parametrize(
    ("codes", "factors", "message"),
    [
        (
            np.where(np.arange(4) == 2, np.nan, 1.0) + np.zeros((9, 4)),
            rows(9),
            "NaN or infinity in code column 2",
        ),
        (np.ones((9, 2)) * [1, np.inf], rows(9), "NaN or infinity in code column 1"),
        (np.ones((9, 2)), rows(9) + [0, np.nan, 0], "NaN or infinity in factor column 1"),
        (np.ones(9), rows(9), r"expected codes of shape \(num_data, num_codes\), got \(9,\)"),
        (np.ones((9, 0)), rows(9), r"expected codes of shape \(num_data, num_codes\), got \(9, 0\)"),
        (np.ones((9, 2)), np.ones(9), r"expected factors of shape \(num_data, num_factors\), got \(9,\)"),
        (np.ones((8, 2)), rows(9), "got 8 and 9 rows"),
        (np.ones((1, 2)), rows(1), "expected codes of at least 2 rows, got 1"),
    ],
)
@pytest.mark.parametrize("score", [mutual_information, mig, votes], ids=["mi", "mig", "factor_vae_score"])
def test_what_is_no_matrix_of_finite_numbers_is_an_error(score, codes, factors, message):
    with pytest.raises(ValueError, match=message):
        score(codes, factors)


def test_dci_checks_both_halves():
    z, v = noisy(rows(50)), rows(50)
    with pytest.raises(ValueError, match=r"as many num_codes in test as in training, got \[3, 2\]"):
        dci(z, v, z[:, :2], v)
    with pytest.raises(ValueError, match="a code for each row of the factors, in training and test"):
        dci(z[:40], v, z, v[:40])
    with pytest.raises(KeyError, match=r"no predictor named 'tree'; there are \['forest', 'gbt', 'lightgbm'\]"):
        dci(z, v, z, v, predictor="tree")


@pytest.mark.parametrize(
    ("importances", "message"),
    [([0.5, 0.5], r"got \(2,\)"), ([[-0.1, 1.0]], "not negative"), ([[0.1, np.nan], [0.2, 0.3]], "finite")],
)
def test_importances_are_checked(importances, message):
    with pytest.raises(ValueError, match=message):
        disentanglement(importances)


def test_a_column_of_nan_is_left_out_of_the_formulas():
    importances = np.array([[0.2, 0.5], [0.8, 0.5]])
    padded = np.insert(importances, 1, np.nan, axis=1)
    assert disentanglement(padded) == disentanglement(importances)
    assert completeness(padded) == completeness(importances)


@pytest.mark.parametrize(
    "convert",
    [
        torch.tensor,
        lambda a: torch.tensor(a).requires_grad_(a.dtype == float),
        lambda a: xr.DataArray(a),
        np.ndarray.tolist,
    ],
    ids=["torch", "grad", "xarray", "list"],
)
def test_codes_of_any_array_library_score_the_same(convert):
    factors = rows()
    codes = noisy(factors)
    for score in (mig, votes, half_dci):
        got, expected = score(convert(codes), convert(factors)), score(codes, factors)
        assert np.array_equal(got[:3], expected[:3]) if score is half_dci else got == expected
    assert active_units(convert(codes)) == 3


def test_bfloat16_codes_are_converted():
    factors = rows()
    codes = torch.tensor(noisy(factors)).bfloat16()
    assert mig(codes, factors) == mig(codes.double().numpy(), factors)


def test_lightgbm_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match=r'pip install "ppl-disentangle\[fast-metrics\]"'):
        half_dci(noisy(rows()), rows())


def test_lightgbm_importances_are_close_to_the_reference_predictors():
    factors = rows(1200, (3, 4))
    codes = noisy(np.hstack([factors, factors[:, :1]]), 1.0)
    reference = half_dci(codes, factors, "gbt").importances
    np.testing.assert_allclose(half_dci(codes, factors).importances, reference, atol=0.06)


def test_importing_the_metrics_loads_no_predictor():
    code = "import sys, ppl_disentangle.metrics; print([m for m in ('sklearn', 'lightgbm') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_every_vote_holds_one_varying_factor_fixed_and_the_others_uniform():
    grid = Factors(200, 1, 150)
    score = factor_vae_score(grid, lambda x: x, seed=0, num_train=300, num_eval=100, batch_size=50, num_variance=500)
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
            Factors(3, 4, 5), lambda x: x @ mixed, seed=seed, num_train=300, num_eval=301, num_variance=500
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
    lonely = factor_vae_score_from_codes(standardised(factors), factors, seed=0, num_train=200, num_eval=200)
    assert lonely == 1
    with pytest.raises(ValueError, match="a value that two rows share"):
        votes(standardised(factors), factors[:, :1])


def test_a_grid_of_one_value_has_no_factor_vae_score():
    with pytest.raises(ValueError, match=r"got sizes \(1, 1\)"):
        factor_vae_score(Factors(1, 1), lambda x: x, seed=0)


def test_active_units_are_those_of_variance_above_the_threshold():
    wave = np.tile([-1.0, 1.0], 50)[:, None]
    codes = wave * np.array([0.0, 0.09, 0.11, 1.0]) + 5  # variances 0, 0.0081, 0.0121, 1
    assert active_units(codes) == 2
    assert active_units(codes, threshold=0.001) == 3


def images(num=500, seed=0):
    rng = np.random.default_rng(seed)
    sources = rng.uniform(-1, 1, (num, 3)) * [3, 2, 1]
    return torch.tensor(sources @ rng.standard_normal((3, 12)) + 4).float().view(num, 3, 2, 2), sources


@pytest.mark.parametrize("baseline", [pca, ica], ids=["pca", "ica"])
def test_baselines_give_uncorrelated_codes_of_variance_one(baseline):
    x = images()[0]
    codes = baseline(x, 3)(x)
    torch.testing.assert_close(codes.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes.T.cov(), torch.eye(3), atol=1e-3, rtol=0)


def test_pca_is_the_singular_value_decomposition():
    x = images()[0]
    flat = x.flatten(1) - x.flatten(1).mean(0)
    left = torch.linalg.svd(flat, full_matrices=False)[0][:, :2] * math.sqrt(len(x) - 1)
    torch.testing.assert_close(pca(x, 2)(x).abs(), left.abs(), atol=1e-3, rtol=1e-3)


def test_ica_finds_the_sources_and_pca_does_not():
    x, sources = images()
    for baseline, found in ((ica, True), (pca, False)):
        match = np.abs(np.corrcoef(baseline(x, 3)(x).T, sources.T)[:3, 3:]).max(0).min()
        assert (match > 0.99) == found


def test_ica_that_does_not_converge_says_so_without_a_warning(recwarn):
    x = images()[0]
    assert ica(x, 3).converged
    assert not ica(x, 3, max_iter=1).converged
    assert not recwarn


def test_codes_beyond_the_rank_are_constant():
    x = images()[0]
    codes = pca(x, 5)(x)
    assert active_units(codes) == 3
    assert codes[:, 3:].abs().max() == 0


def test_baselines_refuse_other_shapes_and_units():
    x = images()[0]
    encode = pca(x, 2)
    with pytest.raises(ValueError, match=r"expected observations \(num, \*\(3, 2, 2\)\), got \(500, 12\)"):
        encode(x.flatten(1))
    with pytest.raises(TypeError, match="expected floats, as in training; got torch.uint8"):
        encode(x.byte())
    with pytest.raises(TypeError, match="expected observations as stored, as in training; got torch.float32"):
        pca(x.byte(), 2)(x)
    with pytest.raises(ValueError, match="expected 1 <= num_codes <= 12, got 13"):
        pca(x, 13)
