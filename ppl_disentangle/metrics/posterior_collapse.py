"""Posterior collapse: which coordinates of the posterior say nothing about the datum?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array

__all__ = ["collapsed"]


def collapsed(kls: ArrayLike, *, threshold: float = 0.01) -> ndarray:
    r"""Which coordinates have a mean divergence from the prior below ``threshold`` nats.

    .. math:: \frac{1}{N} \sum_n \operatorname{KL}\big(q(z_d \mid x_n) \,\|\, p(z_d)\big) < 0.01

    Divergences are what ``elbo_per_datum(story, data)["kl"]`` gives. Unlike :func:`active_units` this reads the
    posterior's scale too, and does not depend on the scale of the prior.

    Range: a flag for each coordinate.

    Weakness: a threshold on a mean. A coordinate that says much about few data may fall below it.

    Args:
        kls: divergences in nats, ``(num_data, num_codes)``, or their means over the data, ``(num_codes,)``.
        threshold: in nats; the one by which :func:`udr` leaves coordinates out.

    Returns:
        A boolean array of shape ``(num_codes,)``.

    Raises:
        ValueError: a divergence is NaN, or their array has another number of dimensions.

    References:
        [1] Duan et al., 2020. Unsupervised Model Selection for Variational Disentangled Representation Learning
            (the threshold). https://arxiv.org/abs/1905.12614

    Example:
        >>> collapsed([3.1, 0.002, 0.4])
        array([False,  True, False])
    """
    values = as_array(kls).astype(np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(
            f"expected kls of shape (num_codes,) or (num_data, num_codes), got {values.shape}"
        )
    means = values.mean(0) if values.ndim == 2 else values
    if np.isnan(means).any():
        raise ValueError("expected kls in nats, got NaN")
    return means < threshold
