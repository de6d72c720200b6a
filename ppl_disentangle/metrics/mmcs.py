"""Mean maximal cosine similarity (MMCS): how well does a dictionary contain the true directions?"""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from numpy.typing import ArrayLike

from ppl_disentangle.metrics.estimators.arrays import as_array

__all__ = ["mmcs"]

SMALLEST_LENGTH = 1e-12


def mmcs(directions: ArrayLike, true_directions: ArrayLike) -> float:
    r"""Mean over the true directions of the largest cosine with a direction of the dictionary.

    .. math:: \frac1K \sum_k \max_i \frac{d_i \cdot t_k}{\|d_i\| \|t_k\|}

    where :math:`d_i` are the directions of the dictionary and :math:`t_k` the :math:`K` true
    directions.

    Range: -1 to 1. The score is 1 if the dictionary contains each true direction, in any order and
    length. Additional directions of the dictionary do not lower the score.

    Weakness: A larger dictionary scores higher, even a random one. Read the score beside the score
    of a random dictionary of the same shape, and beside the score with both arguments exchanged.

    Args:
        directions: Directions of the dictionary, of shape ``(num_directions, dim)``.
        true_directions: True directions, of shape ``(num_true, dim)``.

    Raises:
        ValueError: The shapes do not match, a value is not finite, or a true direction has length
            zero.

    References:
        [1] Sharkey et al., 2022. Taking features out of superposition with sparse autoencoders.
            https://www.alignmentforum.org/posts/z6QQJbtpkEAX3Aojj

    Example:
        >>> mmcs(np.array([[0.0, 2.0], [1.0, 1.0], [3.0, 0.0]]), np.eye(2))
        1.0
    """
    dictionary, true = _checked(directions, true_directions)
    lengths = np.linalg.norm(true, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise ValueError("a true direction has length zero")
    dictionary_lengths = np.linalg.norm(dictionary, axis=1, keepdims=True)
    units = dictionary / dictionary_lengths.clip(min=SMALLEST_LENGTH)
    cosines = units @ (true / lengths).T  # (num_directions, num_true)
    return float(cosines.max(0).mean())


def _checked(directions: ArrayLike, true_directions: ArrayLike) -> tuple[ndarray, ndarray]:
    """Both as finite arrays ``(number, dim)`` of one dimension."""
    dictionary = as_array(directions)
    true = as_array(true_directions)
    arrays = (dictionary, true)
    are_matrices = all(array.ndim == 2 and len(array) for array in arrays)
    if not are_matrices or dictionary.shape[1] != true.shape[1]:
        got = f"{dictionary.shape} and {true.shape}"
        raise ValueError(f"expected directions of one dimension, got shapes {got}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("expected directions that are finite")
    return dictionary, true
