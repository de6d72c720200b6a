"""Thickness and intensity of a stroke, as in DeepSCM: a pair with an exact log density, drawn as a ring."""

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

_LOWEST, _SPAN, _SPREAD = 64.0, 191.0, 0.5
_SIZE, _RADIUS = 28, 8.0


class ThicknessIntensity(CausalDataset):
    r"""Strokes of random thickness t, which are the brighter the thicker they are.

    .. math::
        t = 0.5 + \tfrac15 \gamma, \quad \gamma \sim \text{Gamma}(10), \qquad
        i = 64 + 191\, \sigma(2t - 5 + 0.5\, \varepsilon), \quad \varepsilon \sim N(0, 1),

    with the logistic function :math:`\sigma`. The law of the pair is that of DeepSCM's Morpho-MNIST [1]: a model's
    log p(t) and log p(i | t) can be held against :meth:`log_prob`, which none exceeds on average. The image is a choice
    of ours: a ring of radius 8 in 28 x 28 pixels, with line width t and brightness i, in place of a digit.

    Everything within the following ranges can be drawn: thickness of 0 to 12, intensity of 0 to 255.

    Args:
        num_data: number of units; DeepSCM has 60,000 for training and 10,000 for testing.
        seed: of the noise.

    References:
        [1] Pawlowski et al., 2020. Deep structural causal models for tractable counterfactual inference.
        https://arxiv.org/abs/2006.06485

    Example:
        >>> strokes = ThicknessIntensity(1000)
        >>> strokes.log_prob(strokes.values).shape
        torch.Size([1000, 2])
    """

    def __init__(self, num_data: int = 60_000, *, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        exponential = -torch.log1p(
            -torch.rand(num_data, 10, generator=generator, dtype=torch.float64)
        )
        super().__init__(
            "thickness -> intensity",
            {
                "thickness": exponential.sum(-1),
                "intensity": torch.randn(num_data, generator=generator),
            },
            name="thickness_intensity",
            observation_shape=(1, _SIZE, _SIZE),
            maximum=255,
            ranges={"thickness": (0, 12), "intensity": (0, 255)},
        )

    def mechanism(self, node: str, noise: Tensor, parent_values: Mapping[str, Tensor]) -> Tensor:
        """Thickness from its gamma variable, intensity by the logistic function."""
        if node == "thickness":
            return 0.5 + noise / 5
        return _LOWEST + _SPAN * torch.sigmoid(2 * parent_values["thickness"] - 5 + _SPREAD * noise)

    def render_values(self, values: Tensor) -> Tensor:
        """Images of thickness and intensity ``(batch, 2)``: uint8 ``(batch, 1, 28, 28)``."""
        thickness, intensity = values[:, :, None, None].unbind(1)
        centres = torch.arange(_SIZE, dtype=values.dtype, device=values.device) + (0.5 - _SIZE / 2)
        off = (torch.hypot(centres[:, None], centres) - _RADIUS).abs()
        share = cover(off - thickness / 2).minimum(thickness)
        return (intensity * share).round().to(torch.uint8)[:, None]

    def log_prob(self, values: Tensor) -> Tensor:
        """log p(thickness) and log p(intensity | thickness) in nats, for values ``(batch, 2)``, of the same shape.

        Intensities out of (64, 255) have -inf.
        """
        thickness, intensity = values.unbind(-1)
        gamma = Gamma(values.new_tensor(10.0), values.new_tensor(5.0), validate_args=False)
        share = (intensity - _LOWEST) / _SPAN
        log_odds = share.log() - torch.log1p(-share)
        normal = Normal(2 * thickness - 5, _SPREAD, validate_args=False).log_prob(log_odds)
        of_intensity = normal - math.log(_SPAN) - share.log() - torch.log1p(-share)
        of_thickness = gamma.log_prob((thickness - 0.5).clamp(min=0))
        return torch.stack([of_thickness, of_intensity.nan_to_num(nan=-math.inf)], -1)

    def expected_log_prob(self) -> Tensor:
        r"""Means of :meth:`log_prob` over the law, ``(2,)``: the negative entropies, by Gauss quadrature.

        .. math::
            E \log p(i \mid t) = -\tfrac12 \log(2 \pi e\, 0.5^2) - \log 191 + E[\log(1 + e^y) + \log(1 + e^{-y})],
            \qquad y = 2t - 5 + 0.5\, \varepsilon
        """
        gamma, weight = (torch.from_numpy(a) for a in np.polynomial.laguerre.laggauss(64))
        weight = weight * (9 * gamma.log() - math.lgamma(10)).exp()
        normal, normal_weight = (
            torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(64)
        )
        y = 2 * (0.5 + gamma[:, None] / 5) - 5 + _SPREAD * normal
        joint = weight[:, None] * normal_weight / math.sqrt(math.tau)
        of_intensity = (joint * (softplus(y) + softplus(-y))).sum() - math.log(_SPAN)
        of_intensity = of_intensity - 0.5 * math.log(math.tau * math.e * _SPREAD**2)
        of_thickness = -Gamma(gamma.new_tensor(10.0), gamma.new_tensor(5.0)).entropy()
        return torch.stack([of_thickness, of_intensity])
