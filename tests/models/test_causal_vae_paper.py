"""CausalVAE as published: each term against its closed form, and corrections of its code."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.learned_adjacency import learned_dag
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import BetaELBO, CausalVAEELBO, fit
from ppl_disentangle.models import CausalVAE, CausalVAEPaper

# a -> c -> d, b -> c
GRAPH, NAMES = "a -> c -> d; b -> c", ("a", "b", "c", "d")
CAUSES = {"a": "", "b": "", "c": "ab", "d": "c"}
BATCH, DIM, FEATURES, TAU, SIGMA = 5, 2, 6, 0.7, 0.4


@pytest.fixture
def story():
    """One whose mask layer is linear, so that everything is normal."""
    torch.manual_seed(0)
    encoder, decoder = (
        Gaussian(nn.Linear(FEATURES, 16)),
        GaussianLearnedScale(nn.Linear(8, FEATURES), scale=SIGMA),
    )
    story = CausalVAEPaper(GRAPH, encoder, decoder, dim=DIM, label_scale=TAU)
    for node in story.mask_layer:
        story.mask_layer[node] = nn.Linear(8, DIM)
    with torch.no_grad():
        story.adjacency.weight.normal_()
    return story.double()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, FEATURES, generator=generator, dtype=torch.float64)
    return x, torch.randn(BATCH, 4, generator=generator, dtype=torch.float64)


def maps(story):
    """The matrix of z-bar; matrices and offsets of the mask layer for z-bar and z, in the noise."""
    weights = story.adjacency.weights().detach()
    assert {
        n: "".join(m for m in NAMES if weights[NAMES.index(m), NAMES.index(n)] != 0) for n in NAMES
    } == CAUSES
    identity = torch.eye(4 * DIM, dtype=torch.float64)
    bar = (
        torch.linalg.inv(torch.eye(4, dtype=torch.float64) - weights.T)
        .contiguous()
        .kron(torch.eye(DIM, dtype=torch.float64))
    )
    said, z = (
        (torch.zeros(8, 8, dtype=torch.float64), torch.zeros(8, dtype=torch.float64))
        for _ in range(2)
    )
    for i, node in enumerate(NAMES):
        rows = slice(DIM * i, DIM * (i + 1))
        z[0][rows] += identity[rows]
        if node not in story.mask_layer:
            continue
        layer, masked = story.mask_layer[node], weights[:, i].repeat_interleave(DIM)
        said[0][rows] = layer.weight.detach() * masked @ bar
        said[1][rows] = layer.bias.detach()
        z[0][rows] += layer.weight.detach() * masked @ z[0]
        z[1][rows] += layer.weight.detach() * masked @ z[1] + layer.bias.detach()
    return bar, said, z


def expected_square(matrix, offset, q):
    """E |M noise + offset|^2 for each datum."""
    return (q.mean @ matrix.T + offset).square().sum(-1) + (q.variance @ matrix.square().T).sum(-1)


def closed_form(story, x, labels):
    q = story.encoder(x)
    bar, said, z = maps(story)
    decoder = story.decoder.net
    through = decoder.weight.detach() @ z[0]
    error = expected_square(through, decoder.weight.detach() @ z[1] + decoder.bias.detach() - x, q)
    to_labels = expected_square(bar, -labels.repeat_interleave(DIM, -1), q)
    to_layer = expected_square(bar - said[0], -said[1], q)
    predicted = labels.new_zeros(labels.shape)
    weights = story.adjacency.weights()
    for i, node in enumerate(NAMES):
        if node in story.label_layer:
            predicted[:, i] = story.label_layer[node](labels @ weights[:, [i]])[:, 0].detach()
    return {
        "log_likelihood": -error / (2 * SIGMA**2) - FEATURES * math.log(SIGMA * math.tau**0.5),
        "kl": -torch.distributions.kl_divergence(q, dist.Normal(torch.zeros(8), 1.0).to_event(1)),
        # the linear layer has determinant 1, hence z-bar the entropy of the noise
        "label_kl": q.entropy() - to_labels / (2 * TAU**2) - 8 * math.log(TAU * math.tau**0.5),
        "mask_loss": -to_layer,
        "label_loss": -(labels - predicted).square().sum(-1),
        "acyclicity": torch.zeros(BATCH),
        "sparsity": torch.zeros(BATCH),
    }


@pytest.mark.parametrize("known", ["all", "some"])
def test_every_term_is_its_closed_form(story, data, known):
    x, labels = data
    expected = {
        name: values.detach().clone() for name, values in closed_form(story, x, labels).items()
    }
    if known == "some":
        labels = labels.clone()
        labels[1, 2] = labels[3] = math.nan
        for name in ("label_kl", "label_loss"):
            expected[name][[1, 3]] = 0.0
    at_once = {"num_particles": 20_000, "vectorize_particles": True, "max_plate_nesting": 1}
    objective = CausalVAEELBO(story.adjacency, **at_once)
    objective.loss(story.model, story.guide, x, labels=labels)
    assert objective.last_terms.keys() == expected.keys()
    for name, values in expected.items():
        exact = name in ("kl", "label_loss", "acyclicity", "sparsity")
        total = values.sum().item()
        assert objective.last_terms[name].item() == pytest.approx(
            total, rel=1e-9 if exact else 0.01, abs=1e-12
        ), name


def test_the_entropy_of_the_concepts_is_that_of_the_noise_less_the_determinant():
    torch.manual_seed(0)
    encoder = Gaussian(nn.Linear(FEATURES, 12))
    story = CausalVAEPaper(
        list("abc"), encoder, GaussianLearnedScale(nn.Linear(6, FEATURES)), dim=2
    ).double()
    with torch.no_grad():
        story.adjacency.weight.normal_(std=0.5)  # with cycles: the determinant is not 1
    x = torch.randn(3, FEATURES, dtype=torch.float64)
    bar = (
        torch.linalg.inv(torch.eye(3) - story.adjacency.weights().T)
        .contiguous()
        .kron(torch.eye(2, dtype=torch.float64))
    )
    q = story.encoder(x)
    covariances = bar @ torch.diag_embed(q.variance) @ bar.T
    expected = dist.MultivariateNormal(q.mean @ bar.T, covariances).entropy().sum()
    objective = story.objective()
    pyro.set_rng_seed(0)
    objective.loss(story.model, story.guide, x, labels=torch.zeros(3, 3, dtype=torch.float64))
    pyro.set_rng_seed(0)
    noise = poutine.trace(story.guide).get_trace(x).nodes["noise"]["value"]
    crossed = dist.Normal(0.0, 1.0).log_prob(noise @ bar.T).sum()
    torch.testing.assert_close(objective.last_terms["label_kl"], expected + crossed)


def test_without_labels_it_is_the_bound(story, data):
    values = []
    for objective in (story.objective(), BetaELBO(1.0)):
        pyro.set_rng_seed(0)
        values.append(objective.loss(story.model, story.guide, data[0]))
    assert values[0] == pytest.approx(values[1], rel=1e-12)


def test_each_term_has_its_weight(story, data):
    x, labels = data
    weights = {"beta": 0.3, "label_kl": 2.0, "label_loss": 3.0, "mask_loss": 5.0, "sparsity": 7.0}
    story = CausalVAEPaper(list("abcd"), story.encoder, story.decoder, dim=DIM, **weights).double()
    objective = story.objective()
    loss = objective.loss(story.model, story.guide, x, labels=labels)
    terms = {name: term.item() for name, term in objective.last_terms.items()}
    h = -terms.pop("acyclicity") / BATCH
    by_term = weights | {"kl": weights["beta"], "log_likelihood": 1.0}
    weighted = sum(by_term[name] * term for name, term in terms.items())
    assert h > 0
    assert loss == pytest.approx(-weighted + BATCH * h**2 / 2)


# What differs from the published code, by the numbers of the docstring


def test_1_the_noise_has_the_encoders_variances_which_are_trained(story, data):
    x, labels = data
    story.objective().differentiable_loss(story.model, story.guide, x, labels=labels).backward()
    means, log_variances = story.encoder.net.weight.grad.chunk(2)
    assert (means != 0).all()
    assert (log_variances != 0).all()
    with pyro.plate("draws", 4000, dim=-2):
        noise = poutine.trace(story.guide).get_trace(x).nodes["noise"]["value"]
    torch.testing.assert_close(noise.std(0), story.encoder(x).stddev, rtol=0.06, atol=0)


def test_2_the_likelihood_is_a_sum_in_nats_over_pixels():
    torch.manual_seed(0)
    encoder = Gaussian(nn.Sequential(nn.Flatten(), nn.Linear(48, 6)))
    decoder = Bernoulli(nn.Sequential(nn.Linear(3, 48), nn.Unflatten(-1, (3, 4, 4))))
    story, x = (
        CausalVAEPaper("a -> b; a -> c", encoder, decoder, dim=1),
        torch.rand(2, 3, 4, 4).round(),
    )
    pyro.set_rng_seed(0)
    objective = story.objective()
    objective.loss(story.model, story.guide, x)
    pyro.set_rng_seed(0)
    with torch.no_grad():
        guide = poutine.trace(story.guide).get_trace(x)
        trace = poutine.trace(poutine.replay(story.model, trace=guide)).get_trace()
        p = torch.sigmoid(
            decoder.net(torch.cat([trace.nodes[n]["value"] for n in story.names], -1))
        )
    expected = sum(math.log(p[i].item() if x[i] else 1 - p[i].item()) for i in np.ndindex(*x.shape))
    assert objective.last_terms["log_likelihood"].item() == pytest.approx(expected, rel=1e-5)


def test_3_a_datum_without_labels_has_the_same_posterior(story, data):
    x, labels = data
    labelled, unlabelled = (
        poutine.trace(story.guide).get_trace(x, **kwargs) for kwargs in ({"labels": labels}, {})
    )
    for name in ("mean", "stddev"):
        assert torch.equal(
            getattr(labelled.nodes["noise"]["fn"], name),
            getattr(unlabelled.nodes["noise"]["fn"], name),
        )


def test_4_the_label_of_a_root_adds_its_square_and_no_gradient(story, data):
    x, labels = data
    labels = torch.zeros_like(labels)
    labels[:, 0] = 2.0
    losses = []
    for weight in (0.0, 1.0):
        story.zero_grad()
        story.label_loss, story.mask_loss, story.label_kl = weight, 0.0, 0.0
        pyro.set_rng_seed(0)
        losses.append(
            story.objective().differentiable_loss(story.model, story.guide, x, labels=labels)
        )
    labels_of_c = story.label_layer["c"](labels @ story.adjacency.weights()[:, [2]])
    labels_of_d = story.label_layer["d"](torch.zeros_like(labels[:, :1]))
    expected = BATCH * 4.0 + labels_of_c.square().sum() + labels_of_d.square().sum()
    torch.testing.assert_close(losses[1] - losses[0], expected)
    assert set(story.label_layer) == {"c", "d"}


def test_5_the_price_of_cycles_rises_in_training():
    torch.manual_seed(0)
    encoder, decoder = (
        Gaussian(nn.Linear(FEATURES, 6)),
        GaussianLearnedScale(nn.Linear(3, FEATURES)),
    )
    story = CausalVAEPaper(list("abc"), encoder, decoder, dim=1)
    objective = story.objective()
    labels = torch.randn(64, 3)
    data = with_conditions(from_arrays(torch.randn(64, FEATURES)), labels=labels, columns="abc")
    fit(story, data, steps=201, objective=objective, progress=False)
    assert objective.lagrangian.multiplier > 0


def test_6_weights_outside_of_the_graph_are_zero_and_stay_so(story, data):
    x, labels = data
    weights = story.adjacency.weights()
    edges = {(NAMES[i], NAMES[j]) for i, j in weights.nonzero().tolist()}
    assert edges == {("a", "c"), ("b", "c"), ("c", "d")}
    story.objective().differentiable_loss(story.model, story.guide, x, labels=labels).backward()
    assert torch.equal(story.adjacency.weight.grad != 0, weights != 0)
    assert set(learned_dag(story).edges) == edges


@pytest.mark.parametrize("node", NAMES)
def test_7_the_value_that_a_node_is_set_to_reaches_its_effects_and_the_decoder(story, node):
    seen = {}
    story.decoder.register_forward_pre_hook(
        lambda _, args: seen.update(z=args[0].unflatten(-1, (4, DIM)))
    )
    value = torch.tensor([1.5, -2.0], dtype=torch.float64)
    with torch.no_grad():
        trace = poutine.trace(do(story, {node: value}).model).get_trace(batch_size=3)
        z, noise = seen["z"], trace.nodes["noise"]["value"].unflatten(-1, (4, DIM))
        assert (z[:, NAMES.index(node)] == value).all()
        for i, other in enumerate(NAMES):
            if other != node:
                torch.testing.assert_close(z[:, i], story.restated(other, z) + noise[:, i])


def test_8_noise_is_the_same_in_every_world(story, data):
    worlds = [{}, {"a": 3.0}, {"c": -1.0}, {"b": 0.5, "d": 2.0}]
    result = counterfactual(story, data[0], worlds, num_samples=3)
    assert (result["noise"].values == result["noise"].values[0]).all()
    residuals = []
    for world in range(4):
        z = torch.stack([torch.tensor(result[n].values[world]) for n in NAMES], -2)
        residuals.append(
            torch.stack(
                [z[..., i, :] - story.restated(n, z) for i, n in enumerate(NAMES)], -2
            ).detach()
        )
    for world, actions in enumerate(worlds):
        for i, node in enumerate(NAMES):
            if node not in actions:
                torch.testing.assert_close(residuals[world][..., i, :], residuals[0][..., i, :])


def test_bad_arguments_are_refused(story, data):
    x, labels = data
    with pytest.raises(
        ValueError,
        match=r"expected labels of \['a', 'b', 'c', 'd'\], \(batch, 4\), got shape \(5, 3\)",
    ):
        story.model(x, labels=labels[:, :3])
    networks = story.encoder, story.decoder
    with pytest.raises(ValueError, match="dim >= 1 and label_scale > 0, got 0 and 1.0"):
        CausalVAEPaper(GRAPH, *networks, dim=0)
    with pytest.raises(ValueError, match="the graph has a cycle: a -> b -> a"):
        CausalVAEPaper("a -> b -> a", *networks)
    with pytest.raises(ValueError, match="required and forbidden edges are for a list of names"):
        CausalVAEPaper(GRAPH, *networks, required=[("a", "b")])
    with pytest.raises(ValueError, match="the edge a -> b was forbidden"):
        CausalVAEPaper(list("ab"), *networks, forbidden=[("a", "b")]).fix_graph("a -> b")
    with pytest.raises(KeyError, match="no latent named 'e'"):
        do(story, {"e": 1.0})
    with pytest.raises(ValueError, match="not finite"):
        do(story, {"a": math.nan})
    other = CausalVAE(
        StructuralPrior("a -> b"),
        Gaussian(nn.Linear(FEATURES, 4)),
        GaussianLearnedScale(nn.Linear(2, 6)),
    )
    with pytest.raises(ValueError, match=r"the latent 'noise' alone, got \['a_noise', 'b_noise'\]"):
        CausalVAEELBO(story.adjacency).loss(other.model, other.guide, x.float())
