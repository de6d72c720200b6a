"""The objective of ControlVAE: a controller holds the KL at a target."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.inference.elbo.adaptive import AdaptiveELBO
from ppl_disentangle.inference.elbo.schedules import Weight, as_text, at_step

__all__ = ["ControlELBO"]


class ControlELBO(AdaptiveELBO):
    r"""The evidence lower bound with its KL held at a target by a PI controller: ControlVAE [1].

    .. math:: \beta(t + 1) = \frac{K_p}{1 + e^{e(t)}} - K_i \sum_{s \le t} e(s) + \beta_{\min}, \quad
       e(t) = C(t) - \operatorname{KL}(t)

    clamped to :math:`[\beta_{\min}, \beta_{\max}]`. KL(t) is the mean over the batch, in nats per
    datum. Terms: ``"log_likelihood"`` and ``"kl"`` (the negative divergence), weighted by
    :math:`\beta`, which starts at :math:`\beta_{\min}`. The multiplier of
    :class:`~ppl_disentangle.inference.ConstrainedELBO` changes by a factor in each step;
    :math:`\beta` changes by a difference.

    Anti-windup: while :math:`\beta` is out of its range, errors that would drive it farther out are
    not added to the sum; errors that bring it back are. The range limits the
    KL: a minimum of 1 cannot exceed the KL of the evidence lower bound.

    Other implementations: The authors' code freezes the whole sum while :math:`\beta` is out of its
    range. As the first term is at most :math:`K_p`, a single error above :math:`K_p / K_i`, 10
    nats, then leaves :math:`\beta` at its minimum forever.

    Args:
        kl: Target C(t) of the KL, in nats per datum: a number or a schedule. The authors' code
            raises it from 0.5 by 0.15 every 5000 steps.
        proportional: Gain :math:`K_p`; the default is the authors' for disentanglement.
        integral: Gain :math:`K_i`; the default is the authors' for disentanglement.
        minimum: Smallest weight :math:`\beta_{\min}`; the default is the authors' for
            disentanglement.
        maximum: Largest weight :math:`\beta_{\max}`; the default is our choice.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`, except
            ``warm_up``; see there.

    Raises:
        ValueError: An argument is out of its range.

    References:
        [1] Shao et al., 2020. https://arxiv.org/abs/2004.05988

    Example:
        >>> from ppl_disentangle.inference.objectives.control_vae import ControlELBO
        >>> from ppl_disentangle.inference.elbo.schedules import Linear
        >>> ControlELBO(Linear(0.5, 18.0, 500_000)).weight("kl")
        tensor(1.)
    """

    accumulated: Tensor

    def __init__(
        self,
        kl: Weight,
        *,
        proportional: float = 0.01,
        integral: float = 0.001,
        minimum: float = 1.0,
        maximum: float = 100.0,
        **options: Any,
    ) -> None:
        if not callable(kl) and kl <= 0:
            raise ValueError(f"expected kl > 0, in nats per datum, got {kl}")
        if proportional < 0 or integral < 0:
            gains = f"proportional={proportional}, integral={integral}"
            raise ValueError(f"expected gains that are not negative, got {gains}")
        if not 0 <= minimum <= maximum:
            raise ValueError(f"expected 0 <= minimum <= maximum, got {minimum}, {maximum}")
        super().__init__("kl", minimum, **options)
        self.target = kl
        self.proportional = proportional
        self.integral = integral
        self.minimum = minimum
        self.maximum = maximum
        self.register_buffer("accumulated", torch.zeros(()))

    def extra_repr(self) -> str:
        """The target, the gains and the range, for checkpoints and tables."""
        gains = f"proportional={self.proportional}, integral={self.integral}"
        return f"kl={as_text(self.target)}, {gains}, minimum={self.minimum}, maximum={self.maximum}"

    def adapt(self, reached: Tensor) -> None:
        """Take one step of the controller."""
        # reached is minus the KL, so this is C(t) - KL(t).
        error = at_step(self.target, self.step) + reached
        proportional_part = self.minimum + self.proportional * torch.sigmoid(-error)
        beta = proportional_part + self.accumulated
        winds_down = (beta < self.minimum) & (error > 0)
        winds_up = (beta > self.maximum) & (error < 0)
        change = (self.integral * error).masked_fill(winds_down | winds_up, 0.0)
        self.accumulated.sub_(change)
        beta = proportional_part + self.accumulated
        self.multiplier.copy_(beta.clamp(self.minimum, self.maximum))
