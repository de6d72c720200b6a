"""Draw the images of a causal data set in chunks."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["render_in_chunks"]

_CHUNK_IMAGES = 64


def render_in_chunks(draw: Callable[[Tensor], Tensor], values: Tensor, num_channels: int) -> Tensor:
    """Images of node values ``(batch, nodes)``, drawn 64 at a time to stay in the cache.

    Args:
        draw: Function from node values to uint8 images with 3 channels.
        values: Node values of all images.
        num_channels: 3, or 4 for a last channel of 255.
    """
    images = torch.cat([draw(chunk) for chunk in values.split(_CHUNK_IMAGES)])
    num_opaque = num_channels - images.shape[1]
    return torch.nn.functional.pad(images, (0, 0, 0, 0, 0, num_opaque), value=255)
