"""Structural latents end to end: labels, interventions by datum, `do` on nodes, and one divergence."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import nn

from ppl_disentangle import do, encode
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import BetaELBO, FactorELBO, fit
from ppl_disentangle.interventions import shift
from ppl_disentangle.mechanisms import AdditiveNoise, LinearGaussian, LocationScale
from ppl_disentangle.models import CausalVAE
from ppl_disentangle.structural import StructuralPrior

# a -> c <- b
GRAPH = "a -> c; b -> c"


def units(num, seed=0):
    """Nodes (columns a, b, c) and what is seen of them."""
    generator = torch.Generator().manual_seed(seed)
    a, b, noise = torch.randn(3, num, 1, generator=generator)
    c = torch.tanh(a) * b + a + 0.3 * noise
    nodes = torch.cat([a, b, c], -1)
    mixing = torch.randn(3, 12, generator=torch.Generator().manual_seed(7))
    return nodes, torch.tanh(nodes @ mixing) + 0.05 * torch.randn(num, 12, generator=generator)


def story(mechanism=AdditiveNoise):
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(12, 64), nn.Tanh(), nn.Linear(64, 6))
    decoder = nn.Sequential(nn.Linear(3, 64), nn.Tanh(), nn.Linear(64, 12))
    return CausalVAE(StructuralPrior(GRAPH, mechanism), Gaussian(encoder), GaussianLearnedScale(decoder, scale=0.3))


@pytest.fixture(scope="module")
def fitted():
    nodes, x = units(2000)
    fit(
        trained := story(),
        with_conditions(from_arrays(x), labels=nodes),
        steps=1200,
        batch_size=128,
        lr=3e-3,
        progress=False,
    )
    return trained


def test_labels_tie_the_codes_to_the_nodes(fitted):
    nodes, x = units(500, seed=1)
    codes = encode(fitted, x)
    assert codes["code"].values.tolist() == ["a", "b", "c"]
    for i in range(3):
        assert torch.corrcoef(torch.stack([nodes[:, i], torch.tensor(codes["mean"].values[:, i])]))[0, 1] > 0.95


def test_doing_a_cause_moves_its_effect_as_in_truth_and_nothing_else(fitted):
    nodes, x = units(500, seed=2)
    with torch.no_grad():
        noise = fitted.latent_means(x)
        trace = poutine.trace(poutine.condition(do(fitted, {"a": 1.5}).model, noise)).get_trace(batch_size=500)
        factual = poutine.trace(poutine.condition(fitted.model, noise)).get_trace(batch_size=500)
    truth = torch.tanh(torch.tensor(1.5)) * nodes[:, 1] + 1.5 + (nodes[:, 2] - torch.tanh(nodes[:, 0]) * nodes[:, 1])
    truth = truth - nodes[:, 0]
    error = (trace.nodes["c"]["value"][:, 0] - truth).square().mean().sqrt()
    nothing_done = (nodes[:, 2] - truth).square().mean().sqrt()
    assert error < 0.35 * nothing_done
    assert torch.equal(trace.nodes["b"]["value"], factual.nodes["b"]["value"])
    assert (trace.nodes["a"]["value"] == 1.5).all()
    assert torch.equal(trace.nodes["a_natural"]["value"], factual.nodes["a"]["value"])


def test_the_factual_world_is_the_same_bit_for_bit(fitted):
    _, x = units(50, seed=3)
    with torch.no_grad():
        noise = fitted.latent_means(x)
        once, again = (
            poutine.trace(poutine.condition(s.model, noise)).get_trace(batch_size=50).nodes["c"]["value"]
            for s in (fitted, do(fitted, {"a": shift(0.0)}))
        )
    assert torch.equal(once, again)


@pytest.mark.parametrize("mechanism", [LinearGaussian, AdditiveNoise, LocationScale])
def test_the_divergence_of_the_noise_is_that_of_the_nodes(mechanism):
    torch.manual_seed(1)
    prior = StructuralPrior(GRAPH, mechanism).double()
    for parameter in prior.parameters():
        nn.init.normal_(parameter, std=0.5)
    nodes = {n: torch.randn(40, 1, dtype=torch.float64) for n in prior.names}
    posteriors = {n: dist.Normal(torch.zeros(40, 1, dtype=torch.float64), 0.7).to_event(1) for n in prior.names}
    noise = prior.noise_of(nodes)
    for node, m in prior.by_name():
        above = prior.parents_of(node, nodes)
        by_noise = m.pull_back(posteriors[node], above).log_prob(noise[node]) - m.base().log_prob(noise[node])
        by_node = posteriors[node].log_prob(nodes[node]) - m.conditional(above).log_prob(nodes[node])
        torch.testing.assert_close(by_noise, by_node, rtol=0, atol=1e-10)
        torch.testing.assert_close(m(noise[node], above), nodes[node])


def test_the_bound_is_that_of_pyro():
    nodes, x = units(16)
    s = story(LocationScale)
    values = []
    for elbo in (BetaELBO(1.0), TraceMeanField_ELBO()):
        pyro.set_rng_seed(0)
        values.append(elbo.loss(s.model, s.guide, x, labels=nodes))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_the_noise_of_a_node_that_was_set_adds_no_divergence():
    _, x = units(16)
    s, interventions = story(), torch.full((16, 3), torch.nan)
    interventions[:, 2] = 1.0
    guide = poutine.trace(s.guide).get_trace(x, interventions=interventions)
    model = poutine.trace(poutine.replay(s.model, guide)).get_trace(x, interventions=interventions)
    q, p = (t.nodes["c_noise"]["fn"] for t in (guide, model))
    torch.testing.assert_close(torch.distributions.kl_divergence(q, p), torch.zeros(16))
    assert (model.nodes["c"]["value"] == 1.0).all()


def test_missing_labels_tell_nothing():
    nodes, x = units(16)
    unknown = torch.full((16, 3), torch.nan)
    losses = []
    for labels in (None, unknown):
        pyro.set_rng_seed(0)
        losses.append(BetaELBO(1.0).loss(story().model, story().guide, x, labels=labels))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_a_two_player_objective_works_on_the_noise():
    nodes, x = units(64)
    data = with_conditions(from_arrays(x), labels=nodes)
    history = fit(story(), data, steps=3, batch_size=32, objective=FactorELBO(3), progress=False)
    assert bool(history.to_array().notnull().all())


def test_errors_name_what_is_wrong():
    nodes, x = units(16)
    with pytest.raises(ValueError, match="expected labels of"):
        story().model(x, labels=nodes[:, :2])
    with pytest.raises(KeyError, match="no latent named 'd'"):
        do(story(), {"d": 1.0})
    with pytest.raises(ValueError, match="expected labels for each of 16 data, got shape"):
        with_conditions(from_arrays(x), labels=nodes[:3])
    with pytest.raises(KeyError, match="no node named 'd'; the graph has"):
        StructuralPrior(GRAPH, {"d": LinearGaussian})
    with pytest.raises(ValueError, match="node 'c' has 1 coordinates and 2 of parents, its mechanism LinearGaussian 1"):
        StructuralPrior(GRAPH, {"c": LinearGaussian(1, 5)})
    with pytest.raises(ValueError, match="label_scale > 0, got 0"):
        CausalVAE(StructuralPrior(GRAPH), nn.Identity(), nn.Identity(), label_scale=0)
