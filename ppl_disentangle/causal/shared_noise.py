"""One noise in several worlds: draws that worlds share, and what an observed value becomes in another world."""

from __future__ import annotations

import torch
from pyro.distributions import (
    Bernoulli,
    Delta,
    Independent,
    Laplace,
    MaskedDistribution,
    Normal,
    TorchDistribution,
)
from torch import Tensor
from torch.distributions import Distribution, OneHotCategorical, TransformedDistribution
from torch.nn.functional import one_hot

from ppl_disentangle.causal.mechanisms.categorical import gumbels_of_class

__all__ = ["draw_with_shared_noise", "transport"]

LOCATION_SCALE = (Normal, Laplace)


def draw_with_shared_noise(fn: TorchDistribution) -> Tensor:
    r"""A draw from distributions that differ between worlds, by noise that does not.

    .. math:: x_k = F_k^{-1}(u), \quad u \sim \mathcal U(0, 1)

    for world k, or :math:`x_k = \mu_k + \sigma_k \varepsilon` where there are location and scale. A world's draw is
    what ``fn`` of this world alone would give for the same state of the random numbers, where that draws by the same
    formula.

    Args:
        fn: a distribution whose first batch dimension is the world.

    Raises:
        NotImplementedError: nobody knows how to part noise and distribution.

    Example:
        >>> draw = draw_with_shared_noise(dist.Normal(torch.tensor([[0.0], [5.0]]), 1.0))
        >>> (draw[1] - draw[0]).item()
        5.0
    """
    law = _bare(fn)
    if isinstance(law, Delta):
        return law.v
    if isinstance(law, TransformedDistribution):
        value = draw_with_shared_noise(law.base_dist)
        for transform in law.transforms:
            value = transform(value)
        return value
    if isinstance(law, LOCATION_SCALE):
        standard = type(law)(torch.zeros_like(law.loc[0]), torch.ones_like(law.scale[0]))
        return (_distinct(law.loc) + _distinct(law.scale) * standard.rsample()).expand_as(law.loc)
    if isinstance(law, Bernoulli):
        return (torch.rand_like(law.probs[0]) < law.probs).to(law.probs)
    try:
        parameter = next(getattr(law, name) for name in law.arg_constraints)
        shape = (law.batch_shape + law.event_shape)[1:]
        return law.icdf(torch.rand(shape, dtype=parameter.dtype, device=parameter.device))
    except (NotImplementedError, StopIteration):
        raise NotImplementedError(
            f"{type(law).__name__} has no noise that worlds could share"
        ) from None


def transport(fn: TorchDistribution, value: Tensor, plates: int) -> Tensor:
    r"""What a value observed in the first world is in the others, its noise being the same.

    .. math:: x_k = x_0 + (\mu_k - \mu_0) + (\sigma_k / \sigma_0 - 1) (x_0 - \mu_0)

    where there are location and scale, so that a world in which both are the same has the very value. A transformed
    distribution is inverted instead; of a class, Gumbel noise that gives it is drawn, as by
    :class:`~ppl_disentangle.causal.mechanisms.Categorical`.

    Args:
        fn: a distribution whose first batch dimension is the world, the first one factual; or one without worlds.
        value: the value in the first world, of the shape of ``fn`` without the world, or with fewer dimensions.
        plates: number of batch dimensions of ``fn`` other than the world.

    Raises:
        NotImplementedError: the noise of a value is not known, as of a Bernoulli draw.
    """
    law, alike = _bare(fn), len(fn.batch_shape) <= plates
    if isinstance(law, Delta):
        return law.v
    if isinstance(law, LOCATION_SCALE):
        if alike:
            return value
        loc, scale = _distinct(law.loc), _distinct(law.scale)
        return (value + ((loc - loc[0]) + (scale / scale[0] - 1) * (value - loc[0]))).expand_as(
            law.loc
        )
    if isinstance(law, TransformedDistribution):
        return value if alike else _through_base(law, value)
    if isinstance(law, OneHotCategorical):
        if alike:
            return value
        sums = law.logits + gumbels_of_class(value.expand(law.logits.shape[1:]), law.logits[0])
        return one_hot(sums.argmax(-1), sums.shape[-1]).to(value)
    raise NotImplementedError(f"the noise behind a draw from {type(law).__name__} is not known")


def _through_base(law: TransformedDistribution, value: Tensor) -> Tensor:
    shape = law.batch_shape + law.event_shape
    factual = noise = value.expand(shape)
    for transform in reversed(law.transforms):
        noise = transform.inv(noise)
    base = law.base_dist
    result = transport(base, noise[0], len(base.batch_shape) - 1)
    for transform in law.transforms:
        result = transform(result)
    result = result.expand(shape)
    return factual.where(
        result == result[0], result
    )  # where nothing is changed, no rounding either


def _distinct(values: Tensor) -> Tensor:
    """The same without copies: dimensions along which it was expanded have size 1, so that arithmetic is cheap."""
    for dim, (size, stride) in enumerate(zip(values.shape, values.stride(), strict=True)):
        values = values.narrow(dim, 0, 1) if size > 1 and stride == 0 else values
    return values


def _bare(fn: Distribution) -> Distribution:
    """The distribution without what only declares its dimensions or masks it."""
    while isinstance(fn, Independent | MaskedDistribution):
        fn = fn.base_dist
    return fn
