"""Weights of single latents, and converted weights, against closed forms."""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from ppl_disentangle.inference.elbo.schedules import Linear
from ppl_disentangle.inference.objectives.beta_vae import BetaELBO, beta_from_mean_reduction
from tests.inference.pairs import (
    BATCH,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    loss_and_gradients,
    terms,
)


def test_the_beta_of_one_latent_weights_only_its_divergence():
    pair, elbo = Pair((2, 1), dtype=torch.float64), BetaELBO({"z1": Linear(8.0, 0.0, 2)})
    parts = terms(elbo, pair)
    assert list(parts) == ["log_likelihood", "kl[z0]", "kl[z1]"]
    for name, columns in (("z0", slice(0, 2)), ("z1", slice(2, 3))):
        q = dist.Normal(pair.loc[:, columns], pair.log_scale[:, columns].exp())
        expected = (
            torch.distributions.kl_divergence(q, dist.Normal(0.0, 1.0)).sum() * NUM_DATA / BATCH
        )
        torch.testing.assert_close(parts[f"kl[{name}]"], -expected.detach())
    for weight in (8.0, 4.0, 0.0):
        expected = parts["log_likelihood"] + parts["kl[z0]"] + weight * parts["kl[z1]"]
        torch.testing.assert_close(loss_and_gradients(elbo, pair)[0], -expected)


@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize("setting", SETTINGS.values(), ids=list(SETTINGS))
def test_the_same_beta_for_every_latent_is_one_beta(setting, particles):
    pair = Pair(**setting)
    by_name = BetaELBO({f"z{i}": 3.0 for i in range(len(pair.split))}, **particles)
    reference = loss_and_gradients(BetaELBO(3.0, **particles), pair)
    for value, expected in zip(loss_and_gradients(by_name, pair), reference, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-5, atol=1e-3)


def test_a_beta_for_an_unknown_latent_is_refused():
    with pytest.raises(
        ValueError,
        match=r"a weight for 'shape', but no latent has that name; .* has \['z0', 'z1'\]",
    ):
        BetaELBO({"z0": 1.0, "shape": 2.0}).loss(Pair((2, 1)).model, Pair((2, 1)).guide)
    with pytest.raises(ValueError, match=r"expected weights of latents by name, got \{\}"):
        BetaELBO({})
    with pytest.raises(ValueError, match=r"weight of 'kl\[z0\]' that is not negative, got -1"):
        BetaELBO({"z0": -1.0})


@pytest.mark.parametrize("latent_dim", [None, 2])
def test_a_converted_beta_gives_the_gradient_of_mean_reduction_times_a_constant(latent_dim):
    generator = torch.Generator().manual_seed(0)
    x, loc, scale = (
        torch.rand(*shape, generator=generator, dtype=torch.float64)
        for shape in ((4, 2, 3), (4, 2), (2,))
    )
    decoder = nn.Linear(2, 6, dtype=torch.float64)
    learned = [loc.requires_grad_(), scale.requires_grad_(), *decoder.parameters()]

    def model():
        with pyro.plate("data", 4):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(scale), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(decoder(z).reshape(4, 2, 3), 1.0).to_event(2), obs=x)

    def guide():
        with pyro.plate("data", 4):
            return pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    pyro.set_rng_seed(0)
    ours = BetaELBO(beta_from_mean_reduction(0.3, (2, 3), latent_dim=latent_dim))(model, guide)()
    pyro.set_rng_seed(0)
    z = guide()
    divergence = torch.distributions.kl_divergence(dist.Normal(loc, scale), dist.Normal(0.0, 1.0))
    divergence = divergence.sum(-1).mean() if latent_dim is None else divergence.mean()
    theirs = 0.5 * (x - decoder(z).reshape(4, 2, 3)).square().mean() + 0.3 * divergence
    for value, expected in zip(
        torch.autograd.grad(ours, learned), torch.autograd.grad(theirs, learned), strict=True
    ):
        torch.testing.assert_close(value, 6 * 4 * expected)


def test_a_beta_for_mean_reduction_needs_sizes():
    with pytest.raises(ValueError, match="a beta that is not negative, got -1"):
        beta_from_mean_reduction(-1.0, (3, 64, 64))
    with pytest.raises(ValueError, match=r"observation_shape of sizes >= 1, got \(3, 0\)"):
        beta_from_mean_reduction(1.0, (3, 0))
    with pytest.raises(ValueError, match="latent_dim >= 1 or None, got 0"):
        beta_from_mean_reduction(1.0, (3,), latent_dim=0)
