"""Promises of all causal data sets."""

import math

import networkx as nx
import pytest
import torch
from torch.utils.data import DataLoader

from ppl_disentangle.data import (
    CausalDataset,
    Flow,
    LinearSCM,
    NonlinearSCM,
    Pendulum,
    ThicknessIntensity,
    load_data,
    published_scm,
    random_dag,
)

CATALOGUE = {
    "pendulum": lambda seed: Pendulum(300, size=20, noise=0.5, seed=seed),
    "pendulum without clamp": lambda seed: Pendulum(
        300, size=20, clamp=False, noise=0.1, seed=seed
    ),
    "flow": lambda seed: Flow(300, size=20, noise=0.2, seed=seed),
    "thickness": lambda seed: ThicknessIntensity(300, seed=seed),
    "linear": lambda seed: LinearSCM("a -> b -> c; a -> c; d -> c -> e", num_data=300, seed=seed),
    "nonlinear": lambda seed: NonlinearSCM(
        random_dag(6, expected_degree=2, seed=3),
        num_data=300,
        seed=seed,
        observation_shape=(3, 4, 4),
    ),
    "published": lambda seed: published_scm("large_backdoor", "nonlinear", num_data=300, seed=seed),
}


INDEX = torch.tensor([7, 0, 299, 7, 120])


@pytest.fixture(params=CATALOGUE.values(), ids=list(CATALOGUE))
def make(request):
    return request.param


@pytest.fixture
def data(make):
    return make(0)


def middle(data, node):
    return data.values[:, data.names.index(node)].median().item()


def test_nodes_come_parents_first_and_are_the_factors(data):
    assert data.names == data.factor_names == tuple(nx.lexicographical_topological_sort(data.dag))
    assert data.values.shape == data.noise.shape == (300, len(data.names))
    assert data.values.dtype == torch.float32
    assert data.values.isfinite().all()


def test_no_intervention_gives_the_factual_values_bit_for_bit(data):
    assert torch.equal(data.intervene(INDEX, {}), data.values[INDEX])
    values, observations = data.counterfactual(INDEX, {})
    assert torch.equal(values, data.values[INDEX])
    assert torch.equal(observations, data.observations(INDEX))
    assert torch.equal(data.mechanisms(data.noise), data.values)


def test_setting_a_node_to_its_value_changes_nothing(data):
    for k, node in enumerate(data.names):
        inside = (
            data.values[:, k].clamp(*data.ranges.get(node, (-math.inf, math.inf)))
            == data.values[:, k]
        )
        index = torch.arange(300)[inside]
        assert torch.equal(data.intervene(index, {node: data.values[index, k]}), data.values[index])


def test_a_set_node_changes_only_its_descendants(data):
    for k, node in enumerate(data.names):
        value = middle(data, node)
        worlds = data.intervene(torch.arange(300), {node: value})
        assert (worlds[:, k] == torch.tensor(value)).all()
        changed = {
            data.names[i] for i in (worlds != data.values).any(0).nonzero().flatten().tolist()
        }
        assert changed == {node} | nx.descendants(data.dag, node)


def test_parents_that_are_held_screen_a_node_off(data):
    for node in data.names:
        held = {p: middle(data, p) for p in data.dag.predecessors(node)}
        others = {n: middle(data, n) for n in data.names if n != node}
        k = data.names.index(node)
        alone, among = data.intervene(INDEX, held), data.intervene(INDEX, others)
        assert torch.equal(alone[:, k], among[:, k])


def test_each_unit_has_its_own_value_and_nan_leaves_it_alone(data):
    for k, node in enumerate(data.names):
        value = torch.tensor([math.nan, middle(data, node), math.nan, math.nan, math.nan])
        worlds = data.intervene(INDEX, {node: value.numpy()})
        left, factual = worlds[[0, 2, 3, 4]], data.values[INDEX]
        assert torch.equal(left, factual[[0, 2, 3, 4]])
        assert worlds[1, k] == value[1]
        assert torch.equal(worlds[1:2], data.intervene(INDEX[1:2], {node: value[1]}))


