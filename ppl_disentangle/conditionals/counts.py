"""Conditionals of counts 0, 1, 2, …: Poisson, negative binomial, and both with extra zeros."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from ppl_disentangle.conditionals.base import Conditional, parameters_of_elements

__all__ = [
    "NegativeBinomial",
    "Poisson",
    "ZeroInflated",
    "ZeroInflatedNegativeBinomial",
    "ZeroInflatedPoisson",
    "bounded_concentration",
    "negative_binomial",
]

MAX_CONCENTRATION = 1e4
"""Largest concentration: beyond it a negative binomial is Poisson, and float32 rounds its density."""


class Poisson(Conditional):
    r"""Independent Poisson counts; the network returns log rates.

    .. math:: p(y \mid h) = \prod_d \operatorname{Poisson}(y_d; e^{f_d(h)})
    """

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the Poisson whose log rates are the outputs."""
        return dist.Poisson(output.exp()).to_event(event_dim)


class ZeroInflatedPoisson(Conditional):
    r"""Poisson counts with extra zeros; the network returns log rates, then logits of extra zeros.

    .. math:: p(y \mid h) = \prod_d \pi_d \, [y_d = 0] + (1 - \pi_d) \operatorname{Poisson}(y_d; \mu_d)

    The first dimension of an event holds all log rates :math:`\log \mu`, then all logits of
    :math:`\pi`.

    References:
        [1] Lambert, 1992. https://doi.org/10.2307/1269547
    """

    num_parameters = 2

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the distribution from log rates and logits of an extra zero."""
        log_rate, gate = parameters_of_elements(output, self.num_parameters, event_dim)
        return ZeroInflated(dist.Poisson(log_rate.exp()), gate).to_event(event_dim)


class NegativeBinomial(Conditional):
    r"""Counts that vary more than Poisson counts; the network returns log means, then log concentrations.

    .. math:: \operatorname{E} y_d = \mu_d, \quad \operatorname{Var} y_d = \mu_d + \mu_d^2 / r_d

    The first dimension of an event holds all log means :math:`\log \mu`, then all log
    concentrations :math:`\log r`, which are bounded above by :math:`\log 10^4`.

    References:
        [1] Lopez et al., 2018. https://doi.org/10.1038/s41592-018-0229-2
    """

    num_parameters = 2

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the negative binomial from log means and log concentrations."""
        log_mean, log_concentration = parameters_of_elements(output, 2, event_dim)
        return negative_binomial(log_mean, log_concentration).to_event(event_dim)


class ZeroInflatedNegativeBinomial(Conditional):
    r"""Negative binomial counts with extra zeros.

    .. math:: p(y \mid h) = \prod_d \pi_d \, [y_d = 0] + (1 - \pi_d) \operatorname{NB}(y_d; \mu_d, r_d)

    The first dimension of an event holds all log means, then all log concentrations, then all logits
    of an extra zero :math:`\pi`.

    References:
        [1] Lopez et al., 2018. https://doi.org/10.1038/s41592-018-0229-2
    """

    num_parameters = 3

    def distribution(self, output: Tensor, event_dim: int) -> TorchDistribution:
        """Build the distribution from log means, log concentrations and logits of an extra zero."""
        log_mean, log_concentration, gate = parameters_of_elements(output, 3, event_dim)
        return negative_binomial(log_mean, log_concentration, gate).to_event(event_dim)


def negative_binomial(
    log_mean: Tensor, log_concentration: Tensor, gate_logits: Tensor | None = None
) -> TorchDistribution:
    """A negative binomial, with extra zeros if ``gate_logits`` are given; all shapes broadcast."""
    log_concentration = bounded_concentration(log_concentration)
    concentration = log_concentration.exp()
    logits = log_mean - log_concentration
    counts = dist.NegativeBinomial(concentration, logits=logits)
    return counts if gate_logits is None else ZeroInflated(counts, gate_logits)


def bounded_concentration(log_concentration: Tensor) -> Tensor:
    """Log concentrations that stay smoothly below the largest one."""
    highest = log_concentration.new_tensor(MAX_CONCENTRATION).log()
    return highest - F.softplus(highest - log_concentration)


class ZeroInflated(TorchDistribution):
    r"""Counts with extra zeros: zero with probability :math:`\pi`, else a draw from ``counts``.

    Pyro's ``ZeroInflatedDistribution`` has the same density, but cannot be expanded after its mean or
    a draw was computed.

    Args:
        counts: Distribution of the counts, with scalar events.
        gate_logits: Logits of :math:`\pi`, of the batch shape of ``counts``.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.nonnegative_integer

    def __init__(self, counts: TorchDistribution, gate_logits: Tensor) -> None:
        self.counts = counts
        self.gate_logits = gate_logits
        super().__init__(counts.batch_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log probability of counts; the distribution of the counts checks them."""
        counted = self.counts.log_prob(value) + F.logsigmoid(-self.gate_logits)
        zero = torch.logaddexp(F.logsigmoid(self.gate_logits), counted)
        return torch.where(value == 0, zero, counted)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw counts."""
        counts = self.counts.sample(torch.Size(sample_shape))
        is_extra_zero = torch.rand_like(counts) < self.gate_logits.sigmoid()
        return counts.masked_fill(is_extra_zero, 0.0)

    @property
    def mean(self) -> Tensor:
        """Means of the counts."""
        return (-self.gate_logits).sigmoid() * self.counts.mean

    @property
    def variance(self) -> Tensor:
        """Variances of the counts."""
        gate = self.gate_logits.sigmoid()
        return (1 - gate) * (self.counts.variance + gate * self.counts.mean**2)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> ZeroInflated:
        """The same distribution for a larger batch."""
        shape = torch.Size(batch_shape)
        return ZeroInflated(self.counts.expand(shape), self.gate_logits.expand(shape))
