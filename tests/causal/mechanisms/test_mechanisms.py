"""Properties of all mechanisms: a catalogue of constructors, and each property once."""

import copy
import itertools
import math
import pickle

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import Independent, Normal
from scipy.stats import gumbel_r, kstest

from ppl_disentangle.causal.mechanisms import (
    AdditiveNoise,
    AffineMechanism,
    Categorical,
    GivenRoot,
    LinearGaussian,
    LocationScale,
    Mechanism,
    MonotoneSpline,
)
from ppl_disentangle.causal.mechanisms.spline import LinearRationalSpline

DOUBLE = {"dtype": torch.float64}
CONTINUOUS = {
    "linear": lambda: LinearGaussian(2, 3),
    "additive": lambda: AdditiveNoise(2, 3),
    "location-scale": lambda: LocationScale(2, 3),
    "spline": lambda: MonotoneSpline(2, 3),
    "linear root": lambda: LinearGaussian(2),
    "additive root": lambda: AdditiveNoise(2),
    "location-scale root": lambda: LocationScale(2),
    "spline root": lambda: MonotoneSpline(2),
    "given root": lambda: GivenRoot(
        dist.Laplace(torch.tensor([0.5, -1.0]), torch.tensor([1.0, 2.0])).to_event(1)
    ),
}
DISCRETE = {"categorical": lambda: Categorical(3, 3), "categorical root": lambda: Categorical(3)}
MECHANISMS = CONTINUOUS | DISCRETE
LEARNED = {name: make for name, make in MECHANISMS.items() if name != "given root"}
WITH_PARENTS = {name: make for name, make in MECHANISMS.items() if "root" not in name}


def away_from_the_start(make, sharpness=0.2):
    mechanism = make()
    with torch.no_grad():
        for p in mechanism.parameters():
            p.add_(sharpness * torch.randn_like(p))
    return mechanism


def over(catalogue):
    return pytest.mark.parametrize(
        "mechanism", catalogue.values(), ids=list(catalogue), indirect=True
    )


@pytest.fixture
def mechanism(request):
    return away_from_the_start(request.param)


def some(mechanism, *shape, **options):
    """Noise and parents."""
    noise = mechanism.base().expand(shape).sample()
    return noise.to(**options), torch.randn(*shape, mechanism.parent_dim, **options)


def jacobian_of(mechanism, noise, parents):
    """log |d value / d noise| by automatic differentiation, row by row."""
    rows = [
        torch.autograd.functional.jacobian(lambda e, above=above: mechanism(e, above), row)
        for row, above in zip(noise, parents, strict=True)
    ]
    return torch.stack(rows).det().abs().log()


@over(MECHANISMS)
def test_the_noise_that_is_abducted_gives_the_value(mechanism):
    noise, parents = some(mechanism, 5000)
    far = (
        30 * noise
        if isinstance(mechanism.base(), Independent) and mechanism.base().has_rsample
        else noise
    )
    for e in (noise, far):
        value = mechanism(e, parents)
        again = mechanism(mechanism.abduct(value, parents), parents)
        assert ((again - value).abs() < 1e-5 * value.abs().clamp(min=1)).all()
    mechanism, value, parents = (
        mechanism.double(),
        mechanism.double()(noise.double(), parents.double()),
        parents.double(),
    )
    again = mechanism(mechanism.abduct(value, parents), parents)
    assert again.dtype == value.dtype == torch.float64
    assert (again - value).abs().max() < 1e-10


@over(CONTINUOUS)
def test_the_density_is_that_of_the_noise_by_the_change_of_variables(mechanism):
    mechanism = mechanism.double()
    noise, parents = some(mechanism, 6, **DOUBLE)
    expected = mechanism.base().log_prob(noise) - jacobian_of(mechanism, noise, parents)
    torch.testing.assert_close(
        mechanism.conditional(parents).log_prob(mechanism(noise, parents)), expected
    )


