"""Log likelihoods of pixels with no code, a linear one and a perfect one."""

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy

from ppl_disentangle.data import Sprites, digits
from ppl_disentangle.metrics import (
    best_log_likelihood,
    linear_log_likelihood,
    marginal_log_likelihood,
    pca,
)


def test_binary_pixels_are_predicted_perfectly_and_grey_ones_up_to_their_entropy():
    sprites = Sprites().observations(torch.arange(0, 700_000, 10_000)).float()
    assert best_log_likelihood(sprites).eq(0).all()
    grey = torch.rand(5, 1, 8, 8)
    expected = -binary_cross_entropy(grey, grey, reduction="none").flatten(1).sum(1)
    torch.testing.assert_close(best_log_likelihood(grey), expected)
    assert (best_log_likelihood(grey) > marginal_log_likelihood(grey, grey)).all()


def test_without_a_code_pixels_have_their_frequencies():
    x = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
    expected = np.log([[0.999 * 0.75], [0.999 * 0.25], [0.999 * 0.75], [0.999 * 0.75]])[:, 0]
    torch.testing.assert_close(
        marginal_log_likelihood(x, x), torch.tensor(expected, dtype=torch.float32)
    )


def test_a_linear_code_of_full_rank_reconstructs_and_more_codes_are_better():
    data = digits()
    stored = data.observations(torch.arange(1000))
    x = data.to_float(stored)
    scores = [
        linear_log_likelihood(stored, pca(stored, n), data.maximum).mean().item()
        for n in (2, 10, 40)
    ]
    assert scores == sorted(scores)
    assert scores[0] > marginal_log_likelihood(x, x).mean().item()
    full = linear_log_likelihood(stored, pca(stored, 61), data.maximum)
    assert full.mean().item() == pytest.approx(best_log_likelihood(x).mean().item(), abs=0.1)
