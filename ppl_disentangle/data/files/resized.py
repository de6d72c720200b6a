"""Reduce the size of images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

__all__ = ["resized"]


def resized(images: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    """Resize square images ``(num, side, side, channels)`` to ``size`` pixels.

    The interpolation is bilinear, with antialiasing. This is equivalent to Pillow's ``BILINEAR``, up to rounding.
    """
    if images.shape[1] == size:
        return images
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    x = torch.nn.functional.interpolate(x, size=(size, size), mode="bilinear", antialias=True)
    return x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()
