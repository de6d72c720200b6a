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


def test_groups_dims_and_names(fitted):
    _, history, tree = fitted
    assert set(tree.children) == {
        *("posterior", "posterior_predictive", "log_likelihood", "prior", "prior_predictive"),
        *("observed_data", "constant_data", "fit"),
    }
    assert tree["posterior/z"].dims == ("chain", "draw", "data", "z_coordinate")
    assert tree["posterior/z"]["z_coordinate"].values.tolist() == ["width", "slant", "weight"]
    assert tree["posterior_predictive/x"].dims == (
        "chain",
        "draw",
        "data",
        "channel",
        "row",
        "column",
    )
    assert tree["log_likelihood/x"].dims == ("chain", "draw", "data")
    assert tree["fit"].to_dataset().identical(history)


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
