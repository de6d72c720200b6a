"""SlowVAE: sparse steps between frames fix the code that a normal prior leaves open."""

import math

import numpy as np
import pytest
import torch
from pyro import poutine
from scipy.integrate import quad
from torch import nn

from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.data import Tuples, digits, from_arrays
from ppl_disentangle.inference import fit
from ppl_disentangle.metrics import mcc
from ppl_disentangle.models import SlowVAE
from ppl_disentangle.representation import encode
from ppl_disentangle.zoo import build
from tests.toys import mixed, network

FEATURES, FACTORS, NUM, RATE = 16, 4, 20_000, 6.0


@pytest.fixture(scope="module")
def frames():
    """Pairs of frames whose factors take Laplace steps, and the factors of the first."""
    generator = torch.Generator().manual_seed(5)
    factors = torch.randn(NUM, FACTORS, generator=generator)
    uniform = torch.rand(NUM, FACTORS, generator=generator).clamp(1e-4, 1 - 1e-4)
    after = factors + torch.distributions.Laplace(0.0, 1 / RATE).icdf(uniform)
    x = torch.cat([mixed(f, FEATURES, scale=0.6) for f in (factors, after)])
    index = torch.arange(NUM)
    return (
        factors,
        x[:NUM],
        Tuples(from_arrays(x), torch.stack([index, NUM + index], 1), name="frames"),
    )


def score(frames, seed, **weights):
    factors, x, pairs = frames
    torch.manual_seed(seed)
    networks = (
        Gaussian(network(FEATURES, 2 * FACTORS)),
        GaussianLearnedScale(network(FACTORS, FEATURES), scale=0.3),
    )
    story = SlowVAE(*networks, FACTORS, event_dim=1, rate=RATE, **weights)
    data = pairs if weights else from_arrays(x)
    fit(story, data, steps=3000, batch_size=128, lr=2e-3, seed=seed, progress=False)
    return mcc(encode(story, x[:5000])["mean"].values, factors[:5000], method="spearman")


@pytest.mark.parametrize("seed", [0])
def test_steps_separate_factors_that_single_frames_leave_mixed(frames, seed):
    assert score(frames, seed, gamma=10.0) > 0.93
    assert score(frames, seed) < 0.92  # of frames alone it is a VAE


def test_the_divergence_of_the_steps_is_that_of_quadrature():
    torch.manual_seed(0)
    story = SlowVAE(Gaussian(nn.Linear(3, 2)), Bernoulli(nn.Linear(1, 3)), 1, event_dim=1, rate=4.0)
    x, objective = torch.rand(1, 2, 3), story.objective()
    objective.loss(story.model, story.guide, x)
    torch.manual_seed(3)
    objective.loss(story.model, story.guide, x)
    torch.manual_seed(3)
    guide = poutine.trace(story.guide).get_trace(x)
    z = guide.nodes["z"]["value"].item()
    q, first = (guide.nodes[name]["fn"].base_dist for name in ("z_next", "z"))
    m, s = q.loc.item(), q.scale.item()

    def integrand(v):
        log_q = -0.5 * ((v - m) / s) ** 2 - math.log(s * math.sqrt(2 * math.pi))
        return math.exp(log_q) * (log_q - math.log(4.0 / 2) + 4.0 * abs(v - z))

    steps = quad(
        integrand, m - 12 * s, m + 12 * s, points=[z] if abs(z - m) < 12 * s else None, limit=400
    )[0]
    start = torch.distributions.kl_divergence(first, torch.distributions.Normal(0.0, 1.0)).item()
    assert -objective.last_terms["kl[z]"].item() == pytest.approx(start, rel=1e-5)
    assert -objective.last_terms["kl[z_next]"].item() == pytest.approx(steps, rel=1e-4)
    assert float(objective.weight("kl[z_next]")) == 10.0


def test_bad_arguments_are_refused():
    story = SlowVAE(Gaussian(nn.Linear(3, 2)), Bernoulli(nn.Linear(1, 3)), 1, event_dim=1)
    with pytest.raises(
        ValueError,
        match=r"expected pairs \(batch, 2, …\) or single observations, got shape \(4, 3, 3\)",
    ):
        story.guide(torch.zeros(4, 3, 3))
    with pytest.raises(ValueError, match="expected rate > 0, got 0"):
        SlowVAE(Gaussian(nn.Linear(3, 2)), Bernoulli(nn.Linear(1, 3)), 1, rate=0)
    with pytest.raises(
        ValueError, match="SlowVAE needs pairs that share a factor: expected data with two factors"
    ):
        build("slow_vae", digits())


def test_single_observations_have_a_code_and_pairs_two(frames):
    _, x, pairs = frames
    torch.manual_seed(0)
    story = SlowVAE(
        Gaussian(network(FEATURES, 8)), GaussianLearnedScale(network(4, FEATURES)), 4, event_dim=1
    )
    np.testing.assert_allclose(
        encode(story, x[:5])["mean"].values, story.encoder(x[:5]).mean.detach().numpy(), rtol=1e-6
    )
    trace = poutine.trace(story.guide).get_trace(torch.stack([x[:5], x[5:10]], 1))
    assert [name for name in trace.stochastic_nodes if name != "data"] == ["z", "z_next"]