@over(CONTINUOUS)
def test_the_posterior_of_the_noise_is_that_of_the_value_by_the_change_of_variables(mechanism):
    mechanism = mechanism.double()
    noise, parents = some(mechanism, 6, **DOUBLE)
    for distribution in (dist.Normal, dist.Laplace):
        posterior = distribution(
            torch.randn(6, 2, **DOUBLE), torch.rand(6, 2, **DOUBLE) + 0.5
        ).to_event(1)
        pulled = mechanism.pull_back(posterior, parents)
        expected = posterior.log_prob(mechanism(noise, parents)) + jacobian_of(
            mechanism, noise, parents
        )
        torch.testing.assert_close(pulled.log_prob(noise), expected)
        assert pulled.has_rsample
    is_affine = not isinstance(mechanism, MonotoneSpline | GivenRoot)
    pulled = mechanism.pull_back(dist.Normal(torch.zeros(6, 2), 1.0).to_event(1), parents)
    assert (
        isinstance(pulled, Independent) and isinstance(pulled.base_dist, Normal)
    ) or not is_affine


@over(CONTINUOUS)
def test_draws_follow_the_density(mechanism):
    parents, n = torch.randn(mechanism.parent_dim), 3000
    draws = mechanism(mechanism.base().expand([n]).sample(), parents).detach()
    low, high = draws.min().item() - 1, draws.max().item() + 1
    grid = torch.linspace(low, high, 20_001)
    typical = draws.median(0).values
    for i in range(mechanism.dim):
        points = typical.repeat(len(grid), 1)
        points[:, i] = grid  # coordinates are independent given the parents
        density = mechanism.conditional(parents).log_prob(points).detach().exp()
        mass = torch.cumulative_trapezoid(density, grid)
        cdf = torch.cat([torch.zeros(1), mass]) / mass[-1]
        steps = (draws[:, i] - low) / (grid[1] - grid[0])
        assert kstest(cdf[steps.long()].numpy(), "uniform").pvalue > 1e-3


@over(DISCRETE)
def test_classes_are_as_frequent_as_their_conditional_says(mechanism):
    parents, n = torch.randn(mechanism.parent_dim), 20_000
    frequencies = mechanism(mechanism.base().expand([n]).sample(), parents).mean(0)
    probabilities = mechanism.conditional(parents).probs.detach()
    assert (
        (frequencies - probabilities).abs() < 4 * (probabilities * (1 - probabilities) / n).sqrt()
    ).all()


@over(CONTINUOUS)
def test_values_of_noise_pulled_back_follow_the_posterior(mechanism):
    parents, n = torch.randn(mechanism.parent_dim), 3000
    posterior = dist.Normal(torch.tensor([0.3, -1.0]), torch.tensor([0.5, 2.0]))
    noise = mechanism.pull_back(posterior.to_event(1), parents).expand([n]).sample()
    for uniform in posterior.cdf(mechanism(noise, parents)).detach().T:
        assert kstest(uniform.numpy(), "uniform").pvalue > 1e-3


@over(LEARNED)
def test_likelihood_moves_every_parameter(mechanism):
    noise, parents = some(mechanism, 200)
    value = mechanism(noise, parents).detach().flip(0)
    before = {k: p.detach().clone() for k, p in mechanism.named_parameters()}
    optimizer = torch.optim.Adam(mechanism.parameters(), lr=1e-2)
    for _ in range(2):
        optimizer.zero_grad()
        (-mechanism.conditional(parents).log_prob(value).mean()).backward()
        optimizer.step()
    assert all(
        torch.isfinite(p).all() and (p != before[k]).all() for k, p in mechanism.named_parameters()
    )


@over(WITH_PARENTS)
def test_worlds_of_noise_and_of_parents_broadcast(mechanism):
    (noise, parents), (e, other) = some(mechanism, 5), some(mechanism, 3, 1)
    for rows, above in (
        (e, parents),
        (noise, other),
        (noise, parents.expand(3, 5, 3)),
        (e.expand(3, 5, -1), parents),
    ):
        value = mechanism(rows, above)
        assert value.shape == (3, 5, mechanism.dim)
        looped = [
            mechanism(a, b)
            for a, b in zip(
                rows.expand(3, 5, -1).flatten(0, 1),
                above.expand(3, 5, 3).flatten(0, 1),
                strict=True,
            )
        ]
        torch.testing.assert_close(value.flatten(0, 1), torch.stack(looped))
        again = mechanism(mechanism.abduct(value, above), above)
        torch.testing.assert_close(again, value, rtol=0, atol=1e-5)
        assert mechanism.abduct(value[:, :1], above).shape[:-1] == torch.broadcast_shapes(
            (3, 1), above.shape[:-1]
        )
        assert mechanism.conditional(above).log_prob(value).shape == (3, 5)


