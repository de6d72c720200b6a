"""Properties and error messages that all samplers have in common."""

import pytest
import torch
from torch.utils.data import DataLoader

from ppl_disentangle.data import (
    Pendulum,
    correlated,
    from_arrays,
    groups,
    iid,
    interventional,
    pairs,
    partial_labels,
    sharing,
    split_combinations,
    split_where,
    triplets,
    walks,
)
from ppl_disentangle.inference import BatchStream
from ppl_disentangle.inference.training.batches import Batches
from tests.data.sampled.grids import GRID, MORE, SOURCES, Numbers, everything

SAMPLERS = {
    "iid": lambda data, seed: iid(data, 300, seed=seed),
    "pairs": lambda data, seed: pairs(data, "random", num=300, seed=seed),
    "groups": lambda data, seed: groups(data, 3, num=300, seed=seed, conditions=True),
    "sharing": lambda data, seed: sharing(data, "size", num=300, seed=seed),
    "triplets": lambda data, seed: triplets(data, "size", num=300, seed=seed),
    "walks": lambda data, seed: walks(data, 3, num=300, seed=seed),
    "correlated": lambda data, seed: correlated(data, {("size", "turn"): 0.3}, num=300, seed=seed),
    "interventional": lambda data, seed: interventional(
        data, {"size": None}, num=300, seed=seed, conditions=True
    ),
}


@pytest.fixture(params=SAMPLERS.values(), ids=SAMPLERS)
def sampler(request):
    return request.param


@SOURCES
def test_the_same_seed_gives_the_same_draws_whatever_the_global_state(sampler, data):
    state = torch.get_rng_state()
    first, again, other = (sampler(data, seed) for seed in (7, 7, 8))
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(everything(first), everything(again))
    assert not torch.equal(everything(first), everything(other))
    index = torch.tensor([250, 3, 3])
    assert torch.equal(first.observations(index), everything(first)[index].float())
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(everything(sampler(data, generator)), everything(first))
    assert not torch.equal(everything(sampler(data, generator)), everything(first))


