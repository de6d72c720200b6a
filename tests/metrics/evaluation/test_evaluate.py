"""`evaluate`: chance, ceiling and baselines of each score, accepted inputs, and standard errors."""

import math
import sys

import numpy as np
import pytest
import torch
import xarray as xr

from ppl_disentangle import metrics
from ppl_disentangle.data import digits
from ppl_disentangle.data.base import Factor, FactorDataset, FactorGrid
from ppl_disentangle.metrics import (
    active_units,
    dci,
    downstream_accuracy,
    evaluate,
    factor_vae_score,
    factor_vae_score_from_codes,
    gaussian_total_correlation,
    mig,
    mig_exact,
)
from ppl_disentangle.metrics.evaluation import catalogue
from ppl_disentangle.metrics.evaluation import scored_codes as shared
from ppl_disentangle.metrics.evaluation.scored_codes import ScoredCodes, ScoringTask
from ppl_disentangle.metrics.evaluation.standard_errors import blocks, bootstrap
from ppl_disentangle.representation import encode as encode_story
from ppl_disentangle.zoo import build

CHEAP = [
    "mig",
    "dci_disentanglement",
    "dci_completeness",
    "dci_informativeness",
    "factor_vae_score",
    "active_units",
]


class Factors(FactorGrid):
    """A grid whose observation is the float vector of its factor classes."""

    name, maximum = "factors", 1.0

    def __init__(self, *sizes):
        self.space = tuple(Factor(f"factor_{k}", tuple(range(n))) for k, n in enumerate(sizes))
        self.observation_shape = (len(sizes),)

    def render(self, factors):
        return factors.float()


def rotation(size):
    """The reflection that spreads every factor over all codes."""
    return np.eye(size) - 2 / size


SMALL = {
    "num_data": 600,
    "num_test": 300,
    "dci_predictor": "lightgbm",
    "factor_vae_votes": (500, 400),
    "metrics": CHEAP,
}


def evaluated(encode=lambda x: x * 2 + 1, grid=None, **settings):
    return evaluate(encode, grid or Factors(5, 6, 1, 40), **SMALL | {"progress": False} | settings)


def test_evaluate_gives_the_scores_of_its_metrics_on_the_drawn_rows():
    seen = []
    mixed = torch.tensor(rotation(4)).float()

    def encode(x):
        seen.append(x)
        return x @ mixed

    result = evaluated(encode).estimate
    rows = torch.cat(seen).numpy()
    assert len(np.unique(rows, axis=0)) == len(rows) == 900
    codes, factors = rows @ mixed.numpy(), rows[:, [0, 1, 3]]
    assert result.sel(metric="mig") == pytest.approx(mig(codes[:600], factors[:600]), abs=1e-6)
    scores = dci(codes[:600], factors[:600], codes[600:], factors[600:], predictor="lightgbm")
    for name in ("disentanglement", "completeness", "informativeness"):
        assert result.sel(metric=f"dci_{name}") == pytest.approx(getattr(scores, name), abs=1e-6)
    score = factor_vae_score_from_codes(codes, factors, seed=0, num_train=500, num_eval=400)
    assert result.sel(metric="factor_vae_score") == score
    assert result.sel(metric="active_units") == active_units(codes) == 4


def test_evaluate_puts_estimates_between_chance_and_ceiling():
    result = evaluated(lambda x: (x / torch.tensor([5, 6, 1, 40])) @ (torch.eye(4) - 0.2))
    bounded = result.drop_sel(metric="active_units")
    assert (bounded.chance < bounded.estimate).all()
    assert (bounded.estimate < bounded.ceiling).sum() == 4  # both FactorVAE scores are 1
    assert bounded.estimate.sel(metric="factor_vae_score") == 1
    assert result.sel(metric="active_units")[["chance", "ceiling"]].to_array().isnull().all()
    assert result.ceiling.sel(metric="factor_vae_score") == 1
    assert bounded.chance.sel(metric="factor_vae_score") == pytest.approx(1 / 3, abs=0.1)
    assert bounded.chance.sel(metric="mig") < 0.05


def test_a_perfect_code_with_and_without_idle_codes_reaches_the_ceiling():
    result = evaluated(
        lambda x: x, Factors(3, 4, 5), metrics=["mig", "dci_disentanglement", "factor_vae_score"]
    )
    np.testing.assert_allclose(result.estimate, result.ceiling, atol=1e-9)
    noise = torch.Generator().manual_seed(0)

    def with_idle_codes(x):
        return torch.cat([x, 0.02 * torch.randn(len(x), 4, generator=noise)], 1)

    wide = evaluated(with_idle_codes, Factors(3, 4, 5), metrics="mig")
    assert wide.ceiling.item() == pytest.approx(wide.estimate.item(), abs=0.02)
    assert wide.ceiling.item() < result.ceiling.sel(metric="mig").item()


