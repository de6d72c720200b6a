"""Data that know their causes: laws of all of them, and pendulum, flow and strokes against geometry and matplotlib."""

import math

import matplotlib.pyplot as plt
import networkx as nx
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.integrate import quad
from torch.distributions import (
    AffineTransform,
    Gamma,
    Normal,
    SigmoidTransform,
    TransformedDistribution,
)
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
from ppl_disentangle.data.drawn.strokes import BLACK, Canvas

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


def test_nothing_set_is_bitwise_the_factual_world(data):
    assert torch.equal(data.intervene(INDEX, {}), data.values[INDEX])
    values, observations = data.counterfactual(INDEX, {})
    assert torch.equal(values, data.values[INDEX])
    assert torch.equal(observations, data.observations(INDEX))
    assert torch.equal(data.mechanisms(data.noise), data.values)


def test_a_node_set_to_what_it_was_changes_nothing(data):
    for k, node in enumerate(data.names):
        inside = (
            data.values[:, k].clamp(*data.ranges.get(node, (-math.inf, math.inf)))
            == data.values[:, k]
        )
        index = torch.arange(300)[inside]
        assert torch.equal(data.intervene(index, {node: data.values[index, k]}), data.values[index])


def test_a_node_takes_its_value_and_only_what_descends_from_it_changes(data):
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


def test_units_are_a_causal_data_set_of_their_own(data):
    part, do = data.units(INDEX), {data.names[0]: middle(data, data.names[0])}
    assert len(part) == 5
    assert torch.equal(part.observations(torch.arange(5)), data.observations(INDEX))
    assert torch.equal(part.intervene(torch.tensor([2]), do), data.intervene(INDEX[2:3], do))
    assert torch.equal(part.factors(torch.arange(5)), data.factors(INDEX))
    assert len(data) == 300


def test_answers_are_on_the_device_of_the_index(data):
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


def test_what_was_cut_off_is_one_class():
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
def test_a_bad_intervention_is_told_so(do, error, message):
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


# angle ──► shadow_length
#       ╲ ╱
#       ╱ ╲
# light ──► shadow_position


def where_light_falls(x, y, light):
    """Where the ray through a point, at the angle of the light, meets the ground at -0.5: two points on a line."""
    step = np.array([math.cos(light), math.sin(light)])
    return x + (-0.5 - y) / step[1] * step[0]


def test_the_shadow_lies_where_the_light_casts_it():
    pendulum = Pendulum()
    for i in range(0, 7308, 101):
        angle, light, length, position = pendulum.values[i].tolist()
        theta, phi = angle * math.pi / 200, light * math.pi / 200
        start = where_light_falls(10, 10.5, phi)
        end = where_light_falls(10 + 9.5 * math.sin(theta), 10.5 - 9.5 * math.cos(theta), phi)
        assert length == pytest.approx(max(3, abs(start - end)), abs=1e-4)
        assert position == pytest.approx((start + end) / 2, abs=1e-4)


def linear_fit(predictors, outcome):
    """Share of the variance that a linear regression explains."""
    design = torch.cat([predictors, torch.ones(len(predictors), 1)], 1).double()
    residual = (
        outcome.double()
        - design @ torch.linalg.lstsq(design, outcome.double()[:, None]).solution[:, 0]
    )
    return 1 - (residual.var() / outcome.double().var()).item()


def test_the_published_pendulum_has_its_published_figures():
    pendulum = Pendulum()
    values = pendulum.values
    angle, light, length, position = values.unbind(1)
    assert len(pendulum) == 7308
    assert values[0, :2].tolist() == [-40, 60]
    assert values[1, :2].tolist() == [-40, 61]
    assert (length.min(), length.max()) == pytest.approx((3.00, 12.58), abs=0.005)
    assert (length.mean(), length.std()) == pytest.approx((4.97, 2.37), abs=0.005)
    assert (position.min(), position.max()) == pytest.approx((2.01, 19.61), abs=0.005)
    assert (position.mean(), position.std()) == pytest.approx((10.54, 3.43), abs=0.005)
    assert (length == 3).float().mean().item() == pytest.approx(0.396, abs=5e-4)
    leaves = (position - length / 2 < 0) | (position + length / 2 > 20)
    assert leaves.float().mean().item() == pytest.approx(0.016, abs=5e-4)
    assert linear_fit(values[:, :2], position) == pytest.approx(0.996, abs=5e-4)
    assert linear_fit(values[:, :2], length) == pytest.approx(0.017, abs=5e-4)
    training, test = pendulum.published_split()
    assert (len(training), len(test)) == (5482, 1826)
    assert torch.equal(torch.cat([training, test]).sort().values, torch.arange(7308))
    assert test[:3].tolist() == [4, 8, 12]


