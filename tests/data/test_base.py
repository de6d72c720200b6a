"""Promises of all data sets."""

import pytest
import torch
from torch.utils.data import DataLoader

from ppl_disentangle.data import (
    Coloured,
    DSprites,
    Flow,
    Noisy,
    OnPicture,
    Pendulum,
    Room,
    Sprites,
    ThicknessIntensity,
    TwoObjects,
    XYSquares,
    correlated,
    digits,
    from_arrays,
    groups,
    interventional,
    pairs,
    pendulum_grid,
    walks,
    with_conditions,
)
from tests.data.made import small_arrays

CATALOGUE = {
    "sprites": lambda _: Sprites(),
    "room": lambda _: Room(),
    "xy squares": lambda _: XYSquares(),
    "two objects": lambda _: TwoObjects(),
    "grid of a scene": lambda _: pendulum_grid(size=32),
    "dsprites": DSprites,
    "arrays": lambda _: small_arrays(),
    "numbers": lambda _: from_arrays(torch.linspace(0, 1, 5)),
    "bare arrays": lambda _: from_arrays(torch.rand(5, 4)),
    "digits": lambda _: digits(),
    "pendulum": lambda _: Pendulum(50, size=32),
    "flow": lambda _: Flow(50, size=32),
    "strokes": lambda _: ThicknessIntensity(50),
    "told labels": lambda _: with_conditions(digits(), labels=torch.zeros(1797, 2)),
    "subset": lambda _: digits().subset(torch.tensor([5, 5, 1700])),
    "subset of a subset": lambda _: Sprites().split(700_000)[0].split(30)[1],
    "pairs": lambda _: pairs(digits(), num=50, conditions=True),
    "groups": lambda _: groups(Sprites(), 3, num=50, conditions=True),
    "walks": lambda _: walks(Sprites(), 3, num=50),
    "correlated": lambda _: correlated(Sprites(), {("x", "y"): 0.2}, num=50),
    "interventional": lambda _: interventional(
        Pendulum(50, size=32), {"light": None}, conditions=True
    ),
    "coloured": lambda _: Coloured(Sprites()),
    "noisy": lambda _: Noisy(Sprites()),
    "on a picture": lambda _: OnPicture(Sprites()),
}


@pytest.fixture(params=CATALOGUE.values(), ids=CATALOGUE)
def dataset(request, dsprites_file):
    return request.param(dsprites_file)


def test_observations_and_factors_have_the_promised_shapes_and_values(dataset):
    index = torch.arange(len(dataset))[-3:].flip(0)
    x, factors = dataset.observations(index), dataset.factors(index)
    assert x.shape == (3, *dataset.observation_shape)
    assert factors.shape == (3, len(dataset.space))
    assert factors.dtype == torch.int64
    assert (factors >= 0).all()
    assert (factors < torch.tensor(dataset.factor_sizes)).all()
    assert dataset.to_float(x).dtype == torch.float32
    assert 0 <= dataset.to_float(x).min() < dataset.to_float(x).max() <= 1


def test_a_datum_is_the_same_alone_in_a_batch_and_in_a_subset(dataset):
    index = torch.tensor([len(dataset) - 1, 0, len(dataset) - 1])
    x, factors = dataset.observations(index), dataset.factors(index)
    alone = [dataset[i] for i in (-1, 0, len(dataset) - 1)]
    assert torch.equal(torch.stack([one[0] for one in alone]), dataset.to_float(x))
    assert torch.equal(torch.stack([one[1] for one in alone]), factors)
    subset = dataset.subset(index)
    assert torch.equal(subset.observations(torch.arange(3)), x)
    assert torch.equal(subset.factors(torch.arange(3)), factors)


def test_results_are_on_the_device_of_the_index(dataset):
    index = torch.zeros(4, dtype=torch.int64, device="meta")
    assert dataset.observations(index).device.type == "meta"
    assert dataset.observations(index).shape == (4, *dataset.observation_shape)
    assert dataset.factors(index).device.type == "meta"
    assert dataset.observations(torch.tensor([0])).device.type == "cpu"


def test_an_index_beyond_the_data_is_an_error(dataset):
    with pytest.raises(IndexError, match="out of range"):
        dataset[len(dataset)]
    with pytest.raises(IndexError, match=r"out of (range|bounds)"):
        dataset.observations(torch.tensor([len(dataset)]))


def test_sampling_depends_on_the_generator_only(dataset):
    state = torch.get_rng_state()
    first, again = (dataset.sample(6, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert torch.equal(state, torch.get_rng_state())


def test_a_split_is_a_partition():
    training, held_out = small_arrays().split(2)
    rows = [training.observations(torch.arange(5)), held_out.observations(torch.arange(2))]
    everything = small_arrays().observations(torch.arange(7))
    assert sorted(torch.cat(rows).flatten(1).tolist()) == sorted(everything.flatten(1).tolist())
    with pytest.raises(ValueError, match="expected 0 < num_held_out < 7, got 7"):
        small_arrays().split(7)


def test_a_torch_loader_takes_a_data_set():
    x, factors = next(iter(DataLoader(digits(), batch_size=32)))
    assert torch.equal(x, digits().to_float(digits().observations(torch.arange(32))))
    assert torch.equal(factors, digits().factors(torch.arange(32)))
