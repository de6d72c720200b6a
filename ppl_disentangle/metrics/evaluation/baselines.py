"""Linear baselines: principal and independent components, as functions that encode observations."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import torch
from torch import Tensor

__all__ = ["LinearCode", "ica", "pca"]


@dataclasses.dataclass(frozen=True, eq=False)
class LinearCode:
    r"""The encoder :math:`x \mapsto (x - m) W`, for observations in the units of the training ones.

    Attributes:
        mean: shape ``(num_values,)``, an observation flattened.
        weights: shape ``(num_values, num_codes)``.
        observation_shape: shape of one observation.
        floating: whether the training observations were floats, not as stored.
        converged: whether the algorithm that found the weights did.
    """

    mean: Tensor
    weights: Tensor
    observation_shape: tuple[int, ...]
    floating: bool
    converged: bool = True

    def __call__(self, observations: Tensor) -> Tensor:
        """Codes ``(num, num_codes)``, on the observations' device."""
        if tuple(observations.shape[1:]) != self.observation_shape:
            raise ValueError(
                f"expected observations (num, *{self.observation_shape}), got {tuple(observations.shape)}"
            )
        if observations.is_floating_point() != self.floating:
            expected = "floats" if self.floating else "observations as stored"
            raise TypeError(f"expected {expected}, as in training; got {observations.dtype}")
        x, device = observations.flatten(1).float(), observations.device
        return (x - self.mean.to(device)) @ self.weights.to(device)


def pca(observations: Tensor, num_codes: int, *, seed: int = 0) -> LinearCode:
    """The ``num_codes`` largest principal components, each of variance 1 over the training observations.

    Args:
        observations: as stored or as floats, shape ``(num_data, *observation_shape)``.
        num_codes: number of components; beyond the rank of the data, codes are constant.
        seed: random state of the randomised decomposition.

    References:
        [1] Halko et al., 2011. Finding Structure with Randomness. https://arxiv.org/abs/0909.4061
    """
    from sklearn.decomposition import PCA

    x = observations.flatten(1).float().cpu().numpy()
    if not 1 <= num_codes <= min(x.shape):
        raise ValueError(f"expected 1 <= num_codes <= {min(x.shape)}, got {num_codes}")
    fitted = PCA(num_codes, random_state=seed).fit(x)
    variances = fitted.transform(x).var(
        0, ddof=1
    )  # explained_variance_ has rounding noise in place of 0
    scale = np.where(variances > 1e-6 * variances.max(), variances, np.inf) ** -0.5
    weights = torch.tensor(fitted.components_.T * scale, dtype=torch.float32)
    return LinearCode(
        torch.tensor(fitted.mean_),
        weights,
        tuple(observations.shape[1:]),
        observations.is_floating_point(),
    )


def ica(
    observations: Tensor, num_codes: int, *, seed: int = 0, max_iter: int = 10_000
) -> LinearCode:
    """The principal components of :func:`pca`, rotated to be independent (FastICA).

    This is equivalent to scikit-learn's ``FastICA`` with ``num_codes`` components of unit variance. Where the
    iteration does not converge, the last rotation is used and ``converged`` is False: still a baseline.

    Args:
        observations: as stored or as floats, shape ``(num_data, *observation_shape)``.
        num_codes: number of components.
        seed: random state of the decomposition and of the first rotation.
        max_iter: iterations of FastICA.

    References:
        [1] Hyvärinen and Oja, 2000. Independent Component Analysis: Algorithms and Applications.
            https://doi.org/10.1016/S0893-6080(00)00026-5
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    white = pca(observations, num_codes, seed=seed)
    rotation = FastICA(whiten=False, random_state=seed, max_iter=max_iter, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the result says so by `converged`
        rotation.fit(white(observations).cpu().numpy())
    unmixing = torch.tensor(rotation.components_.T, dtype=torch.float32)
    return dataclasses.replace(
        white, weights=white.weights @ unmixing, converged=rotation.n_iter_ < max_iter
    )