def test_evaluate_scores_baselines_on_the_same_rows():
    result = evaluated(
        baselines={"same": lambda x: (x * 2 + 1).numpy(), "constant": torch.zeros_like}
    )
    assert result.baseline_estimate.dims == ("baseline", "metric")
    np.testing.assert_array_equal(result.baseline_estimate.sel(baseline="same"), result.estimate)
    assert result.baseline_estimate.sel(baseline="constant", metric="active_units") == 0
    assert "baseline_estimate" not in evaluated(metrics="mig")


def test_evaluate_records_its_settings_and_survives_a_file(tmp_path):
    result = evaluated(seed=3, baselines={"copy": lambda x: x})
    result.to_netcdf(tmp_path / "metrics.nc", engine="h5netcdf")
    loaded = xr.load_dataset(tmp_path / "metrics.nc", engine="h5netcdf")
    xr.testing.assert_equal(loaded, result)
    assert result.attrs["factors_left_out"] == "factor_2"
    assert (result.attrs["num_data"], result.attrs["num_test"], result.attrs["seed"]) == (
        600,
        300,
        3,
    )
    assert loaded.attrs["dci_predictor"] == "lightgbm"
    assert all(
        f"{name} " in loaded.attrs["versions"]
        for name in ("torch", "numpy", "scikit-learn", "lightgbm")
    )
    assert loaded.attrs["resamples"] == 50
    assert list(loaded.attrs["factor_vae_votes"]) == [500, 400]


def test_evaluate_follows_its_seed():
    settings = {
        "encode": lambda x: x @ torch.tensor(rotation(4)).float(),
        "metrics": ["factor_vae_score", "mig"],
    }
    first, again, other = (evaluated(seed=s, **settings) for s in (0, 0, 1))
    xr.testing.assert_identical(first, again)
    assert list(first.metric.values) == ["factor_vae_score", "mig"]
    assert (first.estimate != other.estimate).all()


def test_data_fewer_than_asked_for_all_serve():
    result = evaluated(grid=Factors(5, 6, 3), metrics="mig")
    assert (result.attrs["num_data"], result.attrs["num_test"]) == (60, 30)


def test_evaluate_refuses_unknown_metrics_and_data_without_factors():
    with pytest.raises(
        KeyError, match=r"no metric named 'migg'; there are \[.*\]; did you mean 'mig'\?"
    ):
        evaluated(metrics="migg")
    with pytest.raises(
        ValueError, match="expected data with ground-truth factors, got 'factors' with none"
    ):
        evaluated(grid=Factors())
    with pytest.raises(ValueError, match="expected num_data >= 2 and num_test >= 2, got 600 and 0"):
        evaluated(num_test=0)
    with pytest.raises(ValueError, match="NaN or infinity in code column 0, 1"):
        evaluated(lambda x: x[:, :2] * torch.nan)


def test_progress_is_shown_only_when_asked_for(capfd):
    evaluated(metrics="mig")
    assert capfd.readouterr() == ("", "")
    evaluated(metrics="mig", progress=True)
    assert "encode" in capfd.readouterr().err


def test_encoders_are_called_without_gradients():
    weight = torch.eye(3, requires_grad=True)

    def encode(x):
        assert not torch.is_grad_enabled()
        return x @ weight

    assert evaluated(encode, Factors(3, 4, 5), metrics="mig").estimate > 0.5
    assert factor_vae_score(Factors(3, 4, 5), encode, seed=0, num_train=50, num_eval=50) == 1


def test_evaluate_takes_data_that_are_no_grid():
    subset = Factors(5, 6, 7).subset(torch.arange(0, 210, 3))
    assert isinstance(subset, FactorDataset)
    assert not isinstance(subset, FactorGrid)
    assert (
        evaluated(grid=subset, metrics=["mig", "factor_vae_score"]).estimate.sel(metric="mig") > 0.5
    )


def test_lightgbm_missing_is_said_before_anything_is_encoded(monkeypatch):
    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(ImportError, match="fast-metrics"):
        evaluate(lambda x: pytest.fail("encoded first"), Factors(3, 4), dci_predictor="lightgbm")


QUICK = {
    "num_data": 250,
    "num_test": 150,
    "dci_predictor": "lightgbm",
    "factor_vae_votes": (200, 200),
    "progress": False,
}
QUICK |= {"resamples": 10}


