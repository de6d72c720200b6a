"""Fits as labelled arrays: groups, names, values, and the way through a file and ArviZ."""

import arviz
import numpy as np
import pytest
import torch
import xarray as xr
from pyro import poutine

from ppl_disentangle import encode, to_arviz, to_datatree
from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import digits
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.models import BetaVAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    networks = mlp_encoder(6, shape=(1, 8, 8), hidden=8), mlp_decoder(3, shape=(1, 8, 8), hidden=8)
    story = BetaVAE(Gaussian(networks[0]), Bernoulli(networks[1]), 3)
    story.coordinate_names = {"z": ("width", "slant", "weight")}
    history = fit(story, digits(), steps=20, progress=False)
    return story, history, to_datatree(story, digits(), history, num_data=10, draws=200)


@pytest.fixture(scope="module")
def every_draw(fitted):
    story, _, _ = fitted
    return to_datatree(story, digits(), num_data=10, draws=200, predictive="draws")


def test_groups_dims_and_names(fitted):
    _, history, tree = fitted
    assert set(tree.children) == {
        *("posterior", "posterior_predictive", "log_likelihood", "prior", "prior_predictive"),
        *("observed_data", "constant_data", "fit"),
    }
    assert tree["posterior/z"].dims == ("chain", "draw", "data", "z_coordinate")
    assert tree["posterior/z"]["z_coordinate"].values.tolist() == ["width", "slant", "weight"]
    image = ("channel", "row", "column")
    assert tree["posterior_predictive/x"].dims == ("statistic", "data", *image)
    assert tree["prior_predictive/x"].dims == ("statistic", *image)
    assert tree["posterior_predictive"]["statistic"].values.tolist() == ["mean", "sd"]
    assert tree["log_likelihood/x"].dims == ("chain", "draw", "data")
    assert tree["fit"].to_dataset().identical(history)


def test_summaries_are_the_mean_and_the_deviation_of_the_draws(fitted, every_draw):
    _, _, tree = fitted
    draws = every_draw["posterior_predictive/x"]
    assert draws.dims == ("chain", "draw", "data", "channel", "row", "column")
    summary = tree["posterior_predictive/x"]
    np.testing.assert_allclose(summary.sel(statistic="mean"), draws[0].mean("draw"), rtol=1e-5)
    np.testing.assert_allclose(summary.sel(statistic="sd"), draws[0].std("draw"), atol=1e-6)
    draws = every_draw["prior_predictive/x"][0].values.reshape(-1, 1, 8, 8)
    np.testing.assert_allclose(tree["prior_predictive/x"], [draws.mean(0), draws.std(0)], atol=1e-6)
    np.testing.assert_array_equal(every_draw["posterior/z"], tree["posterior/z"])
    with pytest.raises(ValueError, match="expected predictive 'summary' or 'draws', got 'mean'"):
        to_datatree(fitted[0], digits(), predictive="mean")


def test_arviz_takes_summaries_and_draws(fitted, every_draw):
    for tree in (fitted[2], every_draw):
        groups = to_arviz(tree).groups
        names = groups() if callable(groups) else [name.strip("/") for name in groups]
        assert {"posterior", "prior", "posterior_predictive", "log_likelihood"} <= set(names)


def test_values_are_those_of_the_data_at_their_index(fitted):
    story, _, tree = fitted
    index = torch.tensor(tree["observed_data"]["data"].values)
    x = digits().to_float(digits().observations(index))
    np.testing.assert_array_equal(tree["observed_data/x"], x)
    np.testing.assert_array_equal(tree["constant_data/digit"], digits().factors(index)[:, 0])
    codes = encode(story, x)
    error = codes["scale"] / 200**0.5
    assert (
        abs(tree["posterior/z"].mean(("chain", "draw")).values - codes["mean"]) < 5 * error
    ).all()
    bound = elbo_per_datum(story, x, num_samples=200)
    spread = tree["log_likelihood/x"].std("draw").values[0] / 100**0.5
    assert (
        abs(
            tree["log_likelihood/x"].mean(("chain", "draw")).values - bound["log_likelihood"].values
        )
        < 5 * spread + 1e-4
    ).all()
    assert abs(tree["prior/z"].std().item() - 1) < 0.1


def test_the_tree_goes_through_a_file_and_arviz(fitted, tmp_path):
    _, _, tree = fitted
    tree.to_netcdf(tmp_path / "results.nc", engine="h5netcdf")
    with xr.open_datatree(tmp_path / "results.nc", engine="h5netcdf") as read:
        np.testing.assert_array_equal(read["posterior/z"], tree["posterior/z"])
        assert read["posterior/z"]["z_coordinate"].values.tolist() == ["width", "slant", "weight"]
    inference_data = to_arviz(tree)
    assert (
        "posterior" in inference_data.groups()
        if callable(inference_data.groups)
        else "/posterior" in inference_data.groups
    )
    summary = arviz.summary(inference_data, kind="stats", round_to="none")
    assert summary["mean"].iloc[0] == pytest.approx(
        tree["posterior/z"][..., 0, 0].mean().item(), rel=1e-5
    )
    again = arviz.from_netcdf(tmp_path / "results.nc")
    np.testing.assert_array_equal(again["posterior"]["z"], tree["posterior/z"])


def test_pyros_raw_traces_hold_the_plate_and_ours_do_not(fitted):
    story, _, tree = fitted
    raw = poutine.trace(story.guide).get_trace(torch.zeros(2, 1, 8, 8))
    assert "data" in raw.nodes
    assert set(tree["posterior"].data_vars) == {"z"}