@over({name: make for name, make in WITH_PARENTS.items() if name in CONTINUOUS})
def test_gradients_of_value_and_noise_equal_finite_differences(mechanism):
    mechanism = mechanism.double()
    noise, parents = some(mechanism, 4, **DOUBLE)
    assert torch.autograd.gradcheck(mechanism, (noise.requires_grad_(), parents.requires_grad_()))
    value = mechanism(noise, parents).detach().requires_grad_()
    assert torch.autograd.gradcheck(mechanism.abduct, (value, parents))
    assert torch.autograd.gradcheck(
        lambda v, pa: mechanism.conditional(pa).log_prob(v), (value, parents)
    )


@over(MECHANISMS)
def test_a_state_dict_restores_a_mechanism_and_copies_are_equal(mechanism, request):
    noise, parents = some(mechanism, 20)
    other = away_from_the_start(request.node.callspec.params["mechanism"])
    other.load_state_dict(mechanism.state_dict())
    for twin in (other, copy.deepcopy(mechanism), pickle.loads(pickle.dumps(mechanism))):
        assert torch.equal(twin(noise, parents), mechanism(noise, parents))


@over(MECHANISMS)
def test_a_mechanism_moves_as_a_whole(mechanism):
    pyro.enable_validation(False)
    mechanism = mechanism.to("meta", torch.float64)
    assert {p.device.type for p in mechanism.parameters()} <= {"meta"}
    noise = mechanism.base().sample()
    assert noise.is_meta
    parents = torch.zeros(5, mechanism.parent_dim, device="meta", **DOUBLE)
    value = mechanism(noise.expand(5, -1), parents)
    again = mechanism.abduct(value, parents)
    for tensor in (noise, value, again):
        assert (tensor.device.type, tensor.dtype) == ("meta", torch.float64)


@over(WITH_PARENTS)
def test_autocast_to_bfloat16_leaves_a_mechanism_as_it_is(mechanism):
    noise, parents = mechanism.base().sample((50,)), torch.randn(50, mechanism.parent_dim)
    expected = mechanism(noise, parents)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mechanism(noise, parents)
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


@over(MECHANISMS)
def test_event_shapes_are_those_that_the_base_class_states(mechanism: Mechanism):
    noise, parents = some(mechanism, 5)
    assert mechanism.base().event_shape == noise.shape[1:] == (mechanism.noise_dim,)
    assert (
        mechanism(noise, parents).shape[1:]
        == mechanism.conditional(parents).event_shape
        == (mechanism.dim,)
    )


class SharedScale(AffineMechanism):
    """One location and one scale, without dimensions, for all coordinates."""

    def loc_and_scale(self, parents):
        return parents.new_tensor(1.0), parents.new_tensor(3.0)


def test_a_scale_that_coordinates_share_counts_once_for_each():
    mechanism, noise, parents = SharedScale(4, 2), torch.randn(5, 4), torch.randn(5, 2)
    transform = mechanism.transform(parents)
    value = transform(noise)
    torch.testing.assert_close(
        transform.log_abs_det_jacobian(noise, value), torch.full((5,), 4 * math.log(3.0))
    )
    torch.testing.assert_close(
        mechanism.conditional(parents).log_prob(value), dist.Normal(1, 3).log_prob(value).sum(-1)
    )


def test_a_mechanism_has_at_least_one_coordinate():
    with pytest.raises(ValueError, match="dim >= 1 and parent_dim >= 0, got 0 and 2"):
        LinearGaussian(0, 2)
    with pytest.raises(ValueError, match="dim >= 1 and parent_dim >= 0, got 1 and -1"):
        LinearGaussian(1, -1)


# splines


