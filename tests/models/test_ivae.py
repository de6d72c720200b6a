"""iVAE against linear ICA and against itself without u, on sources that vary by segment."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
from ppl_disentangle.data import from_arrays, with_conditions
from ppl_disentangle.inference import fit
from ppl_disentangle.metrics import mcc
from ppl_disentangle.models import IVAE
from tests.toys import mixed, network

NUM, SOURCES, SEGMENTS, FEATURES = 4000, 3, 20, 12


def nonstationary(seed):
    """Segments one-hot, standardised sources that differ between segments, and observations."""
    generator = torch.Generator().manual_seed(seed)
    segment = torch.arange(NUM) % SEGMENTS
    means = 0.5 * torch.randn(SEGMENTS, SOURCES, generator=generator)
    scales = 0.1 + 1.2 * torch.rand(SEGMENTS, SOURCES, generator=generator)
    sources = means[segment] + scales[segment] * torch.randn(NUM, SOURCES, generator=generator)
    sources = (sources - sources.mean(0)) / sources.std(0)
    x = mixed(sources, FEATURES, seed=40 + seed, scale=0.8, noise=0.02)
    return torch.eye(SEGMENTS)[segment], sources, x


def found_by_ivae(x, u, sources, seed):
    torch.manual_seed(seed)
    encoder = Gaussian(network(FEATURES, 2 * SOURCES))
    decoder = GaussianLearnedScale(network(SOURCES, FEATURES), scale=0.3)
    story = IVAE(encoder, decoder, Gaussian(nn.Linear(SEGMENTS, 2 * SOURCES)), SEGMENTS)
    data = with_conditions(from_arrays(x), u=u)
    fit(story, data, steps=1500, batch_size=128, lr=5e-3, seed=seed, progress=False)
    with torch.no_grad():
        return mcc(story.latent_means(x, u=u)["z"].numpy(), sources.numpy())


def found_by_ica(x, sources, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica = FastICA(SOURCES, random_state=seed, whiten="unit-variance", max_iter=1000)
        return mcc(ica.fit_transform(x.numpy()), sources.numpy())


def standard_errors_above(scores, others):
    """Mean of the differences of pairs over its standard error."""
    differences = np.subtract(scores, others)
    return differences.mean() / (differences.std(ddof=1) / len(differences) ** 0.5)


@pytest.mark.slow
def test_segments_find_sources_that_fast_ica_leaves_mixed_and_on_average_shuffled_segments_too():
    rows = {"iVAE": [], "FastICA": [], "iVAE, u shuffled": []}
    for seed in range(5):
        u, sources, x = nonstationary(seed)
        shuffled = u[torch.randperm(NUM, generator=torch.Generator().manual_seed(seed))]
        rows["iVAE"].append(found_by_ivae(x, u, sources, seed))
        rows["iVAE, u shuffled"].append(found_by_ivae(x, shuffled, sources, seed))
        rows["FastICA"].append(found_by_ica(x, sources, seed))
    for name, scores in rows.items():
        print(f"{name:18s} {np.mean(scores):.3f}  {np.round(scores, 3)}")
    assert standard_errors_above(rows["iVAE"], rows["FastICA"]) > 2
    assert (
        np.mean(rows["iVAE"]) > np.mean(rows["iVAE, u shuffled"]) + 0.05
    )  # below two standard errors: 1.8
    assert np.mean(rows["iVAE"]) > 0.85


def test_auxiliary_variables_that_are_missing_are_said_in_words():
    x = torch.randn(129, 6)
    u = torch.eye(4)[torch.arange(129) % 4]
    u[::7] = torch.nan
    networks = Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6))
    story = IVAE(*networks, Gaussian(nn.Linear(4, 4)), 4)
    with pytest.raises(ValueError, match="expected u, .* got NaN in .* of 64 data") as error:
        fit(story, with_conditions(from_arrays(x), u=u), steps=1, progress=False)
    assert "tensor(" not in str(error.value)
