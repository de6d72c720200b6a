"""One noise in several worlds: draws, and observed values carried over to other worlds."""

from __future__ import annotations

import torch
from pyro.distributions import (
    Bernoulli,
    Delta,
    Gumbel,
    Independent,
    Laplace,
    MaskedDistribution,
    Normal,
    TorchDistribution,
)
from torch import Tensor
from torch.distributions import (
    Categorical,
    Distribution,
    OneHotCategorical,
    TransformedDistribution,
)
from torch.nn.functional import one_hot

from ppl_disentangle.causal.mechanisms.categorical import gumbels_of_class
from ppl_disentangle.observed import innermost, point_of

__all__ = [
    "draw_with_shared_noise",
    "mean_of",
    "missing_where_masked",
    "transport",
]

LOCATION_SCALE = (Normal, Laplace)


def draw_with_shared_noise(fn: TorchDistribution) -> Tensor:
    r"""Draw from a distribution for each world, with the same noise in all worlds.

    .. math:: x_k = F_k^{-1}(u), \quad u \sim \mathcal U(0, 1)

    for world k with distribution function :math:`F_k`, or
    :math:`x_k = \mu_k + \sigma_k \varepsilon` for families with location and scale, or the class
    with the highest logit after Gumbel noise is added. For families with location and scale, and
    for all others that torch samples by the same formula, the draw of a world is equal to a sample
    of its distribution alone from the same state of the random numbers.

    Args:
        fn: A distribution whose first batch dimension is the world.

    Raises:
        NotImplementedError: The distribution cannot be written as a function of noise.

    Example:
        >>> draw = draw_with_shared_noise(dist.Normal(torch.tensor([[0.0], [5.0]]), 1.0))
        >>> (draw[1] - draw[0]).item()
        5.0
    """
    distribution = innermost(fn)
    if isinstance(distribution, Delta):
        return distribution.v
    if isinstance(distribution, TransformedDistribution):
        value = draw_with_shared_noise(distribution.base_dist)
        for transform in distribution.transforms:
            value = transform(value)
        return value
    if isinstance(distribution, LOCATION_SCALE):
        return _draw_location_scale(distribution)
    if isinstance(distribution, Bernoulli):
        uniform = torch.rand_like(distribution.probs[0])
        return (uniform < distribution.probs).to(distribution.probs)
    if isinstance(distribution, Categorical | OneHotCategorical):
        return _draw_class(distribution)
    return _draw_by_quantiles(distribution)


def _draw_location_scale(distribution: Normal | Laplace) -> Tensor:
    loc = distribution.loc  # (world, *batch)
    scale = distribution.scale
    standard = type(distribution)(torch.zeros_like(loc[0]), torch.ones_like(scale[0]))
    draw = _unexpanded(loc) + _unexpanded(scale) * standard.rsample()
    return draw.expand_as(loc)


def _draw_class(distribution: Categorical | OneHotCategorical) -> Tensor:
    logits = distribution.logits  # (world, *batch, class)
    gumbels = Gumbel(torch.zeros_like(logits[0]), 1.0).sample()
    classes = (logits + gumbels).argmax(-1)
    if isinstance(distribution, Categorical):
        return classes
    return one_hot(classes, logits.shape[-1]).to(logits)


def _draw_by_quantiles(distribution: Distribution) -> Tensor:
    try:
        parameter = next(getattr(distribution, name) for name in distribution.arg_constraints)
        shape = (distribution.batch_shape + distribution.event_shape)[1:]  # without the world
        uniform = torch.rand(shape, dtype=parameter.dtype, device=parameter.device)
        return distribution.icdf(uniform)
    except (AttributeError, NotImplementedError, StopIteration):
        raise NotImplementedError(
            f"{type(distribution).__name__} has no noise that worlds could share"
        ) from None


