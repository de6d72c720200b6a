"""UDR: do models with different random seeds learn the same codes, one by one?"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes, constant
from ppl_disentangle.metrics.posterior_collapse import collapsed

__all__ = ["UDR", "informative_codes", "udr"]


class UDR(NamedTuple):
    """Result of :func:`udr`.

    Attributes:
        scores: Score of each model, ``(num_models,)``.
        pairs: Score of each pair of models, ``(num_models, num_models)``; NaN on the diagonal.
    """

    scores: ndarray
    pairs: ndarray


def udr(
    codes: Sequence[ArrayLike],
    kls: Sequence[ArrayLike] | None = None,
    *,
    method: Literal["lasso", "spearman"] = "lasso",
    threshold: float = 0.01,
) -> UDR:
    r"""Unsupervised disentanglement ranking: similarity of the codes of each model and the others.

    .. math::
        \mathrm{UDR}_j &= \operatorname{median}_{i \ne j} S(R^{ij}) \\
        S(R) &= \frac12 \Big( \frac{1}{B} \sum_b \frac{\max_a R_{ab}^2}{\sum_a R_{ab}}
            + \frac{1}{A} \sum_a \frac{\max_b R_{ab}^2}{\sum_b R_{ab}} \Big)

    where :math:`R^{ij}_{ab} \ge 0` states how strongly code :math:`b` of model :math:`j` depends on
    code :math:`a` of model :math:`i`. Only the :math:`A` and :math:`B` informative codes of the two
    models count. There are two choices of :math:`R`:

    * ``"lasso"``: the absolute weights of a Lasso (:math:`\alpha = 0.1`) that predicts the
      standardised code :math:`b` from all standardised codes of model :math:`i`;
    * ``"spearman"``: the absolute rank correlations.

    A row or column of zeros counts 0, and so does a pair with a model that has no informative code.
    To choose a model without labels, take the one with the largest score among seeds and
    hyper-parameters.

    Range: 0 to 1 by Spearman, and by Lasso if no model has collinear codes. Models whose
    uncorrelated codes are equal up to order, sign and scale score 1 by Spearman and
    :math:`1 - \alpha = 0.9` by Lasso, which shrinks every weight. The score is invariant under
    permutation, sign, shift and scale of the codes of every model, and by Spearman also under
    monotone maps of each code.

    Weakness: The score rewards agreement, not truth. Models that all mix the factors in the same
    way, as principal components do, score as high as models that separate the factors. Several
    models are needed.

    Args:
        codes: Codes of each model for the same data in the same order, ``(num_data, num_codes)``.
            Numbers of codes may differ.
        kls: For each model the divergence of every code's posterior from the prior in nats, as in
            :func:`collapsed`; collapsed codes are not informative. By default all codes that vary
            are informative.
        method: Definition of :math:`R`.
        threshold: Divergence in nats below which a code counts as collapsed.

    References:
        [1] Duan et al., 2020. Unsupervised Model Selection for Variational Disentangled
            Representation Learning. https://arxiv.org/abs/1905.12614
        [2] The authors' code, whose normalisation is used here: means over rows and over columns.
            https://github.com/google-research/disentanglement_lib

    Example:
        >>> z = np.random.default_rng(0).standard_normal((1000, 3))
        >>> udr([z, -z[:, [1, 2, 0]], z[:, [2, 0, 1]]], method="spearman").scores.round(1)
        array([1., 1., 1.])
    """
    if method not in ("lasso", "spearman"):
        raise KeyError(f"no method named {method!r}; there are ['lasso', 'spearman']")
    models = informative_codes(codes, kls, threshold=threshold)
    relation = _lasso if method == "lasso" else _spearman
    pairs = np.full((len(models), len(models)), np.nan)
    for i, j in itertools.permutations(range(len(models)), 2):
        pairs[i, j] = _one_to_one(relation(models[i], models[j]))
    return UDR(np.nanmedian(pairs, axis=0), pairs)


def informative_codes(
    codes: Sequence[ArrayLike], kls: Sequence[ArrayLike] | None, *, threshold: float
) -> list[ndarray]:
    """Standardised codes of each model, without constant and collapsed codes.

    Raises:
        ValueError: There are fewer than two models, the numbers of data differ, or the divergences
            do not match the codes.
    """
    models = _codes_of_same_data(codes)
    informative = [~constant(z) for z in models]
    if kls is not None:
        informative = [
            varies & ~collapses
            for varies, collapses in zip(
                informative, _collapsed_codes(models, kls, threshold), strict=True
            )
        ]
    selected = [z[:, mask] for z, mask in zip(models, informative, strict=True)]
    return [(z - z.mean(0)) / z.std(0) for z in selected]


def _codes_of_same_data(codes: Sequence[ArrayLike]) -> list[ndarray]:
    models = [as_codes(z) for z in codes]
    if len(models) < 2:
        raise ValueError(f"expected the codes of at least 2 models, got {len(models)}")
    num_rows = [len(z) for z in models]
    if len(set(num_rows)) > 1:
        raise ValueError(f"expected codes of the same data, got {num_rows} rows")
    return models


def _collapsed_codes(
    models: Sequence[ndarray], kls: Sequence[ArrayLike], threshold: float
) -> list[ndarray]:
    """Which codes of each model are collapsed; the divergences must match the codes."""
    if len(kls) != len(models):
        raise ValueError(f"expected kls of {len(models)} models, got {len(kls)}")
    flags = [collapsed(kl, threshold=threshold) for kl in kls]
    num_codes = [z.shape[1] for z in models]
    num_divergences = [flag.size for flag in flags]
    if num_divergences != num_codes:
        raise ValueError(f"expected a divergence for each code, {num_codes}, got {num_divergences}")
    return flags


def _lasso(source: ndarray, target: ndarray) -> ndarray:
    """Absolute weights ``(num_source, num_target)`` of Lassos of the targets on all sources."""
    from sklearn.linear_model import Lasso

    if not (source.size and target.size):
        return np.zeros((source.shape[1], target.shape[1]))
    weights = Lasso(alpha=0.1).fit(source, target).coef_
    # With a single target, scikit-learn returns a vector.
    return np.abs(weights).reshape(target.shape[1], source.shape[1]).T


def _spearman(source: ndarray, target: ndarray) -> ndarray:
    """Absolute rank correlations ``(num_source, num_target)``."""
    return np.abs(_unit_ranks(source).T @ _unit_ranks(target))


def _unit_ranks(codes: ndarray) -> ndarray:
    """Centred ranks of every code, scaled to length 1."""
    from scipy.stats import rankdata

    centred = rankdata(codes, axis=0) - (len(codes) + 1) / 2
    return centred / np.linalg.norm(centred, axis=0)


def _one_to_one(relation: ndarray) -> float:
    """How close a relation is to one-to-one: the mean of its two sides, from 0 to 1."""
    if not relation.size:
        return 0.0
    return float(0.5 * (_mean_dominance(relation) + _mean_dominance(relation.T)))


def _mean_dominance(relation: ndarray) -> float:
    """Mean over the columns of the squared maximum, divided by the sum of the column."""
    tiny = np.finfo(float).tiny
    return (relation.max(0) ** 2 / np.maximum(relation.sum(0), tiny)).mean()
