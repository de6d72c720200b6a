"""UDR: do models trained from other seeds find the same codes, one by one?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes, constant
from ppl_disentangle.metrics.posterior_collapse import collapsed

__all__ = ["UDR", "informative_codes", "udr"]


class UDR(NamedTuple):
    """A score of each model ``(num_models,)``, and of each pair ``(num_models, num_models)``, NaN on the diagonal."""

    scores: ndarray
    pairs: ndarray


def udr(
    codes: Sequence[ArrayLike],
    kls: Sequence[ArrayLike] | None = None,
    *,
    method: Literal["lasso", "spearman"] = "lasso",
    threshold: float = 0.01,
) -> UDR:
    r"""Unsupervised disentanglement ranking: how much alike the codes of models of the same data are.

    .. math::
        \mathrm{UDR}_j &= \operatorname{median}_{i \ne j} S(R^{ij}) \\
        S(R) &= \frac12 \Big( \frac{1}{B} \sum_b \frac{\max_a R_{ab}^2}{\sum_a R_{ab}}
            + \frac{1}{A} \sum_a \frac{\max_b R_{ab}^2}{\sum_b R_{ab}} \Big)

    where :math:`R^{ij}_{ab} \ge 0` tells how much code :math:`a` of model :math:`i` says about code :math:`b`
    of model :math:`j`, over the :math:`A` and :math:`B` codes of each that are informative:

    * ``"lasso"``: the absolute weights of a Lasso (:math:`\alpha = 0.1`) of the standardised code :math:`b` on
      all standardised codes of :math:`i`;
    * ``"spearman"``: the absolute rank correlations.

    A row or column of zeros counts 0, and so does a pair where a model has no informative code. The choice of
    a model without labels: the largest score among seeds and hyper-parameters.

    Range: 0 to 1 by Spearman, and by Lasso where no model has collinear codes. Models whose uncorrelated codes
    are the same up to order, sign and scale score 1 by Spearman and :math:`1 - \alpha = 0.9` by Lasso, which
    shrinks every weight. Invariant under permutation, sign, shift and scale of the codes of every model, and by
    Spearman under monotone maps of each code.

    Weakness: it rewards agreement, not truth. Models that all mix the factors in the same way, as principal
    components do, score as high as models that separate them; and it needs several models.

    Args:
        codes: of each model, for the same data in the same order, ``(num_data, num_codes)``; numbers of codes
            may differ.
        kls: of each model, the divergence of every code's posterior from the prior in nats, as
            :func:`collapsed` takes them; codes that are collapsed are not informative. ``None``: all codes are
            that vary.
        method: how :math:`R` is measured.
        threshold: of :func:`collapsed`, in nats.

    References:
        [1] Duan et al., 2020. Unsupervised Model Selection for Variational Disentangled Representation Learning.
            https://arxiv.org/abs/1905.12614
        [2] The authors' code, whose normalisation this is: means over rows and over columns.
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
    for i, j in zip(*np.nonzero(~np.eye(len(models), dtype=bool)), strict=True):
        pairs[i, j] = _one_to_one(relation(models[i], models[j]))
    return UDR(np.nanmedian(pairs, axis=0), pairs)


def informative_codes(
    codes: Sequence[ArrayLike], kls: Sequence[ArrayLike] | None, *, threshold: float
) -> list[ndarray]:
    """Codes of each model, standardised, without those that are constant or collapsed.

    Raises:
        ValueError: fewer than two models, other numbers of data, or divergences that do not match the codes.
    """
    checked = [as_codes(z) for z in codes]
    if len(checked) < 2:
        raise ValueError(f"expected the codes of at least 2 models, got {len(checked)}")
    if len({len(z) for z in checked}) > 1:
        raise ValueError(f"expected codes of the same data, got {[len(z) for z in checked]} rows")
    keep = [~constant(z) for z in checked]
    if kls is not None:
        if len(kls) != len(checked):
            raise ValueError(f"expected kls of {len(checked)} models, got {len(kls)}")
        flags = [collapsed(kl, threshold=threshold) for kl in kls]
        if [f.size for f in flags] != [z.shape[1] for z in checked]:
            sizes = [z.shape[1] for z in checked]
            raise ValueError(
                f"expected a divergence for each code, {sizes}, got {[f.size for f in flags]}"
            )
        keep = [k & ~f for k, f in zip(keep, flags, strict=True)]
    kept = [z[:, k] for z, k in zip(checked, keep, strict=True)]
    return [(z - z.mean(0)) / z.std(0) for z in kept]


def _lasso(source: ndarray, target: ndarray) -> ndarray:
    from sklearn.linear_model import Lasso

    if not (source.size and target.size):
        return np.zeros((source.shape[1], target.shape[1]))
    weights = Lasso(alpha=0.1).fit(source, target).coef_
    return np.abs(weights).reshape(target.shape[1], source.shape[1]).T


def _spearman(source: ndarray, target: ndarray) -> ndarray:
    from scipy.stats import rankdata

    ranks = [rankdata(z, axis=0) - (len(z) + 1) / 2 for z in (source, target)]
    a, b = (r / np.linalg.norm(r, axis=0) for r in ranks)
    return np.abs(a.T @ b)


def _one_to_one(relation: ndarray) -> float:
    """Half the sum of the means over columns and over rows of the squared maximum over the sum."""
    if not relation.size:
        return 0.0
    sides = (relation, relation.T)
    shares = [side.max(0) ** 2 / np.maximum(side.sum(0), np.finfo(float).tiny) for side in sides]
    return float(0.5 * (shares[0].mean() + shares[1].mean()))
