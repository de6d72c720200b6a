"""DIPELBO against loops over its definition and covariances in closed form."""

from __future__ import annotations

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from ppl_disentangle.inference import Linear
from ppl_disentangle.inference.objectives.dip_vae import DIPELBO
from tests.inference.pairs import (
    BATCH,
    DIM,
    NUM_DATA,
    PARTICLES,
    SETTINGS,
    Pair,
    terms,
)

DOUBLE = {"dtype": torch.float64}


def penalty_loops(pair, variant):
    """The sums over the covariance matrix, written as loops."""
    data = [n for n in range(BATCH) if pair.mask is None or pair.mask[n]]
    means, variances = pair.loc.tolist(), (2 * pair.log_scale).exp().tolist()

    def average(f):
        return sum(f(n) for n in data) / len(data)

    centre = [average(lambda n, i=i: means[n][i]) for i in range(DIM)]
    off_diagonal = diagonal = 0.0
    for i, j in itertools.product(range(DIM), repeat=2):
        c = average(lambda n, i=i, j=j: (means[n][i] - centre[i]) * (means[n][j] - centre[j]))
        if i != j:
            off_diagonal += c**2
        else:
            diagonal += (
                c + (average(lambda n, i=i: variances[n][i]) if variant == "II" else 0.0) - 1
            ) ** 2
    return {"off_diagonal": -NUM_DATA * off_diagonal, "diagonal": -NUM_DATA * diagonal}


@pytest.mark.parametrize("variant", ["I", "II"])
@pytest.mark.parametrize("particles", PARTICLES.values(), ids=list(PARTICLES))
@pytest.mark.parametrize(
    "setting", [{}, {"split": (2, 1)}, {"split": (1, 1, 1)}, SETTINGS["masked"], {"scale": 0.3}]
)
def test_penalties_match_loops_for_all_splits_and_particles(setting, particles, variant):
    pair = Pair(**setting, **DOUBLE)
    ours = terms(DIPELBO(variant=variant, **particles), pair)
    expected = penalty_loops(pair, variant)
    assert {k: ours[k].item() for k in expected} == pytest.approx(expected, rel=1e-9)


def test_data_of_identity_covariance_have_no_penalty_and_rotated_ones_a_known_one():
    angle = math.pi / 6
    signs = torch.tensor(list(itertools.product([-1.0, 1.0], repeat=3)), **DOUBLE)  # covariance I
    pair = Pair(num_data=None, **DOUBLE)
    with torch.no_grad():
        pair.loc.copy_(signs)
        assert terms(DIPELBO(), pair)["off_diagonal"] == terms(DIPELBO(), pair)["diagonal"] == 0
        stretched = signs * torch.tensor([2.0, 1.0, 1.0], **DOUBLE)
        rotation = torch.eye(3, **DOUBLE)
        rotation[:2, :2] = torch.tensor(
            [[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]]
        )
        pair.loc.copy_(stretched @ rotation.T)
    # C = R diag(4, 1, 1) R': C_01 = 3 sin cos, C_00 = 4 cos^2 + sin^2, C_11 = 4 sin^2 + cos^2
    sine, cosine = math.sin(angle), math.cos(angle)
    ours = terms(DIPELBO(), pair)
    assert ours["off_diagonal"].item() == pytest.approx(-BATCH * 2 * (3 * sine * cosine) ** 2)
    diagonal = (4 * cosine**2 + sine**2 - 1) ** 2 + (4 * sine**2 + cosine**2 - 1) ** 2
    assert ours["diagonal"].item() == pytest.approx(-BATCH * diagonal)


def test_variant_two_adds_to_the_diagonal_alone():
    pair = Pair(**DOUBLE)
    first, second = terms(DIPELBO(), pair), terms(DIPELBO(variant="II"), pair)
    assert first["off_diagonal"] == second["off_diagonal"]
    assert first["diagonal"] != second["diagonal"]


def test_variant_two_is_the_covariance_of_the_aggregate_posterior():
    pair = Pair(num_data=None, **DOUBLE)
    offsets = math.sqrt(DIM) * torch.eye(
        DIM, **DOUBLE
    )  # points with the moments of a standard normal
    points = pair.loc + torch.cat([offsets, -offsets])[:, None] * pair.log_scale.exp()
    matrix = points.flatten(0, 1).T.cov(correction=0)
    ours = terms(DIPELBO(variant="II"), pair)
    off_diagonal = matrix.square().sum() - matrix.diagonal().square().sum()
    assert ours["off_diagonal"].item() == pytest.approx(-BATCH * off_diagonal.item(), rel=1e-9)
    diagonal = (matrix.diagonal() - 1).square().sum()
    assert ours["diagonal"].item() == pytest.approx(-BATCH * diagonal.item(), rel=1e-9)


def test_the_default_weight_of_the_diagonal_is_tenfold_for_variant_one():
    assert DIPELBO(3.0).weights == {"off_diagonal": 3.0, "diagonal": 30.0}
    assert DIPELBO(3.0, variant="II").weights == {"off_diagonal": 3.0, "diagonal": 3.0}
    assert DIPELBO(3.0, 1.0).weights == {"off_diagonal": 3.0, "diagonal": 1.0}


def test_invalid_arguments_of_dip_are_refused():
    with pytest.raises(ValueError, match="variant 'I' or 'II', got 2"):
        DIPELBO(variant=2)
    with pytest.raises(ValueError, match="off_diagonal is a schedule: pass diagonal= too"):
        DIPELBO(Linear(0.0, 1.0, 10))

    def no_moments():
        base = dist.Normal(torch.zeros(4, 2), 1.0)
        with pyro.plate("data", 4):
            pyro.sample(
                "z",
                dist.TransformedDistribution(base, [dist.transforms.SigmoidTransform()]).to_event(
                    1
                ),
            )
            pyro.sample("x", dist.Normal(0.0, 1.0), obs=torch.zeros(4))

    with pytest.raises(
        ValueError, match="latent 'z': TransformedDistribution has no mean in closed form"
    ):
        DIPELBO().loss(no_moments, poutine.block(no_moments, hide=["x"]))
