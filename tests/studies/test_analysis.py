"""What a study tells: intervals, rank correlations, and choices without labels, against what they must be."""

import csv

import arviz
import numpy as np
import pytest
import xarray as xr
from scipy import stats

from ppl_disentangle.cli.main import main
from ppl_disentangle.plots import plot_rank_correlation, plot_sweep
from ppl_disentangle.runs.folder import Run
from ppl_disentangle.studies.analysis import (
    analyse,
    compare_models,
    probability_best,
    rank_correlation,
    select_without_labels,
)
from ppl_disentangle.studies.grid import read_grid, trials
from ppl_disentangle.studies.study import study
from tests import ROOT
from tests.studies.test_study import GRID, Here

EXAMPLES = ROOT / "examples"


def scores(values, metrics=("mig",)):
    """A study from scores of shape (model, setting, data, seed, metric)."""
    values = np.asarray(values, dtype=float)
    dims = ("model", "setting", "data", "seed", "metric")
    coords = {
        "model": [f"m{i}" for i in range(values.shape[0])],
        "setting": np.arange(values.shape[1]),
        "data": [f"d{i}" for i in range(values.shape[2])],
        "seed": np.arange(values.shape[3]),
        "metric": list(metrics),
        "value": (("model", "setting"), np.full(values.shape[:2], "beta=1")),
    }
    names = ("score", "chance", "ceiling")
    return xr.Dataset(
        {name: (dims, values if name == "score" else np.ones_like(values)) for name in names},
        coords,
    )


def test_intervals_of_means_are_the_t_intervals_of_a_common_variance():
    sample = np.random.default_rng(0).normal([[0.2], [0.5], [0.4]], 0.1, (3, 8))
    comparison = compare_models(scores(sample[:, None, None, :, None]), "mig", draws=200_000)
    scale = np.sqrt(sample.var(1, ddof=1).mean())
    half = stats.t.ppf(0.97, df=3 * 7) * scale / np.sqrt(8)
    interval = arviz.hdi(comparison, hdi_prob=0.94)["mean"].values
    np.testing.assert_allclose(interval[:, 0], sample.mean(1) - half, atol=2e-3)
    np.testing.assert_allclose(interval[:, 1], sample.mean(1) + half, atol=2e-3)


def test_what_the_data_do_to_all_models_alike_is_not_counted_as_noise():
    noise = np.random.default_rng(0).normal(0, 0.01, (2, 1, 3, 5, 1))
    values = (
        noise
        + np.array([0.0, 0.05]).reshape(2, 1, 1, 1, 1)
        + np.array([0.0, 0.4, 0.8]).reshape(1, 1, 3, 1, 1)
    )
    comparison = compare_models(scores(values), "mig")
    assert float(comparison.posterior["scale"].mean()) < 0.02
    assert probability_best(comparison).sel(model="m1") > 0.999
    difference = comparison.posterior["mean"].sel(model="m1") - comparison.posterior["mean"].sel(
        model="m0"
    )
    assert float(difference.mean()) == pytest.approx(0.05, abs=0.01)


def test_of_models_with_the_same_scores_none_is_best():
    sample = np.tile(np.random.default_rng(0).normal(size=6), (2, 1))
    probabilities = probability_best(
        compare_models(scores(sample[:, None, None, :, None]), "mig", draws=20_000)
    )
    assert probabilities.values == pytest.approx([0.5, 0.5], abs=0.02)


def test_models_are_compared_at_their_best_setting_or_over_all():
    values = np.random.default_rng(0).normal(0, 0.01, (2, 2, 1, 6, 1))
    values[0, 1] += 0.5
    best = compare_models(scores(values), "mig").posterior["mean"].mean(("chain", "draw"))
    over_all = (
        compare_models(scores(values), "mig", best_setting=False)
        .posterior["mean"]
        .mean(("chain", "draw"))
    )
    assert float(best.sel(model="m0")) == pytest.approx(0.5, abs=0.02)
    assert float(over_all.sel(model="m0")) == pytest.approx(0.25, abs=0.05)


def test_too_few_runs_and_unknown_metrics_are_refused():
    with pytest.raises(ValueError, match="2 runs of 2 models on 1 data sets are too few"):
        compare_models(scores(np.ones((2, 1, 1, 1, 1))), "mig")
    with pytest.raises(KeyError, match=r"no metric named .*sap.*; the study has \['mig'\]"):
        compare_models(scores(np.ones((2, 1, 1, 1, 1))), "sap")


