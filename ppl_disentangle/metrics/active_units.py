"""Active units: how many codes vary with the data?"""

from __future__ import annotations

from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes

__all__ = ["active_units"]


def active_units(codes: ArrayLike, *, threshold: float = 0.01) -> int:
    r"""Number of codes whose variance over the data exceeds ``threshold``.

    .. math:: \#\{d : \mathrm{Var}_x\, \mathbb{E}_{q(z \mid x)}[z_d] > 0.01\}

    where the codes are the posterior means :math:`\mathbb{E}_{q(z \mid x)}[z_d]` of the data
    :math:`x`.

    Range: 0 to ``num_codes``. The variance divides by ``num_data``.

    Weakness: The threshold assumes posterior means under a standard normal prior. It is meaningless
    for codes of another scale, and scaling a code changes the count.

    Args:
        codes: Posterior means of shape ``(num_data, num_codes)``.
        threshold: Variance above which a code is active. The default is from the paper.

    References:
        [1] Burda et al., 2016. Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """
    return int((as_codes(codes).var(0) > threshold).sum())
