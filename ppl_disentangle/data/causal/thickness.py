"""Thickness and intensity of a stroke, as in DeepSCM: an exact log density, drawn as a ring."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Gamma, Normal
from torch.nn.functional import softplus

from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.drawn.strokes import cover

__all__ = ["ThicknessIntensity"]

_LOWEST_INTENSITY = 64.0
_INTENSITY_SPAN = 191.0
_LOGIT_DEVIATION = 0.5
_SIZE_PIXELS = 28
_RING_RADIUS_PIXELS = 8.0
_NUM_QUADRATURE_NODES = 64


class ThicknessIntensity(CausalDataset):
    r"""Strokes of random thickness t whose intensity i increases with the thickness.

    .. math::
        t = 0.5 + \tfrac15 \gamma, \quad \gamma \sim \text{Gamma}(10), \qquad
        i = 64 + 191\, \sigma(2t - 5 + 0.5\, \varepsilon), \quad \varepsilon \sim N(0, 1),

    with the logistic function :math:`\sigma`. The pair has the distribution of DeepSCM's
    Morpho-MNIST [1], so log p(t) and log p(i | t) of a model can be compared with the exact
    :meth:`log_prob`, which no model exceeds on average. The image is a ring of radius 8 in 28 x 28
    pixels, with line width t and brightness i, where [1] has a digit.

    Thickness from 0 to 12 and intensity from 0 to 255 can be drawn.

    Args:
        num_data: Number of units; DeepSCM has 60,000 for training and 10,000 for testing.
        seed: Seed of the noise.

    References:
        [1] Pawlowski et al., 2020. Deep structural causal models for tractable counterfactual
        inference. https://arxiv.org/abs/2006.06485

    Example:
        >>> strokes = ThicknessIntensity(1000)
        >>> strokes.log_prob(strokes.values).shape
        torch.Size([1000, 2])
    """

    def __init__(self, num_data: int = 60_000, *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        uniform = torch.rand(num_data, 10, generator=generator, dtype=torch.float64)
        gamma = -torch.log1p(-uniform).sum(-1)  # the sum of ten exponential variables is Gamma(10)
        normal = torch.randn(num_data, generator=generator)
        super().__init__(
            "thickness -> intensity",
            {"thickness": gamma, "intensity": normal},
            name="thickness_intensity",
            observation_shape=(1, _SIZE_PIXELS, _SIZE_PIXELS),
            maximum=255,
            ranges={"thickness": (0, 12), "intensity": (0, 255)},
        )

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """Thickness from its gamma variable, intensity by the logistic function."""
        if node == "thickness":
            return 0.5 + noise / 5
        logit = 2 * parent_values["thickness"] - 5 + _LOGIT_DEVIATION * noise
        return _LOWEST_INTENSITY + _INTENSITY_SPAN * torch.sigmoid(logit)

    def render_values(self, values: Tensor) -> Tensor:
        """Images of thickness and intensity ``(batch, 2)``: uint8 ``(batch, 1, 28, 28)``."""
        thickness, intensity = values[:, :, None, None].unbind(1)  # (batch, 1, 1) each
        pixels = torch.arange(_SIZE_PIXELS, dtype=values.dtype, device=values.device)
        centres = pixels + (0.5 - _SIZE_PIXELS / 2)
        from_ring = (torch.hypot(centres[:, None], centres) - _RING_RADIUS_PIXELS).abs()
        share = cover(from_ring - thickness / 2).minimum(thickness)
        return (intensity * share).round().to(torch.uint8)[:, None]

    def log_prob(self, values: Tensor) -> Tensor:
        """log p(thickness) and log p(intensity | thickness) in nats, ``(batch, 2)``.

        Args:
            values: Thickness and intensity, ``(batch, 2)``. Intensities out of (64, 255) have log
                density -inf.
        """
        thickness, intensity = values.unbind(-1)
        gamma = _scaled_gamma(values)
        share = (intensity - _LOWEST_INTENSITY) / _INTENSITY_SPAN
        log_odds = share.log() - torch.log1p(-share)
        normal = Normal(2 * thickness - 5, _LOGIT_DEVIATION, validate_args=False).log_prob(log_odds)
        # Change of variables: the logit has derivative 1 / (span * share * (1 - share)).
        of_intensity = normal - math.log(_INTENSITY_SPAN) - share.log() - torch.log1p(-share)
        of_thickness = gamma.log_prob((thickness - 0.5).clamp(min=0))
        return torch.stack([of_thickness, of_intensity.nan_to_num(nan=-math.inf)], -1)

    def expected_log_prob(self) -> Tensor:
        r"""Expectation of :meth:`log_prob` over the data distribution, ``(2,)``: negative entropies.

        .. math::
            E \log p(i \mid t) = -\tfrac12 \log(2 \pi e\, 0.5^2) - \log 191 + E[\log(1 + e^y) + \log(1 + e^{-y})],
            \qquad y = 2t - 5 + 0.5\, \varepsilon

        The expectation over t and :math:`\varepsilon` is computed by Gauss quadrature.
        """
        y, weights = _logit_quadrature()
        negative_entropy_of_normal = -0.5 * math.log(math.tau * math.e * _LOGIT_DEVIATION**2)
        log_derivative = (weights * (softplus(y) + softplus(-y))).sum() - math.log(_INTENSITY_SPAN)
        of_intensity = log_derivative + negative_entropy_of_normal
        of_thickness = -_scaled_gamma(y).entropy()
        return torch.stack([of_thickness, of_intensity])


def _scaled_gamma(like: Tensor) -> Gamma:
    """Distribution of t - 0.5: a Gamma(10) variable divided by 5."""
    return Gamma(like.new_tensor(10.0), like.new_tensor(5.0), validate_args=False)


def _logit_quadrature() -> tuple[Tensor, Tensor]:
    """Nodes y = 2t - 5 + 0.5 epsilon and weights of a Gauss quadrature, ``(gamma, normal)``."""
    laguerre_nodes, laguerre_weights = np.polynomial.laguerre.laggauss(_NUM_QUADRATURE_NODES)
    hermite_nodes, hermite_weights = np.polynomial.hermite_e.hermegauss(_NUM_QUADRATURE_NODES)
    gamma = torch.from_numpy(laguerre_nodes)
    normal = torch.from_numpy(hermite_nodes)
    # Gauss-Laguerre weighs by exp(-g); the density of Gamma(10) is g^9 exp(-g) / Gamma(10).
    gamma_weights = torch.from_numpy(laguerre_weights) * (9 * gamma.log() - math.lgamma(10)).exp()
    normal_weights = torch.from_numpy(hermite_weights)
    y = 2 * (0.5 + gamma[:, None] / 5) - 5 + _LOGIT_DEVIATION * normal
    return y, gamma_weights[:, None] * normal_weights / math.sqrt(math.tau)
