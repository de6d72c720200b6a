"""Sequences of different lengths: padding has no likelihood."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from ppl_disentangle import as_story, encode
from ppl_disentangle.data import from_arrays, from_sequences
from ppl_disentangle.inference import elbo_per_datum, fit
from ppl_disentangle.zoo import build

GENERATOR = torch.Generator().manual_seed(0)
LENGTHS = [5, 9, 3, 7, 9, 1]
SEQUENCES = [torch.randn(n, 2, generator=GENERATOR) for n in LENGTHS]


def test_sequences_are_padded_with_missing_values():
    data = from_sequences(SEQUENCES, np.arange(6) % 2, lengths="lengths")
    assert data.kind == "sequence"
    assert data.observation_shape == (9, 2)
    assert data.conditions(range(6))["lengths"].tolist() == LENGTHS
    for row, sequence in zip(data.observations(range(6)), SEQUENCES, strict=True):
        assert torch.equal(row[: len(sequence)], sequence)
        assert row[len(sequence) :].isnan().all()
    assert data.factor_sizes == (2,)
    counts = from_sequences([[1, 2], [3]])
    assert counts.observations([1]).nan_to_num(-1).flatten().tolist() == [3, -1]


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        ([], "at least one sequence, got none"),
        ([torch.ones(2, 1), torch.ones(2, 3)], "1 features in each sequence, got 3 in sequence 1"),
        ([torch.ones(2, 1), torch.ones(0, 1)], r"got \(0, 1\) in sequence 1"),
        ([torch.ones(2, 1, 1)], r"\(time, features\) or \(time,\), got \(2, 1, 1\) in sequence 0"),
    ],
)
def test_other_sequences_are_refused(sequences, message):
    with pytest.raises(ValueError, match=message):
        from_sequences(sequences)


def test_a_story_of_the_zoo_scores_what_was_observed():
    data = from_sequences(SEQUENCES)
    story = build("vae", data, latent_dim=2, likelihood="gaussian")
    fit(story, data, steps=2, batch_size=3, progress=False)
    bounds = elbo_per_datum(story, data, seed=1)
    assert np.isfinite(bounds["elbo"].values).all()
    # A constant decoder: the likelihood of each sequence is in closed form.
    with torch.no_grad():
        for parameter in story.decoder.parameters():
            parameter.zero_()
    likelihood = elbo_per_datum(story, data, seed=1)["log_likelihood"].values
    expected = [dist.Normal(0.0, 1.0).log_prob(sequence).sum() for sequence in SEQUENCES]
    np.testing.assert_allclose(likelihood, np.array(expected), rtol=1e-5)


def test_a_program_that_takes_lengths_gets_them():
    encoder = nn.Linear(2, 2)

    def model(x, lengths):
        with pyro.plate("data", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            for t in range(x.shape[1]):
                with poutine.mask(mask=lengths > t):
                    pyro.sample(f"x{t}", dist.Normal(z, 1.0).to_event(1), obs=x[:, t])

    def guide(x, lengths):
        mean = x.sum(1) / lengths[:, None]
        with pyro.plate("data", len(x)):
            pyro.sample("z", dist.Normal(encoder(mean), 0.1).to_event(1))

    data = from_sequences(SEQUENCES, lengths="lengths")
    story = as_story(model, guide)
    codes = encode(story, data)["mean"].values
    with torch.no_grad():
        expected = torch.stack([encoder(sequence.mean(0)) for sequence in SEQUENCES])
    np.testing.assert_allclose(codes, expected, rtol=1e-4, atol=1e-6)


def test_the_padding_of_arrays_may_be_nan_already():
    x = torch.randn(4, 6, 1, generator=GENERATOR)
    x[1, 3:] = torch.nan
    assert torch.equal(
        from_arrays(x, kind="sequence").observations([1]).isnan(),
        from_sequences([x[0], x[1, :3], x[2], x[3]]).observations([1]).isnan(),
    )
