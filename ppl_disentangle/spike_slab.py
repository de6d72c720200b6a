"""The spike and slab: a distribution on the real line with an atom at zero."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from pyro.distributions import Normal, TorchDistribution
from torch import Tensor
from torch.distributions import constraints, kl_divergence, register_kl
from torch.distributions.utils import (
    broadcast_all,
    clamp_probs,
    lazy_property,
    logits_to_probs,
    probs_to_logits,
)
from torch.nn.functional import logsigmoid

__all__ = ["SpikeAndSlab"]


class SpikeAndSlab(TorchDistribution):
    r"""Zero, or with probability p a normal: z = s v.

    .. math:: s \sim \operatorname{Bernoulli}(p), \quad v \sim \mathcal N(\mu, \sigma^2), \quad
       q(z) = (1 - p) \, \delta_0(z) + p \, \mathcal N(z; \mu, \sigma^2)

    As the posterior and the prior of a code that is sparse for each datum [1]. Draws have exact zeros; their gradient
    is that of the relaxation of s of the given temperature, straight through the threshold, hence biased in p.
    ``log_prob`` is with respect to length plus a unit mass at zero: comparable between spikes and slabs, not with the
    log density of a normal. The divergence of two spikes and slabs is exact:

    .. math:: \operatorname{KL}(q \,\|\, q_0) = p \log \frac{p}{p_0} + (1 - p) \log \frac{1 - p}{1 - p_0}
       + p \operatorname{KL}(\mathcal N(\mu, \sigma^2) \,\|\, \mathcal N(\mu_0, \sigma_0^2))

    That from a spike and slab to a normal is infinite, and is refused.

    Args:
        loc: mu, of any shape.
        scale: sigma.
        probs: p, the probability of the slab.
        logits: its log odds; one of the two.
        temperature: of the relaxation; 0.5 is a choice of ours.

    Raises:
        ValueError: not exactly one of ``probs`` and ``logits`` is given, or the temperature is not positive.

    References:
        [1] Tonolini et al., 2019. Variational sparse coding. https://proceedings.mlr.press/v115/tonolini20a.html

    Example:
        >>> SpikeAndSlab(torch.tensor([2.0, 3.0]), 1.0, probs=0.5).to_event(1).mean
        tensor([1.0000, 1.5000])
    """

    arg_constraints = {
        "loc": constraints.real,
        "scale": constraints.positive,
        "probs": constraints.unit_interval,
        "logits": constraints.real,
    }
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        *,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        temperature: float = 0.5,
        validate_args: bool | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("expected one of probs and logits")
        if temperature <= 0:
            raise ValueError(f"expected temperature > 0, got {temperature}")
        self.temperature = temperature
        if probs is not None:
            self.loc, self.scale, self.probs = broadcast_all(loc, scale, probs)
        elif logits is not None:
            self.loc, self.scale, self.logits = broadcast_all(loc, scale, logits)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @lazy_property
    def logits(self) -> Tensor:
        """Log odds of the slab."""
        return probs_to_logits(self.probs, is_binary=True)

    @lazy_property
    def probs(self) -> Tensor:
        """Probability of the slab."""
        return logits_to_probs(self.logits, is_binary=True)

    @property
    def slab(self) -> Normal:
        """The normal that z has unless it is zero."""
        return Normal(self.loc, self.scale, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """E z = p mu."""
        return self.probs * self.loc

    @property
    def variance(self) -> Tensor:
        """Var z = p sigma^2 + p (1 - p) mu^2."""
        return self.probs * (self.scale.square() + (1 - self.probs) * self.loc.square())

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> SpikeAndSlab:
        """The same distribution of another batch shape."""
        new = self._get_checked_instance(SpikeAndSlab, _instance)
        new.temperature = self.temperature
        for name in self.arg_constraints.keys() & self.__dict__.keys():
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(SpikeAndSlab, new).__init__(torch.Size(batch_shape), validate_args=False)
        new._validate_args = self._validate_args
        return new

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draws with exact zeros, and the gradient of the relaxed ones."""
        shape = self._extended_shape(sample_shape)
        uniform = clamp_probs(torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device))
        score = self.logits + uniform.log() - (-uniform).log1p()
        relaxed = torch.sigmoid(score / self.temperature)
        spike = (score > 0).to(relaxed) + (relaxed - relaxed.detach())
        return spike * self.slab.rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log (1 - p) at zero, elsewhere log p and the slab's log density."""
        if self._validate_args:
            self._validate_sample(value)
        slab = logsigmoid(self.logits) + self.slab.log_prob(value)
        return torch.where(value == 0, logsigmoid(-self.logits), slab)


@register_kl(SpikeAndSlab, SpikeAndSlab)
def _kl_spike_and_slab(q: SpikeAndSlab, p: SpikeAndSlab) -> Tensor:
    on = logsigmoid(q.logits) - logsigmoid(p.logits) + kl_divergence(q.slab, p.slab)
    off = logsigmoid(-q.logits) - logsigmoid(-p.logits)
    return q.logits.sigmoid() * on + (-q.logits).sigmoid() * off


@register_kl(SpikeAndSlab, torch.distributions.Normal)
def _kl_spike_and_slab_normal(q: SpikeAndSlab, p: torch.distributions.Normal) -> Tensor:
    raise ValueError(
        "KL from a spike and slab to a normal is infinite: let the prior be SpikeAndSlab too"
    )
