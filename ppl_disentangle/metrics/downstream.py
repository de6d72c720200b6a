"""Downstream prediction: how well can factors be read from codes, and with how few labels?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_split, varying
from ppl_disentangle.metrics.estimators.predictors import Probe, fit_probe

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["downstream_accuracy", "sample_efficiency"]


def downstream_accuracy(
    codes_train: ArrayLike,
    factors_train: ArrayLike,
    codes_test: ArrayLike,
    factors_test: ArrayLike,
    *,
    predictor: Probe = "linear",
    num_labels: Sequence[int] = (10, 100, 1000, 10_000),
    repeats: int = 5,
    seed: int = 0,
) -> xr.Dataset:
    r"""Accuracy on the test rows of a classifier of each factor, trained on few and on many labels.

    .. math:: a_n(k) = \frac{1}{R} \sum_r \frac{1}{N} \sum_i \mathbf 1\big[f^{(r)}_{n, k}(z_i) = v_{ik}\big]

    where :math:`f^{(r)}_{n,k}` predicts factor :math:`v_k`, :math:`N` is the number of test rows,
    and :math:`n` the number of training rows. In each of :math:`R` repeats the training rows are
    sampled anew, without replacement. See :func:`sample_efficiency` for the ratio of two
    accuracies.

    Range: 0 to 1. Chance is the relative frequency of the most frequent class. The accuracy is
    invariant under permutation and sign of the codes. The linear probe is also invariant under
    shift and scale, and under rotation up to its penalty. Trees are invariant under monotone maps
    of each code, but not under rotation.

    Weakness: The accuracy shows whether the factors can be read, not whether each factor has its
    own code: a linear probe has the same accuracy for a perfect code and a rotated one. The
    accuracy depends on the number of values of a factor, so compare accuracies only on the same
    data.

    Args:
        codes_train: Codes of the training rows, of shape ``(num_train, num_codes)``.
        factors_train: Factor values of the training rows, of shape ``(num_train, num_factors)``.
        codes_test: Codes of the test rows, of shape ``(num_test, num_codes)``.
        factors_test: Factor values of the test rows, of shape ``(num_test, num_factors)``.
        predictor: ``"linear"`` for a logistic regression, or ``"gbt"``, ``"lightgbm"`` or
            ``"forest"`` for the trees of :func:`dci`. The study in [1] cross-validates the penalty
            of its regression; here the penalty is fixed.
        num_labels: Numbers of training rows.
        repeats: Number of random selections of training rows. If all training rows are used, there
            is one.
        seed: Seed of the selections and of the trees.

    Returns:
        A dataset over ``num_labels`` and ``factor`` with ``accuracy`` and its standard error over
        the repeats, ``accuracy_standard_error``. Both are NaN for a factor with a single value in
        the training rows.

    Raises:
        ValueError: ``num_labels`` exceeds the number of training rows.

    References:
        [1] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359
    """
    import xarray as xr

    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    _check_sizes(num_labels, repeats, num_train)
    rng = np.random.default_rng(seed)
    varies = varying(v[:num_train])

    def accuracies(rows: ndarray) -> list[float]:
        return _accuracies(z, v[:, varies], rows, num_train, predictor, seed)

    means = np.full((len(num_labels), v.shape[1]), np.nan)
    errors = np.full_like(means, np.nan)
    for i, num in enumerate(num_labels):
        num_repeats = repeats if num < num_train else 1
        selections = [rng.permutation(num_train)[:num] for _ in range(num_repeats)]
        scores = np.array([accuracies(rows) for rows in selections])
        means[i, varies] = scores.mean(0)
        errors[i, varies] = _standard_errors(scores)
    dims = ("num_labels", "factor")
    variables = {"accuracy": (dims, means), "accuracy_standard_error": (dims, errors)}
    return xr.Dataset(variables, {"num_labels": list(num_labels)}, {"predictor": predictor})


def _standard_errors(scores: ndarray) -> ndarray | float:
    """Standard errors of the means of scores ``(repeats, num_factors)``; NaN for a single repeat."""
    if len(scores) == 1:
        return np.nan
    return scores.std(0, ddof=1) / np.sqrt(len(scores))


def _check_sizes(num_labels: Sequence[int], repeats: int, num_train: int) -> None:
    in_range = num_labels and 2 <= min(num_labels) and max(num_labels) <= num_train
    if not in_range or repeats < 1:
        expected = f"num_labels of 2 to {num_train} training rows and repeats >= 1"
        raise ValueError(f"expected {expected}, got {list(num_labels)} and {repeats}")


def _accuracies(
    codes: ndarray, factors: ndarray, rows: ndarray, num_train: int, predictor: Probe, seed: int
) -> list[float]:
    """Test accuracy for each factor of a classifier that is trained on the given rows."""
    scores = []
    for classes in factors.T:
        predict = fit_probe(predictor, codes[rows], classes[rows], seed=seed)
        correct = predict(codes[num_train:]) == classes[num_train:]
        scores.append(float(np.mean(correct)))
    return scores


def sample_efficiency(accuracy: xr.DataArray, *, few: int = 100, many: int = 10_000) -> float:
    r"""Mean accuracy over the factors with few labels, as a share of that with many labels.

    .. math:: \frac{\sum_k a_{100}(k)}{\sum_k a_{10000}(k)}

    where :math:`a_n(k)` is the accuracy for factor :math:`k` with :math:`n` labels.

    Range: 0 to about 1; above 1 if more labels reduce the accuracy.

    Weakness: A code without information has the same accuracy with few and with many labels, so
    that its ratio is 1. Read the ratio beside the accuracy.

    Args:
        accuracy: Accuracies from :func:`downstream_accuracy`, over ``num_labels`` and ``factor``.
        few: Number of labels in the numerator.
        many: Number of labels in the denominator.

    Raises:
        KeyError: The accuracies lack that number of labels.

    References:
        [1] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359
    """
    known = accuracy["num_labels"].values.tolist()
    if missing := [num for num in (few, many) if num not in known]:
        raise KeyError(f"no accuracy with {missing[0]} labels; there are {known}")
    means = accuracy.mean("factor")
    return float(means.sel(num_labels=few) / means.sel(num_labels=many))