def test_a_loader_with_two_workers_gives_each_datum_once(sampler):
    data = sampler(GRID, 0)
    loader = DataLoader(data, batch_size=32, num_workers=2)
    batches = list(loader)
    index = torch.arange(len(data))
    assert torch.equal(torch.cat([batch[0] for batch in batches]), data.observations(index))
    assert torch.equal(torch.cat([batch[1] for batch in batches]), data.factors(index))
    for name, values in data.conditions(index).items():
        loaded = torch.cat([batch[2][name] for batch in batches])
        torch.testing.assert_close(loaded, values, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stream_is_the_batches_of_fit_in_their_order_each_datum_once_an_epoch(workers):
    data = pairs(GRID, num=96, conditions=True)
    stream = BatchStream(data, 16, seed=3)
    batches = Batches(data, 16, seed=3, device=torch.device("cpu"))
    given = list(DataLoader(stream, batch_size=None, num_workers=workers))
    assert len(given) == len(stream) == 6
    for step, (x, conditions) in enumerate(given):
        assert torch.equal(x, batches(step))
        assert torch.equal(conditions["changed"], batches.conditions(step)["changed"])
    rows = torch.cat([x for x, _ in given]).flatten(1).tolist()
    assert sorted(rows) == sorted(data.observations(torch.arange(96)).flatten(1).tolist())
    assert len(list(BatchStream(data, 16, steps=20))) == 20


ERRORS = {
    "a factor": (
        lambda: pairs(GRID, factors=["sise"]),
        KeyError,
        r"no factor named 'sise'; 'numbers' has .*'size'",
    ),
    "no factor": (
        lambda: pairs(from_arrays(torch.rand(4, 2))),
        ValueError,
        "expected factors, 'arrays' has none",
    ),
    "a constant": (
        lambda: pairs(Numbers(3, 1), factors=["size"]),
        ValueError,
        "'size' has one value",
    ),
    "twice": (
        lambda: sharing(GRID, ["x", "x"]),
        ValueError,
        r"expected different factors, got \['x', 'x'\]",
    ),
    "too many": (lambda: pairs(GRID, 5), ValueError, "expected 1 <= k <= 4 or k='random', got k=5"),
    "none": (lambda: pairs(GRID, 0), ValueError, "expected 1 <= k <= 4 or k='random', got k=0"),
    "one to choose": (
        lambda: pairs(GRID, "random", factors=["x"]),
        ValueError,
        "k='random' needs two factors",
    ),
    "empty": (lambda: pairs(GRID, num=0), ValueError, "expected num >= 1, got 0"),
    "a group of one": (lambda: groups(GRID, 1), ValueError, "expected size >= 2, got 1"),
    "a single shared": (lambda: sharing(GRID, "x", 1), ValueError, "expected size >= 2, got 1"),
    "one class": (
        lambda: triplets(split_where(GRID, {"size": 2.0})[1], "size"),
        ValueError,
        "expected two classes of 'size' or more, all of 'numbers' have one",
    ),
    "a still": (lambda: walks(GRID, 1), ValueError, "expected length >= 2, got 1"),
    "a matrix": (
        lambda: walks(GRID, 2, {"size": torch.ones(4, 4)}),
        ValueError,
        r"probabilities \(4, 4\) for 'size', whose rows sum to 1; got shape \(4, 4\)",
    ),
    "a trap": (
        lambda: walks(GRID, 2, {"x": [[0.5, 0.5], [0, 1]]}, always_moves=True),
        ValueError,
        "always_moves needs another class to go to from each of 'x'",
    ),
    "a range of a node": (
        lambda: interventional(Pendulum(9, size=32), {"light": (60, 100)}),
        ValueError,
        r"expected a number, numbers in a list, or None for node 'light', got \(60, 100\)",
    ),
    "a rate": (
        lambda: walks(GRID, 2, {"size": -1.0}),
        ValueError,
        "a finite rate >= 0, got size=4, rate=-1.0",
    ),
    "a missing step": (
        lambda: walks(split_where(GRID, {"kind": "a", "turn": 2.0})[0], 9, {"turn": 0.0}),
        ValueError,
        r"no datum of 'numbers' has kind='a', size=\d.0, turn=2.0, x=\d.0",
    ),
    "no pair": (
        lambda: correlated(GRID, {}),
        ValueError,
        "expected at least one pair of factors, got none",
    ),
    "no order": (
        lambda: correlated(GRID, {("kind", "x"): 0.1}),
        ValueError,
        r"a table of weights \(3, 2\) for",
    ),
    "weights": (
        lambda: correlated(GRID, {("kind", "x"): -torch.ones(3, 2)}),
        ValueError,
        r"expected finite weights >= 0 of shape \(3, 2\) for \('kind', 'x'\), got .* in \[-1, -1\]",
    ),
    "all zero": (
        lambda: correlated(GRID, {("kind", "x"): torch.zeros(3, 2)}),
        ValueError,
        "has a positive weight",
    ),
    "itself": (
        lambda: correlated(GRID, {("x", "x"): 0.1}),
        ValueError,
        "expected different factors",
    ),
    "a width": (
        lambda: correlated(GRID, {("size", "x"): 0.0}),
        ValueError,
        "expected width > 0, got 0.0",
    ),
    "no regime": (
        lambda: interventional(GRID, []),
        ValueError,
        "expected at least one regime, got none",
    ),
    "no such value": (
        lambda: interventional(GRID, {"kind": "d"}),
        ValueError,
        r"no value 'd' of factor 'kind'; expected among \['a', 'b', 'c'\]",
    ),
    "other factors": (
        lambda: interventional(GRID, {"x": 0.0}, among=MORE),
        ValueError,
        "expected among with the factors of data, got the factors of 'numbers'",
    ),
    "no such datum": (
        lambda: interventional(split_where(GRID, {"kind": "a", "size": 0.0})[0], {"size": 0.0}),
        ValueError,
        "no datum of 'numbers' has kind='a', size=0.0",
    ),
    "all of it": (
        lambda: split_where(GRID, {"size": (0, 9)}),
        ValueError,
        "120 of 120 data meet .* and not all",
    ),
    "nothing": (
        lambda: split_where(GRID, {"size": (7, 9)}),
        ValueError,
        "0 of 120 data meet .* expected some",
    ),
    "no condition": (
        lambda: split_where(GRID, {}),
        ValueError,
        "expected conditions on factors, got {}",
    ),
    "an unordered range": (
        lambda: split_where(GRID, {"kind": ("a", "b")}),
        ValueError,
        r"expected a range \(low, high\) of an ordered factor, got kind=\('a', 'b'\)",
    ),
    "a fraction": (
        lambda: split_combinations(GRID, fraction=1.0),
        ValueError,
        "expected 0 < fraction < 1, got 1.0",
    ),
    "a share": (
        lambda: partial_labels(GRID, fraction=2),
        ValueError,
        "fraction and wrong in .0, 1., got 2 and 0.0",
    ),
    "a stream": (
        lambda: BatchStream(pairs(GRID, num=8), 16),
        ValueError,
        "batch_size=16 is more than the 8 data",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), ERRORS.values(), ids=list(ERRORS))
def test_invalid_arguments_are_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
