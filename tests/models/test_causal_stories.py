"""Counterfactuals of every causal story with every mechanism; exact densities; bad input."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn
from torch.distributions.transforms import AffineTransform, ComposeTransform, SigmoidTransform

from ppl_disentangle import do
from ppl_disentangle.causal.actions import shift
from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.mechanisms import (
    AdditiveNoise,
    Categorical,
    GivenRoot,
    LinearGaussian,
    LocationScale,
    MonotoneSpline,
)
from ppl_disentangle.causal.shared_noise import transport
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import ThicknessIntensity
from ppl_disentangle.models import DEAR, IVAE, CausalVAE, CausalVAEPaper, DeepSCM, StructuralIVAE
from ppl_disentangle.models.dear import PiecewiseLinear
from ppl_disentangle.models.deep_scm import RescaledMechanism

# a -> b -> d,  a -> c -> d,  e
DIAMOND, NODES, BATCH, FEATURES = "a -> b -> d; a -> c -> d; e", "abcde", 20, 12
UNMOVED = {"a": "e", "b": "ace", "c": "abe", "d": "abce", "e": "abcd"}
MECHANISMS = {
    "linear": LinearGaussian,
    "additive": AdditiveNoise,
    "location-scale": LocationScale,
    "spline": MonotoneSpline,
    "given root": {"a": GivenRoot(dist.Laplace(0.5, 2.0))},
}


def networks(inputs, latents=5):
    return Gaussian(nn.Linear(FEATURES, 2 * latents)), GaussianLearnedScale(
        nn.Sequential(nn.Linear(inputs, 16), nn.Tanh(), nn.Linear(16, FEATURES)), scale=0.5
    )


def structural(story, **options):
    return {
        name: lambda mechanism=mechanism: story(
            StructuralPrior(DIAMOND, mechanism), *networks(5), **options
        )
        for name, mechanism in MECHANISMS.items()
    }


def by_story(stories):
    return {
        f"{story}, {name}": make for story, named in stories.items() for name, make in named.items()
    }


CLASSES = {"b": Categorical}
STORIES = by_story(
    {
        "CausalVAE": structural(CausalVAE),
        "CausalVAE of noise": structural(CausalVAE, posterior="noise"),
        "StructuralIVAE": {
            name: lambda mechanism=mechanism: StructuralIVAE(
                StructuralPrior(DIAMOND, mechanism), *networks(5), Gaussian(nn.Linear(3, 10)), 3
            )
            for name, mechanism in MECHANISMS.items()
        },
        "DEAR": {"post-nonlinear": lambda: DEAR(DIAMOND, *networks(5))},
        "CausalVAEPaper": {"mask layer": lambda: CausalVAEPaper(DIAMOND, *networks(5), dim=1)},
        "DeepSCM": {
            name: lambda mechanism=mechanism: DeepSCM(
                StructuralPrior(DIAMOND, mechanism), *networks(7, 2), 2
            )
            for name, mechanism in MECHANISMS.items()
        }
        | {
            "classes": lambda: DeepSCM(
                StructuralPrior(DIAMOND, CLASSES, dims={"b": 3}), *networks(9, 2), 2
            ),
            "half measured": lambda: DeepSCM(
                StructuralPrior(DIAMOND, LocationScale), *networks(7, 5), 2, observed=["a", "d"]
            ),
        },
    }
)


@pytest.fixture(params=STORIES.values(), ids=list(STORIES))
def story(request):
    torch.manual_seed(0)
    story = request.param()
    with torch.no_grad():
        for parameter in story.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return story


@pytest.fixture
def x():
    return torch.randn(BATCH, FEATURES, generator=torch.Generator().manual_seed(1))


def conditions_of(story):
    """The conditions that guide and model take with the data."""
    if not isinstance(story, DeepSCM):
        return {}
    with torch.no_grad(), pyro.plate("units", BATCH):
        return {"labels": story.prior.side_by_side(story.prior())}


def tensors(result, world, names):
    """Values of one world, one draw: ``(batch, dim)`` each."""
    values = {name: torch.from_numpy(result[name].values[world, 0]) for name in names}
    return {name: value[:, None] if value.dim() == 1 else value for name, value in values.items()}


def close(actual, expected, tolerance=1e-5):
    return ((actual - expected).abs() <= tolerance * expected.abs().clamp(min=1)).all()


def test_doing_nothing_is_the_unit_itself_bit_by_bit(story, x):
    conditions = conditions_of(story)
    result = counterfactual(
        story, x, [{}, {"a": shift(0.0)}, {"c": shift(0.0), "e": shift(0.0)}], **conditions
    )
    for node in NODES:
        assert (result[node].values == result[node].values[0]).all()
    assert np.array_equal(result["x"].values[0], np.broadcast_to(x, result["x"].shape[1:]))
    assert (result["x"].values == result["x"].values[0]).all()
    for node in getattr(story, "observed", ()):
        expected = story.prior.split(conditions["labels"])[node]
        assert torch.equal(tensors(result, 0, [node])[node], expected)


@pytest.mark.parametrize("node", "acde")
def test_nodes_that_do_not_descend_from_a_node_are_equal_bit_for_bit(story, x, node):
    result = counterfactual(story, x, [{}, {node: 1.25}], num_samples=4, **conditions_of(story))
    assert (result[node].values[1] == 1.25).all()
    for other in NODES:
        values = result[other].values
        if other in UNMOVED[node]:
            assert np.array_equal(values[1], values[0]), other
    for child in {"a": "c", "c": "d"}.get(node, ""):
        assert (result[child].values[1] != result[child].values[0]).any()
    assert (result["x"].values[1] != result["x"].values[0]).any()


@pytest.mark.parametrize("node", "acd")
def test_an_intervention_that_is_taken_back_returns_to_the_unit(story, x, node):
    conditions = conditions_of(story)
    there = counterfactual(story, x, [{}, {node: shift(0.5)}], num_samples=1, **conditions)
    factual, changed = (tensors(there, world, NODES) for world in (0, 1))
    known = {
        name: torch.from_numpy(there[name].values[1, 0]) for name in ("z", "noise") if name in there
    }
    if isinstance(story, CausalVAEPaper):
        stacked = torch.cat([changed[n] for n in story.names], -1)[..., None]
        with torch.no_grad():
            noise = [changed[n] - story.restated(n, stacked) for n in story.names]
        known["noise"] = torch.cat(noise, -1)
    elif isinstance(story, DeepSCM):
        conditions = {"labels": story.prior.side_by_side(changed)}
        with torch.no_grad():
            noise = story.prior.noise_of(changed)
        known |= {f"{n}_noise": noise[n] for n in story.hidden}
    else:
        known |= changed
    image = torch.from_numpy(there["x"].values[1, 0])
    back = counterfactual(
        story, image, {node: factual[node]}, num_samples=1, evidence=known, **conditions
    )
    drawn = (
        set("bd") if classes(story) and node == "a" else set()
    )  # noise of a class is drawn: other ways lead back
    for name, value in tensors(back, 0, sorted(set(NODES) - drawn)).items():
        assert close(value, factual[name], 5e-5), (
            name
        )  # there and back through the inverse of a steep spline
    assert drawn or close(torch.from_numpy(back["x"].values[0, 0]), x, 5e-5)


def classes(story):
    return (
        [n for n, m in story.prior.named_mechanisms() if isinstance(m, Categorical)]
        if hasattr(story, "prior")
        else []
    )


def test_a_measured_class_would_have_been_another_as_often_as_its_law_says():
    logits = torch.tensor([[0.0, 1.0, -1.0], [1.0, 0.0, 0.5]])[:, None].expand(2, 20_000, 3)
    value = dist.OneHotCategorical(logits=logits[0]).sample()
    factual, moved = transport(dist.OneHotCategorical(logits=logits), value, 1)
    assert torch.equal(factual, value)
    assert ((moved.mean(0) - logits[1, 0].softmax(-1)).abs() < 4 * 0.5 / 20_000**0.5).all()
    changed = (moved.argmax(-1) != value.argmax(-1)) & (
        value[:, 2] == 1
    )  # its odds rose more than all others
    assert not changed.any()


# DEAR


def test_a_piecewise_linear_function_is_inverted_and_knows_its_slope():
    function = PiecewiseLinear(
        torch.linspace(-3, 3, 9), torch.rand(10, generator=torch.Generator().manual_seed(0)) + 0.1
    )
    x = (5 * torch.randn(200, dtype=torch.float64)).requires_grad_()
    function = PiecewiseLinear(function.knots.double(), function.slopes.double())
    y = function(x)
    torch.testing.assert_close(function.inv(y), x)
    (slopes,) = torch.autograd.grad(y.sum(), x)
    torch.testing.assert_close(function.log_abs_det_jacobian(x, y), slopes.log())
    assert (y.sort().indices == x.sort().indices).all()


# DeepSCM


def strokes(num=500):
    """A story with the equations of the data: log p equals the oracle's."""
    units = ComposeTransform([SigmoidTransform(), AffineTransform(64.0, 191.0)])
    prior = StructuralPrior(
        "thickness -> intensity",
        {"intensity": lambda d, p: RescaledMechanism(LinearGaussian(d, p), units)},
    )
    mechanism = prior.mechanisms["intensity"].mechanism
    with torch.no_grad():
        mechanism.weight.fill_(2.0)
        mechanism.bias.fill_(-5.0)
        mechanism.log_scale.fill_(math.log(0.5))
    encoder, decoder = (
        Gaussian(nn.Linear(FEATURES, 4)),
        GaussianLearnedScale(nn.Linear(4, FEATURES)),
    )
    return DeepSCM(prior, encoder, decoder, 2), ThicknessIntensity(num)


