"""Plug-in mutual information and entropies against scikit-learn and exact shares."""

import math

import numpy as np
import pytest

from ppl_disentangle.metrics import (
    entropies,
    mutual_information,
)
from tests.metrics.codes import noisy, rows


@pytest.mark.parametrize("bins", [1, 7, 20])
def test_mutual_information_is_scikit_learns_of_every_pair(bins):
    from sklearn.metrics import mutual_info_score

    factors = rows(1000, (2, 7, 40))
    on_edges = np.linspace(0.3, 1.7, 21)[np.arange(1000) % 21]
    codes = np.column_stack(
        [noisy(factors), np.full(1000, 3.7), factors[:, 0], on_edges, np.arange(1000) % 41]
    )
    binned = [np.digitize(c, np.histogram(c, bins)[1][:-1]) for c in codes.T]
    expected = [[mutual_info_score(v, b) for v in factors.T] for b in binned]
    np.testing.assert_allclose(
        mutual_information(codes, factors, bins=bins), expected, atol=1e-12, rtol=0
    )


@pytest.mark.parametrize(("low", "high"), [(0.3, 1.7), (-5.0, 0.1), (1e-9, 3e-9), (1e5, 1e5 + 0.7)])
def test_values_on_the_edges_of_bins_belong_to_the_bin_above_and_no_others(low, high):
    edges = np.linspace(low, high, 21)
    codes = np.concatenate(
        [edges, np.nextafter(edges[1:-1], -np.inf), np.nextafter(edges[1:-1], np.inf)]
    )
    shares = np.bincount(np.searchsorted(edges[1:-1], codes, side="right")) / len(codes)
    information = mutual_information(codes[:, None], np.arange(len(codes))[:, None])
    np.testing.assert_allclose(information, -(shares * np.log(shares)).sum(), atol=1e-12)
    assert shares == pytest.approx([2 / 59] + [3 / 59] * 19)


def test_mutual_information_is_not_negative():
    factors = np.stack([rows(n, (7,))[:, 0][np.arange(97) % n] for n in range(20, 90)], 1)
    assert (mutual_information(np.ones((97, 1)), factors) >= 0).all()


def test_entropies_are_those_of_the_shares():
    factors = np.array([[5, 0.5], [5, 0.5], [-1, 0.5], [2, 0.5]])
    np.testing.assert_allclose(entropies(factors), [1.5 * math.log(2), 0.0], atol=1e-15)