def test_rank_correlation_is_that_of_the_order_of_runs_on_the_same_data():
    first = np.random.default_rng(0).normal(size=(2, 3, 2, 4))
    values = np.stack([first, np.exp(first), -first, np.zeros_like(first)], -1)
    values[:, :, 1, :, 1] *= -1
    values[0, 0, 0, 0, 0] = np.nan
    found = rank_correlation(scores(values, ("a", "b", "c", "d")))
    assert found.sel(data="d0", metric="a", other=["a", "b", "c"]).values == pytest.approx(
        [1, 1, -1]
    )
    assert found.sel(data="d1", metric="a", other=["a", "b", "c"]).values == pytest.approx(
        [1, -1, -1]
    )
    assert bool(found.sel(metric="d").isnull().all())
    assert len(plot_rank_correlation(found).axes) == 2


def test_a_sweep_is_drawn_with_a_dot_for_each_run():
    values = np.random.default_rng(0).random((2, 3, 1, 4, 1))
    values[1, 2] = np.nan
    figure = plot_sweep(scores(values), "mig")
    dots = [line for line in figure.axes[0].get_lines() if line.get_label() == "a seed"]
    assert sum(len(line.get_ydata()) for line in dots) == 12
    assert len(figure.axes[1].get_xticks()) == 2


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("analysed")
    return folder, study(GRID, folder, executor=Here(), progress=False)


def test_a_choice_without_labels_is_judged_beside_the_best_and_the_mean(done):
    folder, gathered = done
    chosen = select_without_labels(trials(GRID), folder, "mig")
    known = gathered["score"].sel(metric="mig", model="beta_vae", data="digits").values.ravel()
    row = chosen["score"].sel(model="beta_vae", data="digits")
    assert float(row.sel(choice="labels")) == known.max()
    assert float(row.sel(choice="random")) == pytest.approx(known.mean())
    assert row.sel(choice=["udr", "centrality"]).isin(known).all()
    assert chosen["runs"].values.ravel().tolist() == [4, 2]
    assert bool(
        chosen["score"].sel(model="plain").isnull().all()
    )  # two runs agree with each other alone


def test_the_choice_is_the_run_that_agrees_with_most(done, monkeypatch):
    folder, gathered = done
    z = np.random.default_rng(0).standard_normal((300, 3))
    mixed = z @ np.linalg.qr(np.random.default_rng(1).standard_normal((3, 3)))[0]
    codes = iter([z, mixed, -z[:, ::-1], z[:, [1, 2, 0]]])
    monkeypatch.setattr(
        "ppl_disentangle.studies.analysis._codes", lambda *_: (next(codes), np.ones(3))
    )
    planned = [t for t in trials(GRID) if t.model == "beta_vae"]
    worst = (
        Run.open(folder / "trials" / planned[1].key)
        .read_tree()["metrics"]["estimate"]
        .sel(metric="mig")
    )
    chosen = select_without_labels(planned, folder, "mig")["score"].sel(
        model="beta_vae", data="digits"
    )
    assert float(worst) not in chosen.sel(choice=["udr", "centrality"]).values


def test_an_analysis_is_written_beside_the_results(done):
    folder, gathered = done
    lines = analyse(gathered, folder)
    with (folder / "comparison.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(lines)
    assert {row["model"] for row in rows if row["metric"] == "mig"} == {"beta_vae", "plain"}
    for row in rows:
        assert float(row["hdi_3%"]) <= float(row["mean"]) <= float(row["hdi_97%"])
    assert {p.stem for p in (folder / "figures").iterdir()} == {
        "mig",
        "active_units",
        "log_likelihood",
        "elbo",
    } | {"rank_correlation"}


def test_the_grid_of_the_literature_has_its_runs_and_a_hundredth_of_it_is_of_the_same_methods():
    full, small = (read_grid(EXAMPLES / f"study_{size}.toml") for size in (12600, 126))
    assert (len(trials(full)), len(trials(small))) == (12600, 126)
    for model, other in zip(full["models"], small["models"], strict=True):
        assert (model["story"], model.get("options")) == (other["story"], other.get("options"))
        ((option, values),) = model["sweep"].items()
        assert set(map(str, other["sweep"][option])) < set(map(str, values))
    assert len({trial.key for trial in trials(full)}) == 12600


@pytest.mark.slow
def test_a_hundredth_of_the_grid_runs(tmp_path, capsys):
    command = [
        "study",
        str(EXAMPLES / "study_126.toml"),
        "--workers",
        "2",
        "--out",
        str(tmp_path),
        "--quiet",
    ]
    assert main([*command, "--select", "dci_completeness"]) == 0
    printed = capsys.readouterr().out
    assert "126 of 126 runs are done" in printed
    assert "factor_vae" in printed.partition("of the run that is chosen by")[2]