def test_measured_nodes_have_their_exact_density_in_their_own_units():
    story, data = strokes()
    values = data.values.float()
    torch.testing.assert_close(
        story.log_prob(values)[:, 1], data.log_prob(values)[:, 1], rtol=1e-3, atol=1e-3
    )
    with torch.no_grad():
        trace = poutine.trace(story.model).get_trace(torch.zeros(500, FEATURES), labels=values)
        trace.compute_log_prob()
    for i, node in enumerate(story.prior.names):
        torch.testing.assert_close(trace.nodes[node]["log_prob"], story.log_prob(values)[:, i])


def test_the_density_of_linear_nodes_is_that_of_the_normal():
    torch.manual_seed(0)
    story = DeepSCM(StructuralPrior(DIAMOND, LinearGaussian), *networks(7, 2), 2)
    values = torch.randn(6, 5)
    with torch.no_grad():
        for parameter in story.prior.parameters():
            parameter.normal_()
        draws = story.prior.values_of(
            {n: e[:, None] for n, e in zip(NODES, torch.eye(5), strict=True)}
        )
        mean = story.prior.side_by_side(story.prior.values_of({n: torch.zeros(1) for n in NODES}))
        factor = (story.prior.side_by_side(draws) - mean).T
        joint = dist.MultivariateNormal(mean, factor @ factor.T)
        torch.testing.assert_close(
            story.log_prob(values).sum(-1), joint.log_prob(values), rtol=1e-3, atol=1e-3
        )


