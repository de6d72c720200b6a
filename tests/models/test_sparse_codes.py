"""Sparse and quantised codes find factors that dense and continuous codes mix."""

import math
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from ppl_disentangle import do
from ppl_disentangle.conditionals import Bernoulli, Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays
from ppl_disentangle.inference import QuantisedELBO, fit
from ppl_disentangle.metrics import infomec, mmcs, pca
from ppl_disentangle.models import FSQVAE, QLAE, BetaVAE, SparseAutoencoder
from ppl_disentangle.models.bases.quantised import Lattice
from ppl_disentangle.representation import encode
from tests.toys import grid, network

DIM, DIRECTIONS = 16, 32


def superposition(seed, num=20_000):
    """More directions than dimensions, two active on average, their amounts, and their sums."""
    generator = torch.Generator().manual_seed(seed)
    directions = nn.functional.normalize(torch.randn(DIRECTIONS, DIM, generator=generator), dim=-1)
    active = torch.rand(num, DIRECTIONS, generator=generator) < 2 / DIRECTIONS
    amounts = active * (0.5 + torch.rand(num, DIRECTIONS, generator=generator))
    return directions, amounts, amounts @ directions


@pytest.mark.parametrize("seed", range(3))
def test_the_dictionary_of_a_superposition_is_found_which_no_orthogonal_code_holds(seed):
    directions, amounts, x = superposition(seed)
    torch.manual_seed(100 + seed)  # another seed than the truth's, whose draws it would begin with
    story = SparseAutoencoder((DIM,), DIRECTIONS)
    random = mmcs(story.directions().detach(), directions)
    fit(story, from_arrays(x), steps=2000, batch_size=256, lr=3e-3, seed=seed, progress=False)
    assert mmcs(story.directions().detach(), directions) > 0.95
    assert mmcs(directions, story.directions().detach()) > 0.95  # nor has it others beside them
    assert random < 0.7
    assert mmcs(pca(x, DIM).weights, directions) < 0.7
    code = story.representation(x)["z"].mean
    assert (code > 0.01).float().sum(-1).mean() < 3 * (amounts > 0).float().sum(-1).mean()


def test_the_bound_is_the_loss_of_sparse_autoencoders_but_for_a_constant():
    torch.manual_seed(0)
    story, x = SparseAutoencoder((DIM,), 8, rate=3.0, scale=0.5), torch.randn(10, DIM)
    objective = story.objective()
    loss = objective.loss(story.model, story.guide, x)
    z = (x - story.bias) @ story.encoder.weight.T + story.encoder.bias
    error = x - z.relu() @ story.directions() - story.bias
    constant = DIM * math.log(0.5 * math.sqrt(2 * math.pi)) - 8 * math.log(3.0)
    expected = (error.square().sum(-1) / (2 * 0.5**2) + 3.0 * z.relu().sum(-1) + constant).sum()
    assert loss == pytest.approx(expected.item(), rel=1e-5)


def test_the_similarity_of_dictionaries_ignores_order_and_length_but_not_sign():
    rng = np.random.default_rng(0)
    true = rng.standard_normal((7, 5))
    assert mmcs(true[::-1] * rng.uniform(0.1, 3, (7, 1)), true) == pytest.approx(1.0)
    assert mmcs(-np.eye(3), np.eye(3)) == 0.0
    assert mmcs(np.array([[1.0, 1.0]]), np.eye(2)) == pytest.approx(math.sqrt(0.5))
    assert mmcs(np.vstack([true, np.zeros(5)]), true) == pytest.approx(1.0)


@pytest.fixture(scope="module")
def toy():
    return grid()


def modularity(toy, story, seed):
    adam = partial(torch.optim.AdamW, weight_decay=0.1)
    fit(story, toy, steps=2500, batch_size=128, lr=2e-3, seed=seed, optimizer=adam, progress=False)
    index = torch.arange(len(toy))
    codes = encode(story, toy.observations(index))["mean"].values
    discrete = not isinstance(story, BetaVAE)
    return infomec(codes, toy.factors(index), discrete=discrete).modularity


