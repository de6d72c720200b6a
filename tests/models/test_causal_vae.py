"""Structural latents end to end: labels, interventions by datum, `do` on nodes, one divergence."""

import pyro
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import nn

from ppl_disentangle import do, encode
from ppl_disentangle.causal.mechanisms import AdditiveNoise, LocationScale
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import BetaELBO, fit
from ppl_disentangle.models import CausalVAE

# a -> c <- b
GRAPH = "a -> c; b -> c"


def units(num, seed=0):
    """Nodes (columns a, b, c) and observations of them."""
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
    return CausalVAE(
        StructuralPrior(GRAPH, mechanism),
        Gaussian(encoder),
        GaussianLearnedScale(decoder, scale=0.3),
    )


@pytest.fixture(scope="module")
def fitted():
    nodes, x = units(2000)
    fit(
        trained := story(),
        with_conditions(from_arrays(x), labels=nodes, columns=trained.columns),
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
        assert (
            torch.corrcoef(torch.stack([nodes[:, i], torch.tensor(codes["mean"].values[:, i])]))[
                0, 1
            ]
            > 0.95
        )


def test_doing_a_cause_moves_its_effect_as_in_truth_and_nothing_else(fitted):
    nodes, x = units(500, seed=2)
    with torch.no_grad():
        noise = fitted.latent_means(x)
        trace = poutine.trace(poutine.condition(do(fitted, {"a": 1.5}).model, noise)).get_trace(
            batch_size=500
        )
        factual = poutine.trace(poutine.condition(fitted.model, noise)).get_trace(batch_size=500)
    truth = (
        torch.tanh(torch.tensor(1.5)) * nodes[:, 1]
        + 1.5
        + (nodes[:, 2] - torch.tanh(nodes[:, 0]) * nodes[:, 1])
    )
    truth = truth - nodes[:, 0]
    error = (trace.nodes["c"]["value"][:, 0] - truth).square().mean().sqrt()
    nothing_done = (nodes[:, 2] - truth).square().mean().sqrt()
    assert error < 0.35 * nothing_done
    assert torch.equal(trace.nodes["b"]["value"], factual.nodes["b"]["value"])
    assert (trace.nodes["a"]["value"] == 1.5).all()
    assert torch.equal(trace.nodes["a_natural"]["value"], factual.nodes["a"]["value"])


def test_the_bound_is_that_of_pyro():
    nodes, x = units(16)
    s = story(LocationScale)
    values = []
    for elbo in (BetaELBO(1.0), TraceMeanField_ELBO()):
        pyro.set_rng_seed(0)
        values.append(elbo.loss(s.model, s.guide, x, labels=nodes))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


def test_missing_labels_change_nothing():
    nodes, x = units(16)
    unknown = torch.full((16, 3), torch.nan)
    losses = []
    for labels in (None, unknown):
        pyro.set_rng_seed(0)
        losses.append(BetaELBO(1.0).loss(story().model, story().guide, x, labels=labels))
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def test_labels_and_data_are_counted():
    nodes, x = units(16)
    with pytest.raises(ValueError, match="expected labels for each of 16 data, got shape"):
        with_conditions(from_arrays(x), labels=nodes[:3])