def test_counterfactuals_of_measured_units_equal_the_truth():
    story, data = strokes(100)
    values = data.values.float()
    what_if = {"thickness": shift(0.7)}
    result = counterfactual(
        story, torch.zeros(100, FEATURES), what_if, num_samples=2, labels=values
    )
    truth, _ = data.counterfactual(torch.arange(100), {"thickness": data.values[:, 0] + 0.7})
    for i, node in enumerate(("thickness", "intensity")):
        np.testing.assert_allclose(result[node].values[0, 0], truth[:, i], rtol=1e-3)
        assert np.array_equal(result[node].values[0, 0], result[node].values[0, 1])


# iVAE


def test_the_posterior_of_ivae_is_bayes_rule_for_two_normals():
    story = IVAE(*networks(2, 2), Gaussian(nn.Linear(3, 4)), 3)
    x, u, z = torch.randn(3, FEATURES), torch.eye(3), torch.randn(50, 3, 2)
    with torch.no_grad():
        q = story.representation(x, u=u)["z"].log_prob(z)
        product = story.encoder(x).log_prob(z) + story.conditional(u).log_prob(z)
        assert ((q - product).std(0) < 1e-4).all()  # equal up to a constant
        assert torch.equal(story.representation(x)["z"].mean, story.encoder(x).mean)


# Bad input, of every story alike where it takes it


def structural_story(**options):
    return CausalVAE(StructuralPrior(DIAMOND, LinearGaussian), *networks(5), **options)


def deep(mechanism=LinearGaussian, dims=None):
    prior = StructuralPrior(DIAMOND, mechanism, dims=dims)
    return DeepSCM(prior, *networks(len(prior.columns) + 2, 2), 2)


