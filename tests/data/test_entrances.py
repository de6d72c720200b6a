"""Every function that takes data takes data of other libraries, and names their rows in its results."""

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from torch.utils.data import DataLoader, Subset, TensorDataset

from ppl_disentangle import encode, reconstruct
from ppl_disentangle.data import (
    from_arrays,
    groups,
    iid,
    interventional,
    pairs,
    partial_labels,
    sharing,
    split_where,
    triplets,
    with_conditions,
)
from ppl_disentangle.inference import compression_curve, elbo_per_datum, evidence, fit
from ppl_disentangle.metrics import evaluate
from ppl_disentangle.results import to_datatree
from ppl_disentangle.zoo import build

X = torch.randn(48, 5, generator=torch.Generator().manual_seed(0))
Y = torch.arange(48) % 3
NAMES = [f"unit {i}" for i in range(48)]
BACKWARDS = list(range(47, -1, -1))

FORMS = {
    "tensor": (X, range(48)),
    "array": (X.numpy(), range(48)),
    "list": (X.tolist(), range(48)),
    "torch data set": (TensorDataset(X, Y), range(48)),
    "torch subset": (Subset(TensorDataset(X, Y), BACKWARDS), BACKWARDS),
    "loader": (DataLoader(TensorDataset(X, Y), batch_size=7, shuffle=True), range(48)),
    "frame": (pd.DataFrame(X.numpy(), index=NAMES), NAMES),
    "data array": (xr.DataArray(X.numpy(), {"data": NAMES}, ("data", "k")), NAMES),
    "mapping": ({"x": X.numpy(), "y": Y}, range(48)),
    "subset": (from_arrays(X, Y).subset(BACKWARDS), BACKWARDS),
}
STORY = build("vae", from_arrays(X), latent_dim=2, likelihood="gaussian")


@pytest.fixture(params=FORMS.values(), ids=FORMS)
def form(request):
    return request.param


def in_order(data):
    """The observations as a tensor."""
    return X[BACKWARDS] if isinstance(data, Subset) or hasattr(data, "space") else X


def test_fit_takes_it_as_the_same_observations(form):
    data, _ = form
    expected = build("vae", from_arrays(X), latent_dim=2, likelihood="gaussian")
    fit(expected, from_arrays(in_order(data)), steps=2, batch_size=8, progress=False)
    found = build("vae", from_arrays(X), latent_dim=2, likelihood="gaussian")
    fit(found, data, held_out=data, steps=2, batch_size=8, evaluate_every=1, progress=False)
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name


def test_codes_bounds_and_results_have_its_rows(form):
    data, rows = form
    with torch.no_grad():
        means = STORY.encoder(in_order(data)).mean
    codes = encode(STORY, data)
    np.testing.assert_allclose(codes["mean"].values, means.numpy(), rtol=1e-5, atol=1e-6)
    expected = list(rows)
    for result in (codes, elbo_per_datum(STORY, data), evidence(STORY, data)):
        assert result["data"].values.tolist() == expected
    assert compression_curve(STORY, data)["data"].values.tolist() == expected[:8]
    tree = to_datatree(STORY, data, num_data=48)
    shown = tree["posterior"]["data"].values.tolist()
    assert sorted(shown) == sorted(expected)
    observed = tree["observed_data"]["x"]
    for name in shown[:5]:
        row = list(rows).index(name)
        assert np.array_equal(observed.sel(data=name).values, in_order(data)[row].numpy())


def test_reconstructions_are_those_of_its_observations(form):
    data, _ = form
    torch.testing.assert_close(reconstruct(STORY, data), reconstruct(STORY, in_order(data)))


@pytest.mark.parametrize("name", ["torch data set", "torch subset", "loader", "mapping", "subset"])
def test_evaluate_takes_data_with_factors(name):
    data, _ = FORMS[name]
    expected = evaluate(
        STORY,
        from_arrays(in_order(data), Y if in_order(data) is X else Y.flip(0)),
        metrics="mig",
        resamples=0,
        progress=False,
    )
    found = evaluate(STORY, data, metrics="mig", resamples=0, progress=False)
    assert found["estimate"].item() == expected["estimate"].item()


def test_evaluate_names_the_way_in_for_data_without_factors():
    with pytest.raises(TypeError, match="data with factors, such as as_dataset"):
        evaluate(STORY, X, metrics="mig", progress=False)


def test_samplers_take_it():
    data = TensorDataset(X, Y)
    assert pairs(data, num=5).observation_shape == (2, 5)
    assert groups(data, 3, num=5).observation_shape == (3, 5)
    assert sharing(data, "factor0", num=5).observation_shape == (2, 5)
    assert triplets(data, "factor0", num=5).observation_shape == (3, 5)
    assert len(interventional(data, {"factor0": 1}, num=5)) == 5
    assert len(iid(X, 5)) == 5
    assert partial_labels(data).values.shape == (48, 1)
    training, test = split_where(data, {"factor0": 1})
    assert test.rows(range(16)).tolist() == list(range(1, 48, 3))
    assert with_conditions(data, c=X).conditions([3])["c"].tolist() == X[[3]].tolist()