def sharp_spline(sharpness, **options):
    mechanism = away_from_the_start(lambda: MonotoneSpline(4, 3, **options), sharpness)
    with torch.no_grad():
        last, size = mechanism.net[-1], mechanism.bias.shape[1]
        for kept in (
            last.weight[0::size],
            last.weight[1::size],
            last.bias[0::size],
            last.bias[1::size],
        ):
            kept.zero_()  # location and scale
        mechanism.bias[:, :2] = torch.tensor([1.0, 0.0])
    return mechanism


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 10.0, 100.0])
def test_single_precision_inverts_a_spline_at_its_edges_and_far_out_however_sharp_it_is(sharpness):
    mechanism = sharp_spline(sharpness)
    parents = torch.randn(4000, 3)
    affine, spline = mechanism.transform(parents).parts[::-1]
    knots = affine(spline.base_transform.y.movedim(-1, 0)).detach()
    edges = [
        k for knot in knots for k in (knot, knot.nextafter(knot + 1), knot.nextafter(knot - 1))
    ]
    for value in (*edges, *(scale * torch.randn(4000, 4) for scale in (1e-3, 1.0, 1e2, 1e6))):
        again = mechanism(mechanism.abduct(value, parents), parents)
        assert ((again - value).abs() < 1e-5 * value.abs().clamp(min=1)).all()


def test_a_spline_is_a_rational_quadratic_one():
    widths, slopes = (
        0.2 + torch.rand(5, **DOUBLE),
        torch.tensor([1.0, 0.2, 6.0, 0.1, 3.0, 1.0], **DOUBLE),
    )
    heights = widths * (slopes[1:] * slopes[:-1]).sqrt()
    spline = LinearRationalSpline(widths, slopes[1:-1])
    left, low = -widths.sum() / 2, -heights.sum() / 2
    for k in range(5):
        for xi in torch.linspace(0.01, 0.99, 7, **DOUBLE):
            d0, d1, s = slopes[k], slopes[k + 1], heights[k] / widths[k]
            bottom = s + (d1 + d0 - 2 * s) * xi * (1 - xi)
            y = low + heights[k] * (s * xi**2 + d0 * xi * (1 - xi)) / bottom
            slope = s**2 * (d1 * xi**2 + 2 * s * xi * (1 - xi) + d0 * (1 - xi) ** 2) / bottom**2
            x = left + widths[k] * xi
            torch.testing.assert_close(spline(x), y)
            torch.testing.assert_close(spline.log_abs_det_jacobian(x, y), slope.log())
        left, low = left + widths[k], low + heights[k]


def test_slopes_are_continuous_and_bounded_and_tails_are_straight():
    mechanism = sharp_spline(20.0, bound=2.0, max_slope=5.0).double()
    spline = mechanism.transform(torch.randn(3, **DOUBLE)).parts[0].base_transform
    x = torch.linspace(-4, 4, 4001, **DOUBLE)[:, None].expand(-1, 4)
    slopes = spline.log_abs_det_jacobian(x, spline(x)).exp()
    assert slopes.min() >= 1 / 5 - 1e-12
    assert slopes.max() <= 5 + 1e-12
    assert slopes.max() > 4.9
    outside = x.abs() > 2
    torch.testing.assert_close(
        slopes[outside], torch.ones_like(slopes[outside]), rtol=0, atol=1e-12
    )
    assert (spline(x).diff(dim=0) > 0).all()
    for knot in spline.x.T[1:-1]:
        around = torch.stack([knot - 1e-9, knot + 1e-9])
        left, right = spline.log_abs_det_jacobian(around, spline(around))
        torch.testing.assert_close(left, right, rtol=0, atol=1e-5)


def test_a_spline_with_zero_parameters_is_the_identity():
    mechanism, noise = MonotoneSpline(2), 3 * torch.randn(100, 2)
    torch.testing.assert_close(mechanism(noise, torch.zeros(0)), noise)