def transport(fn: TorchDistribution, value: Tensor, plates: int) -> Tensor:
    r"""Carry a value observed in the first world over to the other worlds, with the same noise.

    .. math:: x_k = x_0 + (\mu_k - \mu_0) + (\sigma_k / \sigma_0 - 1) (x_0 - \mu_0)

    for families with location :math:`\mu_k` and scale :math:`\sigma_k` in world k. A world with the
    location and scale of the first world has exactly its value, and so has every world if the
    distribution is the same in all of them, whatever its family. Transformed distributions are
    inverted. For a class, the Gumbel noise is drawn from its posterior, as in
    :class:`~ppl_disentangle.causal.mechanisms.Categorical`.

    Args:
        fn: A distribution whose first batch dimension is the world, the first world being factual;
            or a distribution without a dimension for worlds, which is the same in all of them.
        value: The value in the first world, of the shape of ``fn`` without the world, or with fewer
            dimensions.
        plates: Number of batch dimensions of ``fn``, not counting the world.

    Raises:
        NotImplementedError: The noise cannot be abducted from the value, as from a Bernoulli draw.
    """
    distribution = innermost(fn)
    if isinstance(distribution, Delta):
        return distribution.v
    if len(fn.batch_shape) <= plates:
        return value  # the same distribution in all worlds: the value is its own noise
    if isinstance(distribution, LOCATION_SCALE):
        return _transport_location_scale(distribution, value)
    if isinstance(distribution, TransformedDistribution):
        return _transport_base(distribution, value)
    if isinstance(distribution, OneHotCategorical):
        return _transport_class(distribution, value)
    if isinstance(distribution, Categorical):
        return _transport_index(distribution, value)
    name = type(distribution).__name__
    raise NotImplementedError(f"the noise behind a draw from {name} is not known")


def _transport_location_scale(distribution: Normal | Laplace, value: Tensor) -> Tensor:
    loc = _unexpanded(distribution.loc)
    scale = _unexpanded(distribution.scale)
    change = (loc - loc[0]) + (scale / scale[0] - 1) * (value - loc[0])
    return (value + change).expand_as(distribution.loc)


def _transport_class(distribution: OneHotCategorical, value: Tensor) -> Tensor:
    logits = distribution.logits  # (world, *batch, class)
    gumbels = gumbels_of_class(value.expand(logits.shape[1:]), logits[0])
    classes = (logits + gumbels).argmax(-1)
    return one_hot(classes, logits.shape[-1]).to(value)


def _transport_index(distribution: Categorical, value: Tensor) -> Tensor:
    logits = distribution.logits  # (world, *batch, class)
    rows = one_hot(value.long(), logits.shape[-1]).to(logits)
    gumbels = gumbels_of_class(rows.expand(logits.shape[1:]), logits[0])
    return (logits + gumbels).argmax(-1).to(value)


def _transport_base(distribution: TransformedDistribution, value: Tensor) -> Tensor:
    shape = distribution.batch_shape + distribution.event_shape
    factual = value.expand(shape)
    noise = factual
    for transform in reversed(distribution.transforms):
        noise = transform.inv(noise)
    base = distribution.base_dist
    result = transport(base, noise[0], len(base.batch_shape) - 1)
    for transform in distribution.transforms:
        result = transform(result)
    result = result.expand(shape)
    # Where a world has the value of the first one, return the observed value itself, without rounding.
    return factual.where(result == result[0], result)


def _unexpanded(values: Tensor) -> Tensor:
    """The values with size 1 along expanded dimensions, so that arithmetic is cheap."""
    for dim, (size, stride) in enumerate(zip(values.shape, values.stride(), strict=True)):
        values = values.narrow(dim, 0, 1) if size > 1 and stride == 0 else values
    return values


def mean_of(name: str, fn: TorchDistribution) -> Tensor:
    """The mean of the distribution of a site; of integer classes, the most probable one.

    Raises:
        ValueError: The distribution has no finite mean, or does not state it.
    """
    mean = point_of(name, fn)
    if not torch.isfinite(mean).any():
        kind = type(innermost(fn)).__name__
        raise ValueError(
            f"site {name!r}: {kind} has no mean; use a likelihood that has one, or one with"
            " location and scale"
        )
    return mean


def missing_where_masked(
    value: Tensor, fn: TorchDistribution, mask: bool | Tensor | None
) -> Tensor:
    """The value of an observed site, NaN where a mask says that it was not measured.

    Args:
        value: The value, ``(…, *batch, *event)``.
        fn: Its distribution, whose elements may be masked inside of ``Independent``.
        mask: The mask of the whole site by ``poutine.mask``, ``(*batch,)``.
    """
    value = _missing(value, fn.event_dim, mask)
    while isinstance(fn, Independent | MaskedDistribution):
        if isinstance(fn, MaskedDistribution):
            value = _missing(value, fn.event_dim, fn._mask)
        fn = fn.base_dist
    return value


def _missing(value: Tensor, event_dim: int, mask: bool | Tensor | None) -> Tensor:
    if mask is None or mask is True:
        return value
    value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
    if not isinstance(mask, Tensor):
        return torch.full_like(value, torch.nan)
    mask = mask.to(value.device)
    event_dims = (None,) * event_dim  # (…, batch) -> (…, batch, *event)
    return value.where(mask[(..., *event_dims)], torch.nan)