X = torch.zeros(3, FEATURES)
COLUMNS = r"\['a', 'b', 'c', 'd', 'e'\]"
BAD = {
    "labels with other columns": (
        lambda: structural_story().model(X, labels=torch.zeros(3, 4)),
        ValueError,
        rf"expected labels of shape \(batch, 5\), columns {COLUMNS}, got \(3, 4\)",
    ),
    "interventions with other columns": (
        lambda: structural_story().model(X, interventions=torch.zeros(3, 4)),
        ValueError,
        rf"expected interventions of shape \(batch, 5\), columns {COLUMNS}, got \(3, 4\)",
    ),
    "measurements with other columns": (
        lambda: deep().model(X, labels=torch.zeros(3, 4)),
        ValueError,
        rf"expected labels of {COLUMNS}, \(batch, 5\), got shape \(3, 4\)",
    ),
    "no measurements": (
        lambda: deep().guide(X),
        ValueError,
        rf"expected labels, the values of {COLUMNS}",
    ),
    "a measurement that is missing": (
        lambda: deep().model(X, labels=torch.full((3, 5), math.nan)),
        ValueError,
        "labels of node 'a': expected a number for each datum, got NaN",
    ),
    "an unseen category": (
        lambda: deep(CLASSES, {"b": 3}).model(X, labels=torch.full((3, 7), 1.5)),
        ValueError,
        r"node 'b' is one of 3 classes: expected rows such as \[0.0, 0.0, 1.0\]",
    ),
    "an unseen category in do": (
        lambda: do(deep(CLASSES, {"b": 3}), {"b": 1.5}),
        ValueError,
        r"node 'b' is one of 3 classes: expected rows such as \[0.0, 0.0, 1.0\], got 1.5",
    ),
    "an impossible value in units": (
        lambda: do(strokes(2)[0], {"intensity": 300.0}),
        ValueError,
        "node 'intensity': expected values that it can have, got",
    ),
    "a value that is not finite": (
        lambda: do(structural_story(), {"a": math.nan}),
        ValueError,
        "not finite",
    ),
    "a node that is none": (
        lambda: do(structural_story(), {"f": 1.0}),
        KeyError,
        "no latent named 'f'",
    ),
    "a measured node that is none": (
        lambda: DeepSCM(StructuralPrior("a -> b"), *networks(4, 2), 2, observed=["c"]),
        KeyError,
        r"no node named 'c'; the graph has \['a', 'b'\]",
    ),
    "a cycle": (
        lambda: DEAR("a -> b -> a", *networks(2, 2)),
        ValueError,
        "the graph has a cycle: a -> b -> a",
    ),
    "a posterior of something else": (
        lambda: structural_story(posterior="labels"),
        ValueError,
        "expected posterior 'nodes' or 'noise', got 'labels'",
    ),
    "a label scale of zero": (
        lambda: structural_story(label_scale=0.0),
        ValueError,
        "label_scale > 0, got 0",
    ),
    "a label scale of zero in DEAR": (
        lambda: DEAR("a -> b", *networks(2, 2), label_scale=0.0),
        ValueError,
        "label_scale > 0, got 0",
    ),
    "a node called like the plate": (
        lambda: CausalVAE(StructuralPrior("data -> y"), *networks(2, 2)),
        ValueError,
        "node 'data' needs another name: 'data' is the plate and the dim over the data",
    ),
    "a node called like the noise of another": (
        lambda: DeepSCM(StructuralPrior("a -> a_noise"), *networks(4, 2), 2),
        ValueError,
        "node 'a_noise' needs another name",
    ),
    "a concept called like a loss": (
        lambda: CausalVAEPaper("mask_loss -> y", *networks(8, 8)),
        ValueError,
        "node 'mask_loss' needs another name: 'mask_loss' is another site of the story",
    ),
    "too few pieces": (
        lambda: DEAR("a -> b", *networks(2, 2), pieces=1),
        ValueError,
        "at least 2 pieces, got 1",
    ),
    "no auxiliary variables": (
        lambda: IVAE(*networks(2, 2), Gaussian(nn.Linear(3, 4)), 3).guide(X),
        ValueError,
        "expected u, the auxiliary variables of each datum",
    ),
    "auxiliary variables with other columns": (
        lambda: IVAE(*networks(2, 2), Gaussian(nn.Linear(3, 4)), 3).guide(X, u=torch.zeros(3, 4)),
        ValueError,
        r"expected u of shape \(batch, 3\), got \(3, 4\)",
    ),
}


@pytest.mark.parametrize(("build", "error", "message"), BAD.values(), ids=list(BAD))
def test_bad_arguments_are_refused(build, error, message):
    with pytest.raises(error, match=message):
        build()