def test_a_shadow_keeps_its_noise_when_the_light_moves():
    noisy, clean = Pendulum(500, noise=0.5, seed=2), Pendulum(500, noise=0.0, seed=2)
    assert torch.equal(noisy.noise, clean.noise)
    everything = torch.arange(500)
    for do in ({}, {"light": 80.0}, {"angle": torch.linspace(-50, 50, 500)}):
        error = noisy.intervene(everything, do) - clean.intervene(everything, do)
        torch.testing.assert_close(error[:, 2:], 0.5 * noisy.noise[:, 2:], atol=1e-4, rtol=0)
    assert abs(noisy.noise[:, 2:].std() - 1) < 0.05
    assert abs(torch.corrcoef(noisy.noise[:, 2:].T)[0, 1]) < 0.15


def test_without_clamp_short_shadows_stay_short():
    free, clamped = Pendulum(1000, clamp=False).values, Pendulum(1000).values
    assert free[:, 2].min() < 0.1
    assert torch.equal(free[:, 2].clamp(min=3), clamped[:, 2])


def test_random_angles_fill_the_range_of_the_grid():
    angle, light = Pendulum(5000).values[:, :2].T
    assert -40 <= angle.min() < -39.5 < 42.5 < angle.max() <= 43
    assert 60 <= light.min() < 60.5 < 146.5 < light.max() <= 147
    assert abs(torch.corrcoef(torch.stack([angle, light]))[0, 1]) < 0.05


# ball ──► height ──► flow ◄── hole


def test_the_published_flow_has_its_published_figures():
    flow = Flow()
    ball, height, hole, jet = flow.values.unbind(1)
    assert len(flow) == 8100
    assert (ball[0], ball[-1], hole[0], hole[1]) == (5, 34, 6, 7)
    assert (height.min(), height.max()) == pytest.approx((1.005, 5.356), abs=5e-4)
    assert (jet.min(), jet.max()) == pytest.approx((1.72, 6.61), abs=0.005)
    assert linear_fit(ball[:, None], height) == pytest.approx(0.18, abs=0.03)
    assert linear_fit(torch.stack([height, hole], 1), jet) == pytest.approx(0.979, abs=5e-4)


def test_as_many_published_files_of_the_flow_collide():
    flow = Flow()
    names = torch.stack(
        [flow.values[:, 0], flow.values[:, 1], 10 * flow.values[:, 3], flow.values[:, 2]], 1
    ).trunc()
    training, test = (
        {tuple(row) for row in names[index].tolist()} for index in flow.published_split()
    )
    assert (len(training), len(test), len(training & test)) == (5254, 1620, 824)


def test_the_ball_acts_on_the_jet_through_the_height_only():
    flow, index = Flow(400, noise=0.3), torch.arange(400)
    bigger = flow.intervene(index, {"ball": 34.0})
    water = flow.values[:, 1] - (flow.values[:, 0] / 30) ** 3
    torch.testing.assert_close(bigger[:, 1], (34 / 30) ** 3 + water)
    held = flow.intervene(index, {"ball": 34.0, "height": flow.values[:, 1]})
    assert torch.equal(held[:, 3], flow.values[:, 3])
    torricelli = (2 * 0.98 * bigger[:, 1] * (bigger[:, 2] / 3 - 0.5)).sqrt()
    torch.testing.assert_close(bigger[:, 3], torricelli + 0.3 * flow.noise[:, 3])


