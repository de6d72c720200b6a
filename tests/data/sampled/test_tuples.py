"""Data sets of tuples."""

import math

import pytest
import torch

from ppl_disentangle.conditionals import Bernoulli, Gaussian
from ppl_disentangle.data import Sprites, pairs, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.models import VAE
from ppl_disentangle.networks import mlp_decoder, mlp_encoder
from tests.data.sampled.grids import GRID


def test_conditions_of_the_members_come_for_each_member():
    told = with_conditions(GRID, number=torch.arange(120))
    data = pairs(told, num=50, conditions=True)
    index = torch.tensor([4, 9])
    conditions = data.conditions(index)
    assert torch.equal(
        GRID.factors(conditions["number"].flatten()), data.observations(index).long().flatten(0, 1)
    )
    assert conditions["changed"].shape == (2, 4)


class PairVAE(VAE):
    """Both images of a pair as one observation; the changed factors are its condition."""

    def model(self, x=None, *, batch_size=1, changed=None):
        assert x is None or changed.shape == (len(x), 5)
        return super().model(x, batch_size=batch_size)

    def guide(self, x, *, changed=None):
        super().guide(x)


def test_fit_takes_pairs_resumes_them_exactly_and_scales_to_their_number(tmp_path):
    def story():
        torch.manual_seed(0)
        shape = (2, 1, 64, 64)
        encoder, decoder = (
            mlp_encoder(8, shape=shape, hidden=8),
            mlp_decoder(4, shape=shape, hidden=8),
        )
        return PairVAE(Gaussian(encoder), Bernoulli(decoder), 4)

    def data():
        return pairs(Sprites(), num=200, conditions=True)

    options = {"batch_size": 16, "progress": False, "validate_steps": 0}
    whole, stopped = story(), story()
    history = fit(whole, data(), steps=30, **options)
    fit(stopped, data(), steps=14, checkpoint=tmp_path / "c", **options)
    fit(stopped, data(), steps=30, checkpoint=tmp_path / "c", resume=True, **options)
    assert all(
        torch.equal(a, b) for a, b in zip(whole.parameters(), stopped.parameters(), strict=True)
    )
    # An untrained decoder gives each of 2 * 64 * 64 pixels about log 2 nats: terms are per pair, not per image.
    assert history["loss"].values[0] == pytest.approx(2 * 64 * 64 * math.log(2), rel=0.02)
