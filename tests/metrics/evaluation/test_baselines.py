"""Principal and independent components against the singular value decomposition and known sources."""

import math

import numpy as np
import pytest
import torch

from ppl_disentangle.metrics import (
    active_units,
    ica,
    pca,
)


def images(num=500, seed=0):
    rng = np.random.default_rng(seed)
    sources = rng.uniform(-1, 1, (num, 3)) * [3, 2, 1]
    return torch.tensor(sources @ rng.standard_normal((3, 12)) + 4).float().view(
        num, 3, 2, 2
    ), sources


@pytest.mark.parametrize("baseline", [pca, ica], ids=["pca", "ica"])
def test_baselines_give_uncorrelated_codes_of_variance_one(baseline):
    x = images()[0]
    codes = baseline(x, 3)(x)
    torch.testing.assert_close(codes.mean(0), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(codes.T.cov(), torch.eye(3), atol=1e-3, rtol=0)


def test_pca_is_the_singular_value_decomposition():
    x = images()[0]
    flat = x.flatten(1) - x.flatten(1).mean(0)
    left = torch.linalg.svd(flat, full_matrices=False)[0][:, :2] * math.sqrt(len(x) - 1)
    torch.testing.assert_close(pca(x, 2)(x).abs(), left.abs(), atol=1e-3, rtol=1e-3)


def test_ica_finds_the_sources_and_pca_does_not():
    x, sources = images()
    for baseline, found in ((ica, True), (pca, False)):
        match = np.abs(np.corrcoef(baseline(x, 3)(x).T, sources.T)[:3, 3:]).max(0).min()
        assert (match > 0.99) == found


def test_ica_that_does_not_converge_says_so_without_a_warning(recwarn):
    x = images()[0]
    assert ica(x, 3).converged
    assert not ica(x, 3, max_iter=1).converged
    assert not recwarn


def test_codes_beyond_the_rank_are_constant():
    x = images()[0]
    codes = pca(x, 5)(x)
    assert active_units(codes) == 3
    assert codes[:, 3:].abs().max() == 0


def test_baselines_refuse_other_shapes_and_units():
    x = images()[0]
    encode = pca(x, 2)
    with pytest.raises(
        ValueError, match=r"expected observations \(num, \*\(3, 2, 2\)\), got \(500, 12\)"
    ):
        encode(x.flatten(1))
    with pytest.raises(TypeError, match="expected floats, as in training; got torch.uint8"):
        encode(x.byte())
    with pytest.raises(
        TypeError, match="expected observations as stored, as in training; got torch.float32"
    ):
        pca(x.byte(), 2)(x)
    with pytest.raises(ValueError, match="expected 1 <= num_codes <= 12, got 13"):
        pca(x, 13)