def by_matplotlib(draw, values, *, snap):
    """The image that matplotlib makes of artists; ``snap`` moves upright and level edges to whole pixels."""
    figure = Figure((1, 1), dpi=96)
    axes = figure.add_subplot()
    axes.axis("off")
    draw(axes, *values)
    for artist in axes.get_children():
        artist.set_snap(snap)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].transpose(2, 0, 1) / 255


def draw_pendulum(axes, angle, light, length, position):
    theta, phi = angle * math.pi / 200, light * math.pi / 200
    bob = 10 + 8 * math.sin(theta), 10.5 - 8 * math.cos(theta)
    shadow = (position - length / 2, -0.5), (position + length / 2, -0.5)
    axes.add_artist(plt.Polygon(((10, 10.5), bob), color="black", linewidth=3))
    axes.add_artist(plt.Circle(bob, 1.5, color="firebrick"))
    axes.add_artist(plt.Circle((10 + 10 / math.tan(phi), 20.5), 3, color="orange"))
    axes.add_artist(plt.Polygon(shadow, color="black", linewidth=3))
    axes.set(xlim=(0, 20), ylim=(-1, 21))


def draw_flow(axes, ball, height, hole, jet):
    radius, hole = ball / 30, hole / 3
    axes.add_artist(plt.Rectangle((3, 0), 5, 5 + height, color="lightskyblue"))
    for line in ([(3, 0), (3, 19)], [(8, 0), (8, hole)], [(8, hole + 0.4), (8, 19)]):
        axes.add_artist(plt.Polygon(line, color="black", linewidth=2))
    axes.add_artist(plt.Circle((5.5, radius + 0.5), radius, color="firebrick"))
    y = np.linspace(hole, 0.5, 400)
    axes.plot(8 + jet * np.sqrt((hole - y) / (hole - 0.5)), y, color="lightskyblue", linewidth=2)
    axes.plot([0, 20], [0.2, 0.2], color="black", linewidth=2)
    axes.set(xlim=(0, 20), ylim=(0, 20))


WORLDS = {
    "pendulum": (Pendulum(size=96), draw_pendulum, {}),
    "light and shadow moved": (
        Pendulum(size=96),
        draw_pendulum,
        {"light": 120.0, "shadow_position": 17.0},
    ),
    "swung up": (Pendulum(size=96), draw_pendulum, {"angle": 130.0, "shadow_length": 0.5}),
    "flow": (Flow(size=96), draw_flow, {}),
    "high hole": (Flow(size=96), draw_flow, {"hole": 40.0, "height": 9.0}),
    "steep jet": (Flow(size=96), draw_flow, {"flow": 0.4, "ball": 60.0}),
}


@pytest.mark.parametrize(("data", "draw", "do"), WORLDS.values(), ids=list(WORLDS))
def test_images_are_those_of_matplotlib(data, draw, do):
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:6]
    values, images = data.counterfactual(index, do)
    expected = np.stack([by_matplotlib(draw, row, snap=False) for row in values.tolist()])
    error = np.abs(images.numpy() / 255 - expected)
    assert error.mean() < 3e-4
    assert error.max() < 0.25


@pytest.mark.parametrize(
    ("data", "draw", "allowed"),
    [WORLDS[n][:2] + (a,) for n, a in (("pendulum", 0.001), ("flow", 0.021))],
)
def test_published_images_differ_by_the_edges_that_matplotlib_moves(data, draw, allowed):
    index = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))[:12]
    expected = np.stack(
        [by_matplotlib(draw, row, snap=None) for row in data.values[index].tolist()]
    )
    assert 0 < np.abs(data.observations(index).numpy() / 255 - expected).mean() < allowed


@pytest.mark.parametrize("cls", [Pendulum, Flow])
def test_any_resolution_shows_the_same_scene(cls):
    large, small = (
        cls(40, size=size, seed=1).observations(torch.arange(40)).float() / 255 for size in (96, 32)
    )
    assert (torch.nn.functional.avg_pool2d(large, 3) - small).abs().mean() < 0.01