def rows(num, sizes=(4, 5, 6), seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(n, size=num) for n in sizes], 1)


def noisy(factors, noise=0.4, seed=1):
    z = (factors - factors.mean(0)) / factors.std(0)
    return z + noise * np.random.default_rng(seed).standard_normal(factors.shape)


def test_all_metrics_are_scored_by_one_call_and_bounded_by_chance_and_a_perfect_code():
    factors = rows(1500, (3, 4))
    result = evaluate(noisy(factors), factors, **QUICK | {"num_data": 1000, "num_test": 500})
    assert tuple(result.metric.values) == catalogue.METRIC_NAMES
    known = result.drop_sel(
        metric=[m for m in catalogue.METRIC_NAMES if m.endswith(("10000", "efficiency", "exact"))]
    )
    assert np.isfinite(known["estimate"]).all()
    lower = result.attrs["lower_is_better"].split(", ")
    assert "unfairness" in lower
    ranked = known.drop_sel(metric=["active_units", *lower])
    told = ranked.drop_sel(
        metric="infomec_modularity"
    )  # a ratio: chance information may be all of one factor
    assert (told.chance < told.estimate).all()
    assert (ranked.estimate <= ranked.ceiling + 3 * ranked.standard_error).all()
    assert (known.standard_error.where(known.estimate != known.estimate.round(), 1) > 0).all()


def test_scores_that_rows_are_too_few_for_are_nan():
    factors = rows(400)
    names = ["linear_probe_100", "linear_probe_1000", "linear_probe_sample_efficiency"]
    result = evaluate(noisy(factors), factors, **QUICK | {"metrics": names})
    assert (
        np.isnan(
            result[["estimate", "standard_error", "chance", "ceiling"]].to_array().values
        ).tolist()
        == [[False, True, True]] * 4
    )


def test_codes_given_score_as_the_encoder_that_makes_them():
    grid, mixed = Factors(4, 5, 6), torch.tensor(rotation(3)).float()
    every = grid.observations(torch.arange(len(grid))) @ mixed
    by_function = evaluate(lambda x: x @ mixed, grid, **SMALL, progress=False)
    xr.testing.assert_allclose(evaluate(every, grid, **SMALL, progress=False), by_function)
    factors = grid.factors(torch.arange(len(grid)))
    xr.testing.assert_allclose(
        evaluate(every.numpy(), factors, **SMALL, progress=False), by_function
    )
    with_baseline = evaluate(
        lambda x: x @ mixed, grid, baselines={"given": every}, **SMALL, progress=False
    )
    xr.testing.assert_allclose(
        with_baseline.baseline_estimate.sel(baseline="given", drop=True), by_function.estimate
    )


def test_a_story_scores_as_its_posteriors():
    data = digits()
    story = build("beta_vae", data, latent_dim=3)
    settings = SMALL | {"progress": False}
    codes = encode_story(story, data)
    by_means = evaluate(
        codes["mean"].values, data, **settings | {"metrics": ["mig", "active_units"]}
    )
    result = evaluate(story, data, **settings | {"metrics": ["mig", "active_units", "mig_exact"]})
    xr.testing.assert_allclose(result.sel(metric=["mig", "active_units"]), by_means, atol=1e-5)
    index = np.random.default_rng(0).choice(len(data), 900, replace=False)[:600]
    mean, scale = (torch.tensor(codes[name].values[index]).double() for name in ("mean", "scale"))
    labels = data.factors(torch.tensor(index))
    expected = mig_exact(torch.distributions.Normal(mean, scale), labels, num_samples=600)
    assert result.estimate.sel(metric="mig_exact").item() == pytest.approx(expected, abs=1e-4)
    assert result.ceiling.sel(metric="mig_exact").item() == pytest.approx(1, abs=0.01)
    with pytest.raises(
        ValueError, match="expected a story for 'mig_exact', which reads posteriors, got ndarray"
    ):
        evaluate(codes["mean"].values, data, **settings | {"metrics": "mig_exact"})


