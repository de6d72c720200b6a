"""Signals and sequences on the command line, and the rows that its results name."""

import numpy as np
import pytest
import torch
import xarray as xr

from ppl_disentangle.cli.main import main
from ppl_disentangle.data import load_data
from ppl_disentangle.runs import Run

RNG = np.random.default_rng(0)


def trained(folder, x, *arguments):
    np.savez(folder / "mine.npz", x=x, factors=RNG.integers(0, 3, (len(x), 2)))
    run = folder / "run"
    base = ["train", "vae", "--data", str(folder / "mine.npz"), "--latent-dim", "2", "--steps", "3"]
    settings = ["--batch-size", "16", "--held-out", "20", "--quiet", "--no-evaluate"]
    main([*base, *settings, "--out", str(run), *arguments])
    return run


@pytest.mark.parametrize(
    ("kind", "network", "shape"),
    [("signal", "conv1d", (3, 32)), ("sequence", "gru", (32, 3))],
)
def test_curves_are_trained_and_drawn(tmp_path, kind, network, shape):
    x = RNG.normal(size=(60, *shape)).astype(np.float32)
    run = trained(tmp_path, x, "--kind", kind)
    config = Run.open(run).config
    assert config["story"]["network"] == network
    assert config["story"]["likelihood"] == "gaussian"
    main(["traverse", str(run)])
    main(["intervene", str(run), "--do", "z[0]=1"])
    drawn = {path.stem for path in (run / "figures").iterdir()}
    assert {"reconstructions", "traversals", "intervention_z[0]=1"} <= drawn


def test_results_name_the_rows_of_the_file(tmp_path):
    x = RNG.integers(0, 256, (60, 1, 8, 8)).astype(np.uint8)
    run = trained(tmp_path, x)
    main(["intervene", str(run), "--do", "z[0]=1"])
    rows = load_data(tmp_path / "mine.npz").split(20)[1].rows(range(20))
    shown = xr.load_dataset(run / "results" / "intervention_z[0]=1.nc")
    assert shown["data"].values.tolist() == rows[: shown.sizes["data"]].tolist()
    observed = xr.load_dataset(run / "results" / "observed_data.nc")
    assert set(observed["data"].values.tolist()) <= set(rows.tolist())
    expected = torch.from_numpy(x[observed["data"].values]) / 255
    np.testing.assert_allclose(observed["x"].values, expected, atol=1e-3)