@pytest.mark.parametrize("cls", [Pendulum, Flow])
def test_the_fourth_channel_is_opaque(cls):
    plain, opaque = (cls(5, channels=c).observations(torch.arange(5)) for c in (3, 4))
    assert plain.shape == (5, 3, 64, 64)
    assert opaque.dtype == torch.uint8
    assert torch.equal(opaque[:, :3], plain)
    assert (opaque[:, 3] == 255).all()


def test_a_batch_is_drawn_as_its_parts():
    data = Pendulum(size=24)
    index = torch.arange(0, 7308, 50)
    assert torch.equal(
        data.observations(index), torch.cat([data.observations(i[None]) for i in index])
    )


def canvas(size=64, num=1):
    return Canvas(torch.zeros(num), size, x_limits=(0, 20), y_limits=(0, 22))


def ink(painted):
    """Painted area in units of data, from black on white."""
    x_unit, y_unit = painted.size * 0.775 / 20, painted.size * 0.77 / 22
    return (1 - painted.images()[:, 0].float() / 255).sum((1, 2)) / (x_unit * y_unit)


def test_a_line_covers_its_length_times_its_width():
    angle = torch.linspace(0, math.pi, 9)
    painted = canvas(200, 9)
    x_unit, y_unit = 200 * 0.775 / 20, 200 * 0.77 / 22
    painted.line(
        (10, 11), (10 + 6 * angle.cos() / x_unit * 10, 11 + 6 * angle.sin() / y_unit * 10), 3, BLACK
    )
    torch.testing.assert_close(
        ink(painted), torch.full((9,), 60 * 3 * 200 / 72 / (x_unit * y_unit)), rtol=0.01, atol=0
    )


@pytest.mark.parametrize("size", [12, 64])
def test_thin_and_short_lines_fade_with_their_area(size):
    y = torch.linspace(10, 12, 20)
    for length in (0.0, 0.3, 1.0):
        painted = canvas(size, 20)
        painted.line((10.3, y), (10.3 + length, y), 0.5, BLACK)
        expected = length * (0.5 * size / 72) / (size * 0.77 / 22)
        torch.testing.assert_close(ink(painted), torch.full((20,), expected), rtol=0.15, atol=0.002)


def test_a_disc_covers_its_ellipse_with_its_edge():
    radius = torch.tensor([0.5, 1.5, 4.0])
    painted = canvas(160, 3)
    painted.disc(10.2, 11.1, radius, BLACK)
    x_unit, y_unit, edge = 160 * 0.775 / 20, 160 * 0.77 / 22, 160 / 144
    expected = math.pi * (radius * x_unit + edge) * (radius * y_unit + edge) / (x_unit * y_unit)
    torch.testing.assert_close(ink(painted), expected, rtol=0.01, atol=0)


def test_the_very_centre_of_a_disc_is_covered():
    painted = Canvas(torch.zeros(1), 64, x_limits=(0, 49.6), y_limits=(0, 49.28))
    painted.disc(24.5, 24.46, 5, BLACK)  # the middle of a pixel
    assert painted.images()[0, 0, 32, 32] == 0


def test_the_nearest_point_of_a_jet_is_found():
    size = 40
    painted = canvas(size, 4)
    reach, top = torch.tensor([0.2, 2.0, 5.0, 9.0]), torch.tensor([20.0, 3.0, 12.0, 1.0])
    painted.parabola((8, top), (8 + reach, 0.5), 4, BLACK)
    s = torch.linspace(0, 1, 4001)
    for k in range(4):
        x = size * (0.125 + 0.775 * (8 + reach[k] * s) / 20)
        y = size * (0.89 - 0.77 * (top[k] - (top[k] - 0.5) * s**2) / 22)
        centres = torch.arange(size) + 0.5
        distance = (
            ((centres[:, None, None] - y).square() + (centres[None, :, None] - x).square())
            .sqrt()
            .min(-1)
            .values
        )
        away_from_ends = (torch.hypot(centres[None] - x[0], centres[:, None] - y[0]) > 3) & (
            torch.hypot(centres[None] - x[-1], centres[:, None] - y[-1]) > 3
        )
        box = (centres[:, None] >= size * 0.12) & (centres[:, None] <= size * 0.89)
        expected = (0.5 + 2 * size / 72 - distance).clamp(0, 1)
        seen = 1 - painted.images()[k, 0].float() / 255
        torch.testing.assert_close(
            seen[away_from_ends & box], expected[away_from_ends & box], atol=0.01, rtol=0
        )


