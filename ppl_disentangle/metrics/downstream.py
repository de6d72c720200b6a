"""Downstream prediction: how well, and from how few labels, are the factors read from the codes?"""

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

    where :math:`f^{(r)}_{n,k}` predicts factor :math:`v_k` and is trained on :math:`n` training rows, drawn
    without replacement anew in each of :math:`R` repeats. See :func:`sample_efficiency` for their ratio.

    Range: 0 to 1; chance is the share of the commonest class. Invariant under permutation and sign of the
    codes; ``"linear"`` also under shift and scale, and rotation up to its penalty; trees under monotone maps of
    each code, and not under rotation.

    Weakness: says whether the factors can be read, not whether each has a code of its own: the accuracy of a
    linear probe is the same for a perfect code and a rotated one. The accuracy depends on the number of values
    of a factor, so compare only on the same data.

    Args:
        codes_train: shape ``(num_train, num_codes)``.
        factors_train: shape ``(num_train, num_factors)``.
        codes_test: shape ``(num_test, num_codes)``.
        factors_test: shape ``(num_test, num_factors)``.
        predictor: ``"linear"``, a logistic regression, or trees: ``"gbt"``, ``"lightgbm"`` or ``"forest"``, as
            in :func:`dci`. The study of [1] cross-validates the penalty of its regression; here it is fixed.
        num_labels: numbers of training rows.
        repeats: draws of the rows; all rows are used once.
        seed: of the draws and of the trees.

    Returns:
        A dataset over ``num_labels`` and ``factor`` with ``accuracy`` and, over the repeats,
        ``accuracy_standard_error``; NaN for a factor with one value in the training rows.

    Raises:
        ValueError: there are fewer training rows than labels asked for.

    References:
        [1] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359
    """
    import xarray as xr

    z, v, num_train = as_split(codes_train, factors_train, codes_test, factors_test)
    if not (num_labels and 2 <= min(num_labels) and max(num_labels) <= num_train and repeats >= 1):
        got = f"{list(num_labels)} and {repeats}"
        raise ValueError(
            f"expected num_labels of 2 to {num_train} training rows and repeats >= 1, got {got}"
        )
    rng, several = np.random.default_rng(seed), varying(v[:num_train])
    means, errors = np.full((2, len(num_labels), v.shape[1]), np.nan)
    for row, num in enumerate(num_labels):
        draws = [rng.permutation(num_train)[:num] for _ in range(repeats if num < num_train else 1)]
        scores = np.array(
            [_accuracies(z, v[:, several], rows, num_train, predictor, seed) for rows in draws]
        )
        means[row, several] = scores.mean(0)
        if len(draws) > 1:
            errors[row, several] = scores.std(0, ddof=1) / np.sqrt(len(draws))
    dims = ("num_labels", "factor")
    variables = {"accuracy": (dims, means), "accuracy_standard_error": (dims, errors)}
    return xr.Dataset(variables, {"num_labels": list(num_labels)}, {"predictor": predictor})


def sample_efficiency(accuracy: xr.DataArray, *, few: int = 100, many: int = 10_000) -> float:
    r"""How much of the accuracy with many labels is there with few: the ratio of the means over the factors.

    .. math:: \frac{\sum_k a_{100}(k)}{\sum_k a_{10000}(k)}

    Range: 0 to about 1, above where more labels do harm.

    Weakness: a code that tells nothing has the same accuracy from few labels as from many, and so the ratio 1;
    read it beside the accuracy.

    Args:
        accuracy: what :func:`downstream_accuracy` gives, over ``num_labels`` and ``factor``.
        few: number of labels of the numerator.
        many: number of labels of the denominator.

    Raises:
        KeyError: there is no accuracy at that number of labels.

    References:
        [1] Locatello et al., 2019. Challenging Common Assumptions. https://arxiv.org/abs/1811.12359
    """
    known = accuracy["num_labels"].values.tolist()
    if missing := [num for num in (few, many) if num not in known]:
        raise KeyError(f"no accuracy with {missing[0]} labels; there are {known}")
    means = accuracy.mean("factor")
    return float(means.sel(num_labels=few) / means.sel(num_labels=many))


def _accuracies(
    codes: ndarray, factors: ndarray, rows: ndarray, num_train: int, predictor: Probe, seed: int
) -> list[float]:
    predictions = [
        fit_probe(predictor, codes[rows], v[rows], seed=seed)(codes[num_train:]) for v in factors.T
    ]
    return [float(np.mean(p == v)) for p, v in zip(predictions, factors[num_train:].T, strict=True)]
