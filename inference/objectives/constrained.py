"""Bounds with a weight that adapts until a constraint is met: a Lagrange multiplier, and ControlVAE's controller."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight, at_step, spelled
from ppl_disentangle.inference.elbo.terms import elbo_terms
from ppl_disentangle.sites import sampled_sites

__all__ = ["AdaptiveELBO", "ConstrainedELBO", "ControlELBO"]


class AdaptiveELBO(DecomposedELBO):
    """The evidence lower bound with a weight that adapts to what training reaches.

    Terms: ``"log_likelihood"`` and ``"kl"`` (the negative divergence, in closed form where torch knows it). One of them
    has the weight :attr:`multiplier`, the other has weight 1. A step of training uses the weight that the step before
    left; evaluation leaves it alone. It is a buffer, hence moves with the module and is in its ``state_dict``.

    Implementing one: pass the name of the term and its first weight to ``__init__``, and define :meth:`adapt`.

    Args:
        term: the name of the term whose weight adapts.
        multiplier: its weight at first.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`, but for ``warm_up``.

    Raises:
        ValueError: ``warm_up``.
    """

    multiplier: Tensor

    def __init__(self, term: str, multiplier: float, **options: Any) -> None:
        if options.get("warm_up"):
            raise ValueError(
                f"the weight of {term!r} adapts by itself; expected no warm_up, got {options['warm_up']}"
            )
        super().__init__({}, **options)
        self.term = term
        self.register_buffer("multiplier", torch.tensor(float(multiplier)))

    @abstractmethod
    def adapt(self, reached: Tensor) -> None:
        """Move :attr:`multiplier`, in place; ``reached`` is the term of a step of training, in nats per datum."""

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and negative KL, in nats."""
        self._count = Latents(list(sampled_sites(guide_trace).values())).count
        return elbo_terms(model_trace, guide_trace)

    def weight(self, name: str) -> float | Tensor:
        """The weight of a term at the present step."""
        return self.multiplier.clone() if name == self.term else super().weight(name)

    def advance(self) -> None:
        """Adapt to the terms of a step of training, and take note of it."""
        self.adapt((self.last_terms[self.term] / self._count).to(self.multiplier))
        super().advance()


class ConstrainedELBO(AdaptiveELBO):
    r"""The best log likelihood that a KL allows, or the least KL that a log likelihood allows.

    With ``kl=eps``, the problem that beta-VAE's objective is the Lagrangian of [1]:

    .. math:: \max \mathbb E \log p(x \mid z) \quad \text{subject to} \quad
       \operatorname{KL}(q(z \mid x) \,\|\, p(z)) \le \epsilon

    with ``log_likelihood=bound``, that of GECO [2]:

    .. math:: \min \operatorname{KL}(q(z \mid x) \,\|\, p(z)) \quad \text{subject to} \quad
       \mathbb E \log p(x \mid z) \ge b

    Constraints are in nats per datum. Terms: ``"log_likelihood"`` and ``"kl"``; the constrained one is weighted by a
    multiplier :math:`\lambda > 0`, the other has weight 1. After each step of training
    :math:`\lambda \leftarrow \lambda e^{r \bar C}`, where :math:`\bar C` is a moving average of what the constraint is
    violated by. Where training converges, :math:`\lambda` is the Lagrange multiplier; for ``kl`` it is the beta of that
    :math:`\epsilon`.

    What a likelihood can reach is known from a run, not beforehand: a bound out of reach sends :math:`\lambda` to its
    maximum. The sum of nats over many pixels calls for a smaller ``rate``.

    Avoids: a held-out loss that is the training loss of the last batch (Taming-VAEs).

    Args:
        kl: the most that the KL may be, in nats per datum; a number or a schedule.
        log_likelihood: the least that the log likelihood may be, in nats per datum; a number or a schedule.
        rate: r, how fast the multiplier follows; a choice of ours.
        decay: of the moving average, whose first value is the first violation; a choice of ours.
        multiplier: at first; 1 is the evidence lower bound.
        minimum: the least that the multiplier can be.
        maximum: the most that the multiplier can be.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`, but for ``warm_up``.

    Raises:
        ValueError: no constraint or two, or an argument out of its range.

    Example:
        >>> from ppl_disentangle.inference.objectives.constrained import ConstrainedELBO
        >>> ConstrainedELBO(kl=10.0).weight("kl")
        tensor(1.)

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
        [2] Rezende & Viola, 2018. https://arxiv.org/abs/1810.00597
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
        if (kl is None) == (log_likelihood is None):
            raise ValueError(
                f"expected one constraint, got kl={kl} and log_likelihood={log_likelihood}"
            )
        if kl is not None and not callable(kl) and kl <= 0:
            raise ValueError(f"expected kl > 0, in nats per datum, got {kl}")
        if rate <= 0 or not 0 <= decay < 1:
            raise ValueError(
                f"expected rate > 0 and decay from 0 to below 1, got rate={rate}, decay={decay}"
            )
        if not 0 < minimum <= multiplier <= maximum:
            raise ValueError(
                f"expected 0 < minimum <= multiplier <= maximum, got {minimum}, {multiplier}, {maximum}"
            )
        super().__init__(
            "kl" if log_likelihood is None else "log_likelihood", multiplier, **options
        )
        self.bound: Weight = kl if log_likelihood is None else log_likelihood  # type: ignore[assignment]
        self.rate, self.decay, self.minimum, self.maximum = rate, decay, minimum, maximum
        self.register_buffer("average", torch.zeros(()))

    def extra_repr(self) -> str:
        """The constraint and how the multiplier follows it, for checkpoints and tables."""
        limits = f"minimum={self.minimum}, maximum={self.maximum}"
        return f"{self.term}={spelled(self.bound)}, rate={self.rate}, decay={self.decay}, {limits}"

    def adapt(self, reached: Tensor) -> None:
        """Average the violation, and multiply by its exponential."""
        bound = at_step(self.bound, self.step)
        violation = (-bound if self.term == "kl" else bound) - reached
        average = self.decay * self.average + (1 - self.decay) * violation
        self.average.copy_(torch.where(self.step == 0, violation, average))
        self.multiplier.mul_((self.rate * self.average).exp()).clamp_(self.minimum, self.maximum)


