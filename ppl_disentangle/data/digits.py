"""The 1,797 handwritten digits of 8 x 8 pixels that are part of scikit-learn."""

from __future__ import annotations

import torch

from ppl_disentangle.data.arrays import ArrayDataset
from ppl_disentangle.data.base import Factor

__all__ = ["digits"]


def digits() -> ArrayDataset:
    """Real handwritten digits without a download; the only factor is the digit.

    Observations have shape ``(1, 8, 8)`` and 17 shades of grey, stored as 0 to 16.

    References:
        [1] Alpaydin and Kaynak, 1998. Optical recognition of handwritten digits.
        https://archive.ics.uci.edu/dataset/80
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(bunch.images).to(torch.uint8)
    return ArrayDataset(
        images[:, None],
        torch.from_numpy(bunch.target).long()[:, None],
        space=[Factor("digit", tuple(range(10)), "categorical")],
        maximum=16,
        name="digits",
    )
