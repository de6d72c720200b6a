"""Model centrality: which of several models agrees most with all other models?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.udr import informative_codes

__all__ = ["Centrality", "model_centrality"]


class Centrality(NamedTuple):
    """Result of :func:`model_centrality`.

    Attributes:
        scores: Score of each model, ``(num_models,)``.
        similarities: Similarity of each pair of models, ``(num_models, num_models)``; 1 on the
            diagonal.
    """

    scores: ndarray
    similarities: ndarray


def model_centrality(
    codes: Sequence[ArrayLike], kls: Sequence[ArrayLike] | None = None, *, threshold: float = 0.01
) -> Centrality:
    r"""Mean similarity of each model to the other models; the medoid has the largest.

    .. math::
        s_i = \frac{1}{M - 1} \sum_{j \ne i} B_{ij}, \qquad
        B_{ij} = \frac{1}{\max(D_i, D_j)} \max_{\pi} \sum_{(a, b) \in \pi} |\rho(z^i_a, z^j_b)|

    for :math:`M` models with :math:`D_i` codes each, where :math:`\rho` is the correlation over the
    data and :math:`\pi` pairs each code of one model with at most one code of the other model: the
    bipartite matching of [2]. Codes without a partner count 0. As in [1], select the most central
    model. There the similarity of two generators is the score of one model on data that the other
    generated, with the latents as labels, in both directions. The similarity used here needs only
    codes of the same data, neither a generator nor a disentanglement score.

    Range: 0 to 1. Models whose codes are equal up to order, sign, shift and scale score 1.
    Independent codes score, by chance, on the order of :math:`\sqrt{\log(D) / N}`, not 0.

    Weakness: The majority wins, right or wrong. If most models mix the factors in the same way, a
    model that separates them is the outlier. Compare :func:`udr`, which also requires that each
    code has a single partner.

    Args:
        codes: Codes of each model for the same data in the same order, ``(num_data, num_codes)``.
            Numbers of codes may differ.
        kls: For each model the divergence of every code's posterior from the prior in nats, as in
            :func:`collapsed`; collapsed codes are left out. By default only constant codes are left
            out.
        threshold: Divergence in nats below which a code counts as collapsed.

    References:
        [1] Lin et al., 2020. InfoGAN-CR and ModelCentrality. https://arxiv.org/abs/1906.06034
        [2] Li et al., 2016. Convergent Learning. https://arxiv.org/abs/1511.07543

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z, other = rng.standard_normal((2, 5000, 3))
        >>> model_centrality([z, -z[:, ::-1], other]).scores.round(1)
        array([0.5, 0.5, 0. ])
    """
    models = informative_codes(codes, kls, threshold=threshold)
    similarities = np.eye(len(models))
    for i, j in itertools.combinations(range(len(models)), 2):
        similarities[i, j] = _similarity(models[i], models[j])
        similarities[j, i] = similarities[i, j]
    return Centrality((similarities.sum(0) - 1) / (len(models) - 1), similarities)


def _similarity(a: ndarray, b: ndarray) -> float:
    """Sum of the correlations of matched codes, divided by the larger number of codes."""
    from scipy.optimize import linear_sum_assignment

    if not (a.size and b.size):
        return 0.0
    correlations = np.abs(a.T @ b) / len(a)
    matched = correlations[linear_sum_assignment(correlations, maximize=True)].sum()
    return min(float(matched) / max(correlations.shape), 1.0)
