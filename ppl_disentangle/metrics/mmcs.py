"""How well a dictionary holds the true one: mean maximal cosine similarity [Sharkey et al., 2022]."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array

__all__ = ["mmcs"]


def mmcs(directions: ArrayLike, true_directions: ArrayLike) -> float:
    r"""Mean over the true directions of the largest cosine that a direction of the dictionary has with it.

    .. math:: \frac1K \sum_k \max_i \frac{d_i \cdot t_k}{\|d_i\| \|t_k\|}

    **Range:** -1 to 1, and 1 where each true direction is in the dictionary, in any order and length. Directions of the
    dictionary beside them cost nothing.

    **Weakness:** a larger dictionary scores higher, a random one too: read the score beside that of a random
    dictionary of the same shape, and the score the other way round beside it.

    Args:
        directions: shape ``(num_directions, dim)``.
        true_directions: shape ``(num_true, dim)``.

    Raises:
        ValueError: other shapes, values that are not finite, or a direction of length zero among the true ones.

    References:
        [1] Sharkey et al., 2022. Taking features out of superposition with sparse autoencoders.
        https://www.alignmentforum.org/posts/z6QQJbtpkEAX3Aojj

    Example:
        >>> mmcs(np.array([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0]]), np.eye(2))
        1.0
    """
    found, true = as_array(directions), as_array(true_directions)
    if (
        found.ndim != 2
        or true.ndim != 2
        or found.shape[1] != true.shape[1]
        or not len(found)
        or not len(true)
    ):
        raise ValueError(
            f"expected directions of one dimension, got shapes {found.shape} and {true.shape}"
        )
    if not (np.isfinite(found).all() and np.isfinite(true).all()):
        raise ValueError("expected directions that are finite")
    lengths = np.linalg.norm(true, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise ValueError("a true direction has length zero")
    cosines = (found / np.linalg.norm(found, axis=1, keepdims=True).clip(min=1e-12)) @ (
        true / lengths
    ).T
    return float(cosines.max(0).mean())
