"""Posterior collapse: which coordinates of the posterior carry no information about the datum?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array

__all__ = ["collapsed"]


def collapsed(kls: ArrayLike, *, threshold: float = 0.01) -> ndarray:
    r"""Mask of the coordinates whose mean divergence from the prior is below ``threshold`` nats.

    .. math:: \frac{1}{N} \sum_n \operatorname{KL}\big(q(z_d \mid x_n) \,\|\, p(z_d)\big) < 0.01

    where :math:`q(z_d \mid x_n)` is the posterior of coordinate :math:`d` for datum :math:`n` and
    :math:`p(z_d)` its prior. ``elbo_per_datum(story, data)["kl"]`` computes the divergences. Unlike
    :func:`active_units` this metric uses the scale of the posterior, and does not depend on the
    scale of the prior.

    Range: True or False for each coordinate.

    Weakness: The threshold applies to a mean. A coordinate that carries much information about few
    data may fall below it.

    Args:
        kls: Divergences in nats, of shape ``(num_data, num_codes)``, or their means over the data,
            of shape ``(num_codes,)``.
        threshold: Threshold in nats. :func:`udr` uses the same default.

    Returns:
        A boolean array of shape ``(num_codes,)``.

    Raises:
        ValueError: A divergence is NaN, or the array has another number of dimensions.

    References:
        [1] Duan et al., 2020. Unsupervised Model Selection for Variational Disentangled
            Representation Learning (the threshold). https://arxiv.org/abs/1905.12614

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
