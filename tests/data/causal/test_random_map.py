"""The random map from node values to observations."""

import pytest
import torch

from ppl_disentangle.data import LinearSCM, NonlinearSCM, random_dag


@pytest.mark.parametrize("shape", [(5,), (24,), (3, 8, 8)])
def test_values_can_be_read_back_from_mixed_observations(shape):
    scm = LinearSCM(random_dag(5, expected_degree=2, seed=1), num_data=400, observation_shape=shape)
    x = scm.observations(torch.arange(400)).double().flatten(1)
    assert scm.observation_shape == shape
    if len(shape) == 3:
        assert 0 < x.min() < x.max() < 1
        x = x.logit()
    cpu = torch.device("cpu")
    second, first = scm.random_map._second.on(cpu).double(), scm.random_map._first.on(cpu).double()
    hidden = x @ second.T / (second @ second.T)[0, 0]
    standard = hidden.atanh() @ torch.linalg.pinv(first) + scm.values.mean(0)
    # A float keeps seven digits of tanh, which are few where it is flat.
    assert (standard - scm.values).abs().median() < 1e-5
    assert (standard - scm.values).abs().mean() < 0.01


def test_observations_are_the_values_where_nothing_mixes():
    scm = LinearSCM("a -> b", num_data=10)
    assert torch.equal(scm.observations(torch.arange(10)), scm.values)
    assert torch.equal(scm.to_float(scm.values), scm.values)


def test_mixing_varies_with_the_seed_and_keeps_every_observation_of_order_one():
    first, second = (
        NonlinearSCM("a -> b", num_data=500, seed=s, observation_shape=(24,)) for s in (0, 1)
    )
    x = first.observations(torch.arange(500))
    assert not torch.equal(first.random_map(first.values), second.random_map(first.values))
    assert 0.1 < x.std(0).min() < x.std(0).max() < 3