def test_a_spline_learns_two_humps():
    mechanism = MonotoneSpline()
    signs = torch.randint(2, (2000, 1)) * 2.0 - 1
    value = 2 * signs + 0.4 * torch.randn(2000, 1)
    entropy = 0.5 * math.log(2 * math.pi * math.e * 0.4**2) + math.log(2)
    optimizer = torch.optim.Adam(mechanism.parameters(), lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss = -mechanism.conditional(torch.zeros(0)).log_prob(value).mean()
        loss.backward()
        optimizer.step()
    assert entropy - 0.05 < loss.item() < entropy + 0.1
    assert -dist.Normal(0, value.std()).log_prob(value).mean() > entropy + 0.5


def test_a_spline_says_what_it_expects():
    for options in ({"bins": 1}, {"bound": 0.0}, {"max_slope": 1.0}):
        with pytest.raises(ValueError, match="expected bins >= 2, bound > 0 and max_slope > 1"):
            MonotoneSpline(**options)


# classes


def class_given(logits):
    mechanism = Categorical(len(logits))
    with torch.no_grad():
        mechanism.bias.copy_(torch.as_tensor(logits))
    return mechanism


ROOT = torch.zeros(0)


def test_noise_given_a_class_is_noise_that_gave_it():
    mechanism, n = class_given([0.5, -1.0, 1.0]), 100_000
    noise = mechanism.base().expand([n]).sample()
    classes = mechanism(noise, ROOT).argmax(-1)
    for k in range(3):
        kept = noise[classes == k]
        value = torch.eye(3)[k].expand(len(kept), 3)
        drawn = mechanism.abduct(value, ROOT).detach()
        for a, b in zip(kept.T, drawn.T, strict=True):
            assert kstest(a.numpy(), b.numpy()).pvalue > 1e-3
        products = [(e[:, [0, 0, 1]] * e[:, [1, 2, 2]]) for e in (kept, drawn)]
        error = (sum(p.var(0) for p in products) / len(kept)).sqrt()
        assert ((products[0].mean(0) - products[1].mean(0)).abs() < 4 * error).all()


def test_noise_over_all_classes_is_gumbel_again():
    mechanism = away_from_the_start(lambda: Categorical(4, 2))
    parents = torch.randn(20_000, 2)
    noise = mechanism.abduct(mechanism.conditional(parents).sample(), parents).detach()
    for coordinate in noise.T:
        assert kstest(coordinate.numpy(), gumbel_r.cdf).pvalue > 1e-3
    assert (noise.T.corrcoef() - torch.eye(4)).abs().max() < 4 / len(noise) ** 0.5


@pytest.mark.parametrize("size", [1.0, 1e2, 1e4, 1e6])
def test_even_classes_that_are_all_but_impossible_are_given_back(size):
    logits = size * torch.randn(100_000, 3)
    mechanism = Categorical(3, 3)
    mechanism.net = torch.nn.Identity()
    value = torch.nn.functional.one_hot(torch.randint(3, (100_000,)), 3).float()
    assert torch.equal(mechanism(mechanism.abduct(value, logits), logits), value)


def test_ties_of_rounding_do_not_change_the_class():
    logits = torch.tensor([0.0, 0.0]).expand(2_000_000, 2)
    mechanism = Categorical(2, 2)
    mechanism.net = torch.nn.Identity()
    value = torch.tensor([0.0, 1.0]).expand(2_000_000, 2)
    torch.manual_seed(0)
    assert torch.equal(mechanism(mechanism.abduct(value, logits), logits), value)


def test_a_unit_leaves_its_class_only_for_one_that_gained_more():
    #  dose -> outcome
    mechanism = away_from_the_start(lambda: Categorical(4, 2), 1.0)
    dose, other = torch.randn(20_000, 2), torch.randn(20_000, 2)
    outcome = mechanism.conditional(dose).sample()
    changed = mechanism(mechanism.abduct(outcome, dose), other)
    gain = mechanism.conditional(other).logits - mechanism.conditional(dose).logits
    before, after = ((gain * z).sum(-1) for z in (outcome, changed))
    moved = (outcome != changed).any(-1)
    assert 0.1 < moved.float().mean() < 0.9
    assert (after[moved] > before[moved]).all()


def test_the_counterfactual_of_two_classes_is_monotone():
    mechanism, n = Categorical(2, 2), 20_000
    mechanism.net = torch.nn.Identity()
    for p, q in itertools.permutations((0.2, 0.5, 0.9), 2):
        factual, other = (torch.tensor([1 - r, r]).log() for r in (p, q))
        noise = mechanism.abduct(torch.tensor([1.0, 0.0]).expand(n, 2), factual)
        frequency = mechanism(noise, other)[:, 1].mean().item()
        expected = max(0.0, q - p) / (1 - p)
        assert frequency == pytest.approx(
            expected, abs=4 * math.sqrt(expected * (1 - expected) / n)
        )


def test_a_class_is_a_one_hot_row():
    mechanism = Categorical(3)
    for value in (torch.eye(3), torch.tensor([0.0, 0.0, 1.0])):
        mechanism.check("weather", value)
    for value, got in (
        (torch.tensor(1.5), "1.5"),
        (torch.tensor(2.0), "2.0"),
        (torch.tensor([0.5, 0.5, 0.0]), r"\[0.5, 0.5, 0.0\]"),
        (torch.tensor([1.0, 1.0, 0.0]), r"\[1.0, 1.0, 0.0\]"),
        (torch.zeros(3), r"\[0.0, 0.0, 0.0\]"),
        (torch.eye(4), r"shape \(4, 4\)"),
    ):
        with pytest.raises(
            ValueError, match=rf"'weather' is one of 3 classes: .*\[0.0, 0.0, 1.0\], got {got}"
        ):
            mechanism.check("weather", value)


def test_classes_say_what_they_cannot_do():
    with pytest.raises(ValueError, match=r"dim >= 2, the number of classes, got 1: pass dims="):
        Categorical(1, 2)
    with pytest.raises(
        NotImplementedError,
        match="posterior over 3 classes does not determine .* pass the node as observed",
    ):
        Categorical(3).pull_back(dist.Normal(torch.zeros(3), 1.0).to_event(1), ROOT)


# given roots


GIVEN = {
    "a number": lambda: dist.Uniform(-1.0, 2.0),
    "coordinates": lambda: dist.MultivariateNormal(torch.zeros(3), torch.eye(3) + 0.5),
    "transformed": lambda: dist.LogNormal(torch.zeros(2), 1.0).to_event(1),
    "a mixture": lambda: dist.MixtureSameFamily(
        dist.Categorical(torch.ones(2)), dist.Normal(torch.tensor([-1.0, 1.0]), 0.1)
    ),
    "counts": lambda: dist.Poisson(3.0),
}


@pytest.mark.parametrize("make", GIVEN.values(), ids=list(GIVEN))
def test_a_given_root_has_the_given_distribution_in_any_precision(make):
    given, root = make(), GivenRoot(make())
    value = given.sample((7,))
    columns = value if given.event_shape else value[:, None]
    torch.testing.assert_close(root.conditional(ROOT).log_prob(columns), given.log_prob(value))
    assert root.double().base().sample().dtype == torch.float64
    torch.testing.assert_close(
        root.base().log_prob(columns.double()).float(), given.log_prob(value)
    )
    pyro.enable_validation(False)
    assert root.to("meta").base().sample().is_meta
    assert make().sample().device.type == "cpu"


def test_moving_a_given_root_leaves_the_given_distribution_alone():
    pyro.enable_validation(False)
    given = dist.Normal(torch.zeros(2), torch.ones(2)).to_event(1)
    GivenRoot(given).to("meta")
    assert given.sample().device.type == "cpu"


def test_a_given_root_says_what_it_expects():
    for distribution in (
        dist.Normal(torch.zeros(5), 1.0),
        dist.Normal(torch.zeros(5, 2), 1.0).to_event(2),
    ):
        with pytest.raises(
            ValueError, match=r"event shape \(\) or \(dim,\) without batch dimensions"
        ):
            GivenRoot(distribution)
    GivenRoot(dist.Uniform(0.0, 1.0)).check("angle", torch.tensor(5.0))
    GivenRoot(dist.Bernoulli(0.5)).check("smoker", torch.tensor([[0.0], [1.0]]))
    with pytest.raises(ValueError, match="node 'smoker' has values in .*, got 1.5"):
        GivenRoot(dist.Bernoulli(0.5)).check("smoker", torch.tensor(1.5))