def test_observations_are_a_function_of_the_values_alone(data):
    x = data.observations(INDEX)
    assert x.shape == (5, *data.observation_shape)
    assert torch.equal(x, data.render_values(data.values[INDEX]))
    assert torch.equal(x[0], x[3])
    values, rendered = data.counterfactual(INDEX, {data.names[0]: middle(data, data.names[0])})
    assert torch.equal(rendered, data.render_values(values))
    assert not torch.equal(rendered, x)
    batch, _ = next(iter(DataLoader(data, batch_size=4)))
    torch.testing.assert_close(batch, data.to_float(data.observations(torch.arange(4))))


def test_every_node_is_seen_in_the_observations(data):
    base = data.values.median(0).values
    for k in range(len(data.names)):
        moved = torch.stack([base, base])
        moved[1, k] += 2 * data.values[:, k].std()
        first, second = data.render_values(moved)
        assert not torch.equal(first, second)


def test_units_are_drawn_by_the_seed_alone(make):
    state = torch.get_rng_state()
    first, again, other = make(0), make(0), make(1)
    assert torch.equal(state, torch.get_rng_state())
    assert torch.equal(first.observations(INDEX), again.observations(INDEX))
    assert torch.equal(first.noise, again.noise)
    assert not torch.isclose(first.noise, other.noise).any(1).any()


def test_units_are_a_causal_data_set(data):
    part, do = data.units(INDEX), {data.names[0]: middle(data, data.names[0])}
    assert len(part) == 5
    assert torch.equal(part.observations(torch.arange(5)), data.observations(INDEX))
    assert torch.equal(part.intervene(torch.tensor([2]), do), data.intervene(INDEX[2:3], do))
    assert torch.equal(part.factors(torch.arange(5)), data.factors(INDEX))
    assert len(data) == 300


def test_results_are_on_the_device_of_the_index(data):
    index = torch.zeros(3, dtype=torch.int64, device="meta")
    assert data.observations(index).device.type == "meta"
    assert data.factors(index).device.type == "meta"
    assert data.intervene(index, {}).device.type == "meta"
    assert data.observations(index[:0]).shape == (0, *data.observation_shape)


def test_classes_divide_the_values_in_their_order(data):
    classes = data.factors(torch.arange(300))
    for k, (column, size, levels) in enumerate(
        zip(classes.T, data.factor_sizes, data.factor_values, strict=True)
    ):
        values = data.values[:, k]
        count = torch.bincount(column, minlength=size)
        assert len(count) == size == len(levels)
        assert (count > 0).all()
        order = values.argsort()
        assert (column[order].diff() >= 0).all()
        assert list(levels) == [values[column == c].median().item() for c in range(size)]
        if len(values.unique()) == 300:
            assert size == 20
            assert count.tolist() == [15] * 20


def test_few_distinct_values_are_the_classes():
    grid = Flow()
    assert grid.factor_values[0] == tuple(range(5, 35))
    assert torch.equal(
        grid.factors(torch.tensor([0, 8099]))[:, [0, 2]], torch.tensor([[0, 0], [29, 8]])
    )
    assert Pendulum().factor_values[1] == tuple(j for j in range(60, 148) if j != 100)


def test_values_that_were_cut_off_are_one_class():
    pendulum = Pendulum()
    length, classes = pendulum.values[:, 2], pendulum.factors(torch.arange(7308))[:, 2]
    assert torch.equal(classes == 0, length == 3)
    assert pendulum.factor_values[2][0] == 3


@pytest.mark.parametrize(
    ("do", "error", "message"),
    [
        (
            {"lihgt": 90},
            KeyError,
            r"no node named 'lihgt'; the graph has \['angle', .* did you mean 'light'\?",
        ),
        (
            {"light": torch.zeros(4) + 90},
            ValueError,
            r"do\('light'\): expected a number or 5 values, got shape \(4,\)",
        ),
        (
            {"light": 200},
            ValueError,
            r"do\('light'\): expected finite values in \[1, 199\], got 200",
        ),
        (
            {"shadow_length": [1.0, 2, 3, 4, -1]},
            ValueError,
            r"expected finite values in \[0, inf\], got -1",
        ),
        (
            {"angle": math.inf},
            ValueError,
            r"do\('angle'\): expected finite values in \[-inf, inf\], got inf",
        ),
    ],
)
def test_invalid_interventions_are_errors(do, error, message):
    with pytest.raises(error, match=message):
        Pendulum(300).intervene(INDEX, do)