def test_learned_values_hold_one_factor_each_where_an_autoencoder_of_the_same_weight_decay_mixes_them(
    toy,
):
    found = {"autoencoder": [], "QLAE": []}
    for seed in range(2):
        for name in found:
            torch.manual_seed(seed)
            decoder = GaussianLearnedScale(network(4, 16), scale=0.3)
            if name == "QLAE":
                story = QLAE(network(16, 4), decoder, 4, levels=6)
            else:
                story = BetaVAE(Gaussian(network(16, 8)), decoder, 4, beta=0.001)
            found[name].append(modularity(toy, story, seed))
    assert np.mean(found["QLAE"]) > np.mean(found["autoencoder"]) + 0.15


@pytest.mark.parametrize("make", [FSQVAE, QLAE])
def test_a_code_is_the_nearest_value_and_its_gradient_goes_straight_through(make):
    torch.manual_seed(0)
    story = make(nn.Linear(6, 4), Bernoulli(nn.Linear(4, 6)), 4, levels=5)
    x = torch.rand(20, 6)
    u, z = story.continuous(x), story.representation(x)["z"].mean
    distances = (u.unsqueeze(-1) - story.values()).abs()
    torch.testing.assert_close((u - z).abs(), distances.amin(-1))
    assert all(bool((z[:, d, None] == story.values()[d]).any(-1).all()) for d in range(4))
    objective = story.objective()
    objective(story.model, story.guide)(x).backward()
    assert (story.encoder.weight.grad != 0).any()
    assert objective.last_terms["kl"].item() == pytest.approx(-20 * 4 * math.log(5), rel=1e-5)


def test_values_learn_by_one_distance_and_codes_by_the_other():
    gradients = {}
    for weights in ((1.0, 0.0), (0.0, 1.0)):
        torch.manual_seed(0)
        story = QLAE(nn.Linear(6, 4), Bernoulli(nn.Linear(4, 6)), 4, levels=5)
        x, objective = torch.rand(20, 6), QuantisedELBO(*weights)
        objective(story.model, story.guide)(x).backward()
        gradients[weights] = story.codebook.grad.clone()
        u, v = story.continuous(x), story.representation(x)["z"].mean
        for name in ("quantisation", "commitment"):
            assert objective.last_terms[name].item() == pytest.approx(
                -(u - v).square().sum().item(), rel=1e-4
            )
    assert (gradients[1.0, 0.0] != 0).any()
    assert not (gradients[0.0, 1.0] != 0).any()


def test_the_lattice_is_uniform_over_its_values():
    lattice = Lattice(torch.tensor([[-1.0, 0.0, 1.0], [2.0, 3.0, 7.0]]))
    torch.manual_seed(0)
    draws = lattice.sample((6000,))
    for d, values in enumerate(lattice.values):
        counts = torch.stack([(draws[:, d] == v).sum() for v in values])
        assert counts.sum() == 6000
        assert ((counts - 2000).abs() < 4 * math.sqrt(6000 * 2 / 9)).all()
    torch.testing.assert_close(lattice.mean, lattice.values.mean(-1))
    torch.testing.assert_close(lattice.variance, lattice.values.var(-1, correction=0))
    assert lattice.to_event(1).log_prob(draws).unique().item() == pytest.approx(-2 * math.log(3))
    assert lattice.expand((4, 2)).sample().shape == (4, 2)


BAD = {
    "no directions": (
        lambda: SparseAutoencoder((3,), 0),
        "expected positive latent_dim, rate and scale, got 0",
    ),
    "one level": (
        lambda: FSQVAE(nn.Linear(2, 2), nn.Identity(), 2, levels=1),
        "at least two levels, got 1",
    ),
    "a negative amount": (
        lambda: do(SparseAutoencoder((3,), 2), {"z": -1.0}),
        r"do\('z'\): expected amounts of directions, not negative, got -1.0",
    ),
    "other dimensions": (
        lambda: mmcs(np.eye(2), np.eye(3)),
        r"of one dimension, got shapes \(2, 2\) and \(3, 3\)",
    ),
    "a true direction of no length": (lambda: mmcs(np.eye(2), np.zeros((1, 2))), "has length zero"),
    "a guide that does not quantise": (
        lambda: QuantisedELBO().loss(
            *(lambda s: (s.model, s.guide))(SparseAutoencoder((3,), 2)), torch.zeros(4, 3)
        ),
        "the guide does not state 'z_continuous', of latent 'z'",
    ),
}


@pytest.mark.parametrize(("build", "message"), BAD.values(), ids=list(BAD))
def test_bad_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
