"""Mean mutual information of codes, against scikit-learn."""

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    gaussian_total_correlation,
    mean_mutual_information,
)
from tests.metrics.codes import normal


def test_mean_mutual_information_is_the_mean_over_pairs_of_scikit_learns():
    from sklearn.metrics import mutual_info_score

    codes = normal(600, 3) @ np.array([[1, 1, 0], [0, 1, 1], [0, 0, 1.0]])
    bins = [np.digitize(c, np.histogram(c, 7)[1][:-1]) for c in codes.T]
    pairs = [mutual_info_score(bins[i], bins[j]) for i in range(3) for j in range(3) if i != j]
    assert mean_mutual_information(codes, bins=7) == pytest.approx(np.mean(pairs), abs=1e-12)


def test_only_mutual_information_sees_dependence_without_correlation():
    wave = np.linspace(-1, 1, 2001)
    codes = np.stack([wave, wave**2], 1)
    assert gaussian_total_correlation(codes) == pytest.approx(0, abs=1e-12)
    assert mean_mutual_information(codes) > 1