class Pair(CausalDataset):
    """a -> b by a sum."""

    def __init__(self, **noise):
        super().__init__("a -> b", noise, name="pair", observation_shape=(2,))

    def mechanism(self, node, noise, parent_values):
        return noise + sum(parent_values.values())

    def render_values(self, values):
        return values


def test_two_methods_make_a_causal_data_set():
    pair = Pair(b=torch.tensor([1.0, 2.0, 3.0]), a=torch.tensor([10, 20, 30]))
    assert pair.values.tolist() == [[10, 11], [20, 22], [30, 33]]
    assert pair.intervene(torch.tensor([1]), {"a": 0}).tolist() == [[0, 2]]
    with pytest.raises(
        ValueError, match=r"expected noise of the nodes \['a', 'b'\], got noise of \['a'\]"
    ):
        Pair(a=torch.zeros(3))


def test_labels_are_standardised_values(data):
    values, known, mean, scale = data.labels()
    assert known.all()
    torch.testing.assert_close(values.mean(0), torch.zeros(len(data.names)), atol=1e-4, rtol=0)
    torch.testing.assert_close(values.std(0, correction=0), torch.ones(len(data.names)))
    torch.testing.assert_close(values * scale + mean, data.values)


def test_labels_are_known_of_a_fraction_of_the_units_and_measured_with_noise():
    data = Pendulum(4000)
    some, more = data.labels(fraction=0.1, seed=3), data.labels(fraction=0.3, seed=3)
    assert some.known.sum() == 400
    assert (more.known >= some.known).all()
    assert torch.equal(some.values.isnan(), ~some.known[:, None].expand(-1, 4))
    noisy, clean = data.labels(noise=0.5).values, data.labels().values
    error = noisy - clean
    assert abs(error.std() - 0.5) < 0.02
    assert abs(error.mean()) < 0.02
    assert torch.corrcoef(error.T).triu(1).abs().max() < 0.06
    assert not torch.equal(data.labels(fraction=0.1, seed=4).known, some.known)
    assert torch.equal(data.labels(noise=0.5).values, noisy)


def test_labels_take_centre_and_half_range_of_each_node():
    pendulum_scales = {
        "angle": (0, 44),
        "light": (100, 40),
        "shadow_length": (6.5, 3.5),
        "shadow_position": (10, 5),
    }
    flow_scales = {"ball": (20, 15), "height": (2, 2), "hole": (10.5, 4.5), "flow": (5.95, 2.65)}
    pendulum, flow = Pendulum(), Flow()
    angle, light, length, position = pendulum.values.unbind(1)
    expected = [angle / 44, (light - 100) / 40, (length - 6.5) / 3.5, (position - 10) / 5]
    torch.testing.assert_close(
        pendulum.labels(scales=pendulum_scales).values, torch.stack(expected, 1)
    )
    ball, height, hole, jet = flow.values.unbind(1)
    expected = [(ball - 20) / 15, (height - 2) / 2, (hole - 10.5) / 4.5, (10 * jet - 59.5) / 26.5]
    torch.testing.assert_close(flow.labels(scales=flow_scales).values, torch.stack(expected, 1))
    with pytest.raises(
        ValueError, match=r"expected scales of the nodes \['ball', .*, got scales of \['ball'\]"
    ):
        Flow().labels(scales={"ball": (0, 1)})
    with pytest.raises(ValueError, match="expected 0 <= fraction <= 1, got 2"):
        Flow().labels(fraction=2)


def test_a_constant_node_has_labels_of_zero():
    data = LinearSCM("a -> b", num_data=5, scales={"a": 0.0}, offsets={"a": 3.0})
    assert torch.equal(data.labels().values[:, 0], torch.zeros(5))


@pytest.mark.parametrize("name", ["pendulum", "flow", "thickness_intensity"])
def test_causal_data_are_loaded_by_name(name):
    assert load_data(name).name == name
