"""Which numbers are continuous, their classes for metrics, and the numbers themselves in every data set."""

import numpy as np
import pytest
import torch

from ppl_disentangle import to_datatree
from ppl_disentangle.data import Pendulum, from_arrays, iid, partial_labels, with_conditions
from ppl_disentangle.data.binning import is_continuous
from ppl_disentangle.zoo import build

RNG = np.random.default_rng(0)
UNIFORM = RNG.uniform(size=1000)

CONTINUOUS = {
    "uniform": UNIFORM,
    "60 angles": UNIFORM[:60],
    "eight numbers": UNIFORM[:8],
    "two decimals": UNIFORM[:150].round(2),
    "whole numbers of a wide range": (1e5 * UNIFORM).astype(np.int64),
    "an identifier of each row": np.arange(60),
    "float32": UNIFORM.astype(np.float32),
}
CLASSES = {
    "digits": np.arange(1000) % 10,
    "positions": np.linspace(0, 1, 32)[np.arange(1000) % 32],
    "whole numbers as floats": (np.arange(500) % 180).astype(float),
    "a few rows": np.array([0.5, 1.0, 2.5]),
    "bool": UNIFORM > 0.5,
}


@pytest.mark.parametrize("column", CONTINUOUS.values(), ids=list(CONTINUOUS))
def test_a_continuous_factor_has_intervals_as_classes_and_keeps_its_numbers(column):
    data = from_arrays(np.zeros((len(column), 2), np.float32), {"v": column})
    factor = data.space[0]
    assert factor.kind == "continuous"
    assert factor.size == min(20, max(2, len(np.unique(column)) // 5))
    everything = torch.arange(len(data))
    assert data.factor_numbers(everything)[:, 0].tolist() == column.tolist()
    classes = data.factors(everything)[:, 0].numpy()
    # larger numbers have larger classes, and each class about as many data
    assert (np.diff(classes[np.argsort(column, kind="stable")]) >= 0).all()
    assert np.ptp(np.bincount(classes)) <= 0.15 * len(column)


@pytest.mark.parametrize("column", CLASSES.values(), ids=list(CLASSES))
def test_numbers_with_repeated_values_are_classes(column):
    assert not is_continuous(column)
    factor = from_arrays(np.zeros((len(column), 2), np.float32), {"v": column}).space[0]
    assert (factor.kind, factor.size) == ("ordinal", len(np.unique(column)))


def test_the_numbers_pass_through_every_data_set_made_from_another():
    data = from_arrays(np.zeros((1000, 2), np.float32), {"v": UNIFORM, "k": np.arange(1000) % 3})
    index = torch.tensor([5, 17, 400])
    truth = torch.stack([torch.from_numpy(UNIFORM), torch.arange(1000.0).double() % 3], -1)
    assert torch.equal(data.factor_numbers(index), truth[index])
    assert torch.equal(data.subset(index).factor_numbers(torch.arange(3)), truth[index])
    conditioned = with_conditions(data, u=torch.zeros(1000, 1))
    assert torch.equal(conditioned.factor_numbers(index), truth[index])
    assert iid(data, 10).factor_numbers(torch.arange(10)).shape == (10, 2)


def test_nodes_of_causal_data_are_continuous_factors_with_their_values():
    data = Pendulum(60)
    assert {factor.kind for factor in data.space} == {"continuous"}
    index = torch.arange(60)
    assert torch.equal(data.factor_numbers(index), data.values.double())


def test_labels_of_a_continuous_factor_are_classes_or_numbers():
    data = from_arrays(np.zeros((1000, 2), np.float32), {"v": UNIFORM})
    classes = partial_labels(data).values[:, 0]
    assert torch.equal(classes.long(), data.factors(torch.arange(1000))[:, 0])
    numbers = partial_labels(data, numbers=True).values[:, 0]
    np.testing.assert_allclose(numbers, UNIFORM, rtol=1e-6)
    some_wrong = partial_labels(data, numbers=True, wrong=0.3, seed=1).values[:, 0]
    wrong = ~np.isclose(some_wrong, UNIFORM, rtol=1e-6)
    assert 0.2 < wrong.mean() < 0.4
    assert set(some_wrong[wrong].tolist()) <= set(np.float32(data.space[0].values).tolist())


def test_results_hold_the_numbers_of_continuous_factors():
    data = from_arrays(torch.rand(60, 6), {"v": UNIFORM[:60], "k": np.arange(60) % 3})
    tree = to_datatree(build("vae", data, latent_dim=2), data, num_data=7, draws=1)
    rows = tree["constant_data"]["data"].values
    np.testing.assert_array_equal(tree["constant_data"]["v"], UNIFORM[rows])
    np.testing.assert_array_equal(tree["constant_data"]["k"], rows % 3)
