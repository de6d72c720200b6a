"""Model centrality: which of several models agrees most with all others?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.udr import informative_codes

__all__ = ["Centrality", "model_centrality"]


class Centrality(NamedTuple):
    """A score of each model ``(num_models,)``, and the similarities ``(num_models, num_models)``, 1 to itself."""

    scores: ndarray
    similarities: ndarray


def model_centrality(
    codes: Sequence[ArrayLike], kls: Sequence[ArrayLike] | None = None, *, threshold: float = 0.01
) -> Centrality:
    r"""Mean similarity of each model to the others; the largest belongs to the medoid of the models.

    .. math::
        s_i = \frac{1}{M - 1} \sum_{j \ne i} B_{ij}, \qquad
        B_{ij} = \frac{1}{\max(D_i, D_j)} \max_{\pi} \sum_{(a, b) \in \pi} |\rho(z^i_a, z^j_b)|

    for :math:`M` models, where :math:`\rho` is the correlation over the data and :math:`\pi` pairs each code of
    one model with at most one code of the other: the bipartite matching of [2]. Codes without a partner count
    0. The selection of the most central model is that of [1]. There the similarity of two generators is the
    score of one on data that the other has generated, whose latents are its labels, in both directions; here
    it needs neither a generator nor a score of disentanglement, only codes of the same data.

    Range: 0 to 1; 1 for models whose codes are the same up to order, sign, shift and scale. Codes that are
    independent have, by chance, the order of :math:`\sqrt{\log(D) / N}` rather than 0.

    Weakness: the majority wins, right or wrong: if most models mix the factors alike, one that separates them
    is the outlier. Compare :func:`udr`, which asks for one partner and no others.

    Args:
        codes: of each model, for the same data in the same order, ``(num_data, num_codes)``; numbers of codes
            may differ.
        kls: of each model, the divergence of every code's posterior from the prior in nats, as
            :func:`collapsed` takes them; collapsed codes are left out. ``None``: constant codes are.
        threshold: of :func:`collapsed`, in nats.

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
    for i, j in zip(*np.triu_indices(len(models), 1), strict=True):
        similarities[i, j] = similarities[j, i] = _matched(models[i], models[j])
    return Centrality((similarities.sum(0) - 1) / (len(models) - 1), similarities)


def _matched(a: ndarray, b: ndarray) -> float:
    from scipy.optimize import linear_sum_assignment

    if not (a.size and b.size):
        return 0.0
    correlations = np.abs(a.T @ b) / len(a)
    matched = correlations[linear_sum_assignment(correlations, maximize=True)].sum()
    return min(float(matched) / max(correlations.shape), 1.0)
