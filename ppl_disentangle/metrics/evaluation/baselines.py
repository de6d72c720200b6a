"""Linear baselines: principal and independent components, as functions that encode observations."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

__all__ = ["LinearCode", "ica", "pca"]


@dataclasses.dataclass(frozen=True, eq=False)
class LinearCode:
    r"""The encoder :math:`x \mapsto (x - m) W`, for observations on the scale of the training data.

    Attributes:
        mean: Mean observation :math:`m`, flattened, of shape ``(num_values,)``.
        weights: Weights :math:`W` of shape ``(num_values, num_codes)``.
        observation_shape: Shape of one observation.
        floating: Whether the training observations were floats instead of stored integers.
        converged: Whether the algorithm that computed the weights converged.
    """

    mean: Tensor
    weights: Tensor
    observation_shape: tuple[int, ...]
    floating: bool
    converged: bool = True

    def __call__(self, observations: Tensor) -> Tensor:
        """Codes ``(num, num_codes)``, on the observations' device."""
        if tuple(observations.shape[1:]) != self.observation_shape:
            expected = f"(num, *{self.observation_shape})"
            got = tuple(observations.shape)
            raise ValueError(f"expected observations {expected}, got {got}")
        if observations.is_floating_point() != self.floating:
            expected = "floats" if self.floating else "observations as stored"
            raise TypeError(f"expected {expected}, as in training; got {observations.dtype}")
        x = observations.flatten(1).float()
        if self.floating:
            x = torch.where(x.isnan(), self.mean.to(x.device), x)  # missing values
        return (x - self.mean.to(x.device)) @ self.weights.to(x.device)


def pca(observations: Tensor, num_codes: int, *, seed: int = 0) -> LinearCode:
    """The largest principal components, each scaled to variance 1 over the training observations.

    A missing value, which is NaN, counts as the mean of its column.

    Args:
        observations: Training observations, as stored or as floats, of shape ``(num_data,
            *observation_shape)``.
        num_codes: Number of components. Codes beyond the rank of the data are constant.
        seed: Seed of the randomised decomposition.

    References:
        [1] Halko et al., 2011. Finding Structure with Randomness. https://arxiv.org/abs/0909.4061
    """
    from sklearn.decomposition import PCA

    x = _imputed(observations.flatten(1).float().cpu()).numpy()
    if not 1 <= num_codes <= min(x.shape):
        raise ValueError(f"expected 1 <= num_codes <= {min(x.shape)}, got {num_codes}")
    fitted = PCA(num_codes, random_state=seed).fit(x)
    weights = fitted.components_.T * _inverse_deviations(fitted.transform(x))
    return LinearCode(
        torch.tensor(fitted.mean_),
        torch.tensor(weights, dtype=torch.float32),
        tuple(observations.shape[1:]),
        observations.is_floating_point(),
    )


def _imputed(x: Tensor) -> Tensor:
    """Observations ``(num_data, num_values)`` with the mean of its column for each missing value."""
    missing = x.isnan()
    return torch.where(missing, x.nanmean(0).nan_to_num(0.0), x) if missing.any() else x


def _inverse_deviations(components: ndarray) -> ndarray:
    """One over the standard deviation of each component; 0 for components that do not vary."""
    # scikit-learn's explained_variance_ holds rounding noise instead of 0.
    variances = components.var(0, ddof=1)
    varies = variances > 1e-6 * variances.max()
    return np.where(varies, variances, np.inf) ** -0.5


def ica(
    observations: Tensor, num_codes: int, *, seed: int = 0, max_iter: int = 10_000
) -> LinearCode:
    """The principal components of :func:`pca`, rotated to be independent by FastICA.

    This is equivalent to scikit-learn's ``FastICA`` with ``num_codes`` components of unit variance.
    If the iteration does not converge, the last rotation is used and ``converged`` is False; the
    code is still a baseline.

    Args:
        observations: Training observations, as stored or as floats, of shape ``(num_data,
            *observation_shape)``.
        num_codes: Number of components.
        seed: Seed of the decomposition and of the initial rotation.
        max_iter: Largest number of iterations of FastICA.

    References:
        [1] Hyvärinen and Oja, 2000. Independent Component Analysis: Algorithms and Applications.
            https://doi.org/10.1016/S0893-6080(00)00026-5
    """
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    white = pca(observations, num_codes, seed=seed)
    rotation = FastICA(whiten=False, random_state=seed, max_iter=max_iter, tol=1e-3)
    with warnings.catch_warnings():
        # `converged` reports it instead.
        warnings.simplefilter("ignore", ConvergenceWarning)
        rotation.fit(white(observations).cpu().numpy())
    unmixing = torch.tensor(rotation.components_.T, dtype=torch.float32)
    return dataclasses.replace(
        white, weights=white.weights @ unmixing, converged=rotation.n_iter_ < max_iter
    )
