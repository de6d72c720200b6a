"""Active units: how many codes carry anything at all?"""

from __future__ import annotations

from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_codes

__all__ = ["active_units"]


def active_units(codes: ArrayLike, *, threshold: float = 0.01) -> int:
    r"""Number of codes whose variance over the data exceeds ``threshold``.

    .. math:: \#\{d : \mathrm{Var}_x\, \mathbb{E}_{q(z \mid x)}[z_d] > 0.01\}

    Range: 0 to ``num_codes``. The estimator divides by ``num_data``.

    Weakness: takes posterior means under a standard normal prior. On codes of another scale the threshold means
    nothing, and scaling a code changes the count.

    Args:
        codes: posterior means, shape ``(num_data, num_codes)``.
        threshold: the paper's 0.01.

    References:
        [1] Burda et al., 2016. Importance Weighted Autoencoders. https://arxiv.org/abs/1509.00519
    """
    return int((as_codes(codes).var(0) > threshold).sum())
