"""The evidence lower bound under a constraint on its KL (beta-VAE) or its likelihood (GECO)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.inference.elbo.adaptive import AdaptiveELBO
from ppl_disentangle.inference.elbo.schedules import Weight, as_text, at_step

__all__ = ["ConstrainedELBO"]


class ConstrainedELBO(AdaptiveELBO):
    r"""The highest log likelihood for a bounded KL, or the lowest KL for a bounded log likelihood.

    With ``kl=eps`` it solves the problem whose Lagrangian is the objective of the beta-VAE [1]:

    .. math:: \max \mathbb E \log p(x \mid z) \quad \text{subject to} \quad
       \operatorname{KL}(q(z \mid x) \,\|\, p(z)) \le \epsilon

    With ``log_likelihood=bound`` it solves the problem of GECO [2]:

    .. math:: \min \operatorname{KL}(q(z \mid x) \,\|\, p(z)) \quad \text{subject to} \quad
       \mathbb E \log p(x \mid z) \ge b

    Constraints are in nats per datum. Terms: ``"log_likelihood"`` and ``"kl"`` (the negative
    divergence). The constrained term is weighted by a multiplier :math:`\lambda > 0`; the other has
    weight 1. After each training step :math:`\lambda \leftarrow \lambda e^{r \bar C}`, where
    :math:`\bar C` is a moving average of the violation of the constraint. When training converges,
    :math:`\lambda` is the Lagrange multiplier; for a bounded KL it is the beta that belongs to
    :math:`\epsilon`.

    Choose a bound on the log likelihood from an earlier run: if the model cannot reach it,
    :math:`\lambda` grows to its maximum. For large images, whose log likelihood changes by many
    nats in a step, choose a smaller ``rate``.

    Other implementations: Taming-VAEs reports the training loss of the last batch as its held-out
    loss.

    Args:
        kl: Upper bound on the KL, in nats per datum: a number or a schedule.
        log_likelihood: Lower bound on the log likelihood, in nats per datum: a number or a
            schedule.
        rate: Rate r at which the multiplier follows the violation. No paper gives a value; 0.01 is
            our choice.
        decay: Decay of the moving average, which starts at the first violation. No paper gives a
            value; 0.99 is our choice.
        multiplier: Initial multiplier. At 1 the first step uses the evidence lower bound.
        minimum: Smallest value of the multiplier.
        maximum: Largest value of the multiplier.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`, except
            ``warm_up``; see there.

    Raises:
        ValueError: Neither or both constraints were passed, or an argument is out of its range.

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
        [2] Rezende & Viola, 2018. https://arxiv.org/abs/1810.00597

    Example:
        >>> from ppl_disentangle.inference.objectives.constrained import ConstrainedELBO
        >>> ConstrainedELBO(kl=10.0).weight("kl")
        tensor(1.)
    """

    average: Tensor

    def __init__(
        self,
        *,
        kl: Weight | None = None,
        log_likelihood: Weight | None = None,
        rate: float = 0.01,
        decay: float = 0.99,
        multiplier: float = 1.0,
        minimum: float = 1e-6,
        maximum: float = 1e6,
        **options: Any,
    ) -> None:
        term, bound = _constraint(kl, log_likelihood)
        if rate <= 0 or not 0 <= decay < 1:
            raise ValueError(
                f"expected rate > 0 and decay from 0 to below 1, got rate={rate}, decay={decay}"
            )
        if not 0 < minimum <= multiplier <= maximum:
            raise ValueError(
                "expected 0 < minimum <= multiplier <= maximum,"
                f" got {minimum}, {multiplier}, {maximum}"
            )
        super().__init__(term, multiplier, **options)
        self.bound = bound
        self.rate = rate
        self.decay = decay
        self.minimum = minimum
        self.maximum = maximum
        self.register_buffer("average", torch.zeros(()))

    def extra_repr(self) -> str:
        """The constraint and the schedule of its multiplier, for checkpoints and tables."""
        limits = f"minimum={self.minimum}, maximum={self.maximum}"
        return f"{self.term}={as_text(self.bound)}, rate={self.rate}, decay={self.decay}, {limits}"

    def adapt(self, reached: Tensor) -> None:
        """Average the violation, and multiply the multiplier by its exponential."""
        bound = at_step(self.bound, self.step)
        # Both terms are signed as parts of the bound: the term "kl" is minus the divergence.
        violation = (-bound if self.term == "kl" else bound) - reached
        average = self.decay * self.average + (1 - self.decay) * violation
        self.average.copy_(torch.where(self.step == 0, violation, average))
        self.multiplier.mul_((self.rate * self.average).exp()).clamp_(self.minimum, self.maximum)


def _constraint(kl: Weight | None, log_likelihood: Weight | None) -> tuple[str, Weight]:
    """The name and the bound of the one constraint that was passed."""
    if kl is not None and log_likelihood is None:
        if not callable(kl) and kl <= 0:
            raise ValueError(f"expected kl > 0, in nats per datum, got {kl}")
        return "kl", kl
    if log_likelihood is not None and kl is None:
        return "log_likelihood", log_likelihood
    raise ValueError(f"expected one constraint, got kl={kl} and log_likelihood={log_likelihood}")