# thickness ──► intensity


def test_log_densities_of_strokes_are_those_of_their_distributions():
    strokes = ThicknessIntensity(500)
    thickness, intensity = strokes.values.double().unbind(1)
    of_thickness = Gamma(torch.tensor(10.0, dtype=torch.float64), 5.0).log_prob(thickness - 0.5)
    conditional = TransformedDistribution(
        Normal(2 * thickness - 5, 0.5), [SigmoidTransform(), AffineTransform(64.0, 191.0)]
    )
    expected = torch.stack([of_thickness, conditional.log_prob(intensity)], 1)
    torch.testing.assert_close(strokes.log_prob(strokes.values.double()), expected)
    outside = strokes.log_prob(torch.tensor([[0.4, 60.0], [2.0, 300.0]]))
    assert (outside[:, 1] == -math.inf).all()
    assert outside[0, 0] == -math.inf


def test_expected_log_densities_of_strokes_are_their_integrals():
    strokes = ThicknessIntensity(10)

    def density(thickness, intensity):
        return strokes.log_prob(torch.tensor([[thickness, intensity]], dtype=torch.float64))[
            0
        ].tolist()

    def of_intensity(thickness):
        def integrand(u):  # substituting intensity = 64 + 191 / (1 + exp(-u))
            share = 1 / (1 + math.exp(-u))
            log_p = density(thickness, 64 + 191 * share)[1]
            return math.exp(log_p) * log_p * 191 * share * (1 - share)

        centre = 2 * thickness - 5
        return quad(integrand, centre - 4, centre + 4, limit=30, epsabs=1e-7)[0]

    nodes, weights = np.polynomial.legendre.leggauss(40)
    thickness = 0.5 + 3.5 * (nodes + 1)  # beyond 7.5, less than 1e-9 of the mass
    density_of_thickness = [math.exp(density(t, 100.0)[0]) for t in thickness]
    expected = 3.5 * sum(
        w * p * of_intensity(t)
        for w, p, t in zip(weights, density_of_thickness, thickness, strict=True)
    )
    entropy = 3.5 * sum(
        w * p * math.log(p) for w, p in zip(weights, density_of_thickness, strict=True)
    )
    assert strokes.expected_log_prob().tolist() == pytest.approx([entropy, expected], abs=2e-4)


def test_expected_log_densities_are_the_means_over_units_and_the_known_entropies():
    strokes = ThicknessIntensity(100_000)
    log_prob, expected = strokes.log_prob(strokes.values).double(), strokes.expected_log_prob()
    error = log_prob.std(0) / math.sqrt(len(strokes))
    assert ((log_prob.mean(0) - expected).abs() < 4 * error).all()
    assert expected.tolist() == pytest.approx([-0.9266, -4.204], abs=2e-4)
    # On the 10,000 published rows for testing, the mean of log p(i | t) is -4.1955, and of log p(t) -0.9268.
    published = torch.tensor([-0.9268, -4.1955], dtype=torch.float64)
    assert ((published - expected).abs() < 3 * log_prob.std(0) / 100).all()


def test_the_thickness_of_a_stroke_is_its_area_over_its_length():
    strokes, index = ThicknessIntensity(200), torch.arange(200)
    values, images = strokes.counterfactual(
        index, {"thickness": torch.linspace(0, 7, 200), "intensity": 200.0}
    )
    area = images.float().sum((1, 2, 3)) / 200
    torch.testing.assert_close(area / (2 * math.pi * 8), values[:, 0], atol=0.03, rtol=0.01)
    brightest = strokes.observations(index).flatten(1).amax(1)
    thick = strokes.values[:, 0] > 2
    assert (brightest[thick] - strokes.values[thick, 1]).abs().max() <= 0.5