def test_scores_are_those_of_their_functions():
    factors = rows(400)
    order = np.random.default_rng(0).choice(400, 400, replace=False)
    z, v = noisy(factors)[order], factors[order]
    train, split = (z[:250], v[:250]), (z[:250], v[:250], z[250:], v[250:])
    votes = {"seed": 0, "num_train": 200, "num_eval": 200}
    expected = {
        "mig": metrics.mig(*train),
        "mig_sup": metrics.mig_sup(*train),
        "dcimig": metrics.dcimig(*train),
        "jemmig": metrics.jemmig(*train),
        "modularity": metrics.modularity(*train),
        "explicitness": metrics.explicitness(*split),
        "infomec_modularity": metrics.infomec(*train).modularity,
        "infomec_explicitness": metrics.infomec(*train).explicitness,
        "infomec_compactness": metrics.infomec(*train).compactness,
        "sap_continuous": metrics.sap(*train, continuous=True),
        "sap_discrete": metrics.sap(*split, continuous=False),
        "irs": metrics.irs(*train),
        "mcc_pearson": metrics.mcc(*train),
        "mcc_spearman": metrics.mcc(*train, method="spearman"),
        "beta_vae_score": metrics.beta_vae_score_from_codes(z, v, **votes),
        "factor_vae_score": factor_vae_score_from_codes(z, v, **votes),
        "gaussian_total_correlation": gaussian_total_correlation(train[0]),
        "wasserstein_correlation_normalised": metrics.wasserstein_correlation(
            train[0], normalised=True
        ),
        "mean_mutual_information": metrics.mean_mutual_information(train[0]),
    }
    result = evaluate(
        noisy(factors), factors, **QUICK | {"metrics": list(expected), "resamples": 0}
    )
    np.testing.assert_allclose(result.estimate, list(expected.values()), atol=1e-12)


def test_codes_and_data_that_do_not_match_are_an_error():
    factors = rows(100)
    with pytest.raises(ValueError, match="expected codes of all 100 data, got 99 rows"):
        evaluate(noisy(factors)[:99], factors, progress=False)
    with pytest.raises(TypeError, match="since the data are factors alone, got function"):
        evaluate(lambda x: x, factors, progress=False)
    with pytest.raises(ValueError, match=r"factors \(num_data, num_factors\), got shape \(100,\)"):
        evaluate(noisy(factors), factors[:, 0], progress=False)


def test_what_metrics_share_is_computed_once_for_each_set_of_codes(monkeypatch):
    calls = {"mutual_information": 0, "fit_trees": 0}
    for name in calls:
        whole = getattr(shared, name)

        def counted(*args, name=name, whole=whole, **kwargs):
            calls[name] += 1
            return whole(*args, **kwargs)

        monkeypatch.setattr(shared, name, counted)
    factors = rows(300)
    names = [
        "mig",
        "mig_sup",
        "dcimig",
        "jemmig",
        "modularity",
        "dci_disentanglement",
        "unfairness",
    ]
    evaluate(noisy(factors), factors, **QUICK | {"metrics": names, "resamples": 0})
    assert calls == {
        "mutual_information": 3,
        "fit_trees": 3,
    }  # of the codes, of chance and of the perfect code


def test_chance_breaks_the_dependence_of_codes_on_each_other_too():
    factors = rows(2000)
    codes = noisy(factors) @ (np.eye(3) + 0.5)
    result = evaluate(
        codes, factors, **QUICK | {"metrics": "gaussian_total_correlation", "num_data": 1500}
    )
    assert result.chance.item() < 0.01 < gaussian_total_correlation(codes) / 2
    assert result.ceiling.item() < 0.01
    assert result.attrs["lower_is_better"] == "gaussian_total_correlation"


def test_downstream_scores_are_those_of_their_functions():
    factors = rows(400)
    names = ["linear_probe_10", "linear_probe_100", "boosted_trees_100"]
    result = evaluate(noisy(factors), factors, **QUICK | {"metrics": names})
    order = np.random.default_rng(0).choice(400, 400, replace=False)
    z, v = noisy(factors)[order], factors[order]
    assert result.attrs["num_data"] == 250
    for predictor, of_predictor in (("linear", names[:2]), ("lightgbm", names[2:])):
        found = downstream_accuracy(
            z[:250], v[:250], z[250:], v[250:], predictor=predictor, num_labels=[10, 100]
        )
        for name in of_predictor:
            expected = found["accuracy"].sel(num_labels=int(name.split("_")[-1])).mean()
            assert result.estimate.sel(metric=name).item() == pytest.approx(
                expected.item(), abs=1e-12
            )


def scored(seed, num=1000, num_train=700, sizes=(3, 4), mixing=((1.3, 0.3), (0.3, 1.3))):
    """A fresh sample of rows and noisy codes, mixed so that no score is at an end of its scale."""
    factors = rows(num, sizes, seed)
    codes = noisy(factors, 0.5, seed + 1000) @ np.array(mixing)
    return ScoredCodes(codes, ScoringTask(factors, num_train, seed, "lightgbm", (300, 300), 60))