class ControlELBO(AdaptiveELBO):
    r"""The evidence lower bound with its KL held at a target by a PI controller: ControlVAE [1].

    .. math:: \beta(t + 1) = \frac{K_p}{1 + e^{e(t)}} - K_i \sum_{s \le t} e(s) + \beta_{\min}, \quad
       e(t) = C(t) - \operatorname{KL}(t)

    clamped to :math:`[\beta_{\min}, \beta_{\max}]`; KL(t) is that of the batch, in nats per datum. Terms:
    ``"log_likelihood"`` and ``"kl"``, weighted by :math:`\beta`, at first :math:`\beta_{\min}`. Unlike the multiplier
    of :class:`ConstrainedELBO`, :math:`\beta` moves by steps that do not grow with it.

    While :math:`\beta` is out of its range, an error that drives it farther out is left out of the sum, so that it does
    not wind up; an error that brings it back is not. The range limits what can be reached: with a minimum of 1 no more
    than the KL of the evidence lower bound.

    Avoids: a sum that is frozen whatever the error while :math:`\beta` is out of its range (the authors' code): as the
    first term is at most :math:`K_p`, one error of more than :math:`K_p / K_i`, 10 nats, leaves :math:`\beta` at its
    minimum for ever.

    Args:
        kl: the target C(t), in nats per datum; a number or a schedule. The authors' code raises it from 0.5 by 0.15
            every 5000 steps.
        proportional: :math:`K_p`; that of the authors' code for disentanglement.
        integral: :math:`K_i`; that of the authors' code for disentanglement.
        minimum: :math:`\beta_{\min}`; that of the authors' code for disentanglement.
        maximum: :math:`\beta_{\max}`; a choice of ours.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`, but for ``warm_up``.

    Raises:
        ValueError: an argument out of its range.

    Example:
        >>> from ppl_disentangle.inference.objectives.constrained import ControlELBO
        >>> from ppl_disentangle.inference.elbo.schedules import Linear
        >>> ControlELBO(Linear(0.5, 18.0, 500_000)).weight("kl")
        tensor(1.)

    References:
        [1] Shao et al., 2020. https://arxiv.org/abs/2004.05988
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
        self.proportional, self.integral, self.minimum, self.maximum = (
            proportional,
            integral,
            minimum,
            maximum,
        )
        self.register_buffer("accumulated", torch.zeros(()))

    def extra_repr(self) -> str:
        """The target, the gains and the range, for checkpoints and tables."""
        gains = f"proportional={self.proportional}, integral={self.integral}"
        return f"kl={spelled(self.target)}, {gains}, minimum={self.minimum}, maximum={self.maximum}"

    def adapt(self, reached: Tensor) -> None:
        """One step of the controller."""
        error = at_step(self.target, self.step) + reached
        rest = self.minimum + self.proportional * torch.sigmoid(-error)
        beta = rest + self.accumulated
        farther_out = ((beta < self.minimum) & (error > 0)) | ((beta > self.maximum) & (error < 0))
        self.accumulated.sub_((self.integral * error).masked_fill(farther_out, 0.0))
        self.multiplier.copy_((rest + self.accumulated).clamp(self.minimum, self.maximum))