@pytest.mark.parametrize(("error", "tolerance"), [(bootstrap, 0.25), (blocks, 0.7)])
def test_the_standard_error_of_a_mean_is_the_closed_form(error, tolerance):
    sample = scored(0, num=5000, num_train=4000)
    sample.codes[4000:] *= 10
    votes = []

    def means(s):
        votes.append(s.task.factor_vae_votes)
        z, _, other, _ = s.split
        return z[:, 0].mean(), other[:, 0].mean()

    found = error(means, sample)
    exact = [z[:, 0].std() / np.sqrt(len(z)) for z in (sample.split[0], sample.split[2])]
    np.testing.assert_allclose(found, exact, rtol=tolerance)
    assert set(votes) == {(300, 300) if error is bootstrap else (60, 60)}


@pytest.mark.parametrize("name", ["mig", "gaussian_total_correlation"])
def test_bootstrap_standard_errors_are_the_spread_over_fresh_samples(name):
    metric = next(m for m in catalogue.METRICS if name in m.names)
    place = metric.names.index(name)
    assert metric.error is bootstrap
    samples = [scored(seed) for seed in range(60)]
    spread = np.std([metric.score(s)[place] for s in samples], ddof=1)
    errors = [bootstrap(metric.score, s)[place] for s in samples[:12]]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(
        spread, rel=0.35
    )  # 0.35: three of its own errors


@pytest.mark.parametrize("name", ["dci_disentanglement", "dci_informativeness", "factor_vae_score"])
def test_standard_errors_of_blocks_are_the_spread_over_fresh_samples(name):
    metric = next(m for m in catalogue.METRICS if name in m.names)
    place = metric.names.index(name)
    assert metric.error is blocks
    mixing = ((1, 0.9), (-0.9, 1)) if name == "factor_vae_score" else ((1.3, 0.3), (0.3, 1.3))
    samples = [scored(seed, mixing=mixing) for seed in range(20)]
    spread = np.std([metric.score(s)[place] for s in samples], ddof=1)
    assert spread > 0.005
    errors = [blocks(metric.score, s)[place] for s in samples[:8]]
    assert np.sqrt(np.mean(np.square(errors))) == pytest.approx(spread, rel=0.5)


def test_standard_errors_of_accuracies_are_the_spread_over_fresh_samples():
    metric = next(m for m in catalogue.METRICS if "linear_probe_100" in m.names)
    samples = [scored(seed, sizes=(2, 2)) for seed in range(40)]
    scores = np.array([metric.score(s) for s in samples])[:, :2]
    errors = np.array([metric.error(metric.score, s) for s in samples])[:, :2]
    np.testing.assert_allclose(np.sqrt((errors**2).mean(0)), scores.std(0, ddof=1), rtol=0.4)


def test_an_infinite_score_has_no_standard_error():
    factors = rows(400)
    codes = noisy(factors)[:, [0, 1, 0]]
    result = evaluate(codes, factors, **QUICK | {"metrics": ["gaussian_total_correlation", "mig"]})
    assert result.estimate[0] == np.inf
    assert np.isnan(result.standard_error.values).tolist() == [True, False]


def test_a_handful_of_rows_is_scored_where_it_can_be():
    factors = np.array([[0, 1], [1, 0], [1, 1], [2, 0], [2, 1], [0, 0], [1, 0], [2, 1], [0, 1]])
    result = evaluate(factors + 0.1 * np.arange(18).reshape(9, 2), factors, **QUICK)
    assert (
        result.estimate.sel(metric=["mig", "dci_informativeness", "unfairness", "active_units"])
        .notnull()
        .all()
    )
    assert (
        result.estimate.sel(metric=["linear_probe_10", "boosted_trees_sample_efficiency"])
        .isnull()
        .all()
    )


def test_a_score_that_blocks_are_too_small_for_has_no_standard_error():
    factors = np.stack([np.arange(40) // 2, np.arange(40) % 20], 1)
    result = evaluate(noisy(factors), factors, **QUICK | {"metrics": ["factor_vae_score", "mig"]})
    assert np.isnan(result.standard_error.values).tolist() == [True, False]
    assert math.isfinite(result.estimate[0])
    none = evaluate(noisy(factors), factors, **QUICK | {"metrics": "mig", "resamples": 0})
    assert np.isnan(none.standard_error.item())
    with pytest.raises(ValueError, match="expected resamples of 0, or 2 and more, got 1"):
        evaluate(noisy(factors), factors, **QUICK | {"metrics": "mig", "resamples": 1})
