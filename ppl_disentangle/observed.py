"""The observed sites of a model: which of them hold the observations, and their means."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pyro
import torch
from pyro.distributions import (
    Categorical,
    Independent,
    MaskedDistribution,
    OneHotCategorical,
    TorchDistribution,
    Unit,
)
from torch import Tensor

from ppl_disentangle.sites import Site

__all__ = [
    "as_observation",
    "latent_point",
    "mean_of",
    "moments",
    "point_of",
    "whole_site",
    "with_classes",
    "without_factors",
]

DRAWS_OF_A_MEAN = 1000
"""Number of draws that a posterior without a stated mean is averaged over."""


def without_factors(sites: Mapping[str, Site]) -> dict[str, Site]:
    """The sites that hold data: ``pyro.factor``, which only adds to the density, is left out."""
    return {n: site for n, site in sites.items() if not isinstance(innermost(site.fn), Unit)}


def innermost(fn: TorchDistribution) -> TorchDistribution:
    """The distribution without the wrappers that state its event dims and masks."""
    while isinstance(fn, Independent | MaskedDistribution):
        fn = fn.base_dist
    return fn


def point_of(name: str, fn: TorchDistribution) -> Tensor:
    """The mean of a distribution; of classes without an order, the most probable one.

    Args:
        name: Name of the site, for the message.
        fn: The distribution.

    Raises:
        ValueError: The distribution states no mean.
    """
    inner = innermost(fn)
    if isinstance(inner, Categorical):
        return inner.probs.argmax(-1)
    try:
        return fn.mean
    except NotImplementedError:
        raise ValueError(
            f"site {name!r}: {type(inner).__name__} states no mean;"
            " give it a property 'mean', or use a distribution that has one"
        ) from None


def with_classes(fn: TorchDistribution) -> TorchDistribution:
    """The distribution itself; for classes as integers, the same classes as one-hot vectors.

    The moments of an integer say nothing about a class, those of a one-hot vector are its
    probabilities.
    """
    inner = innermost(fn)
    if not isinstance(inner, Categorical):
        return fn
    return OneHotCategorical(probs=inner.probs).to_event(fn.event_dim)


def moments(fn: TorchDistribution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a posterior, of shape ``(*batch, *event)``.

    A distribution that does not state them, such as a flow, is drawn from: the mean of 1000 draws
    is off by about 3 % of the standard deviation.
    """
    try:
        return fn.mean, fn.stddev
    except NotImplementedError:
        draws = fn.sample(torch.Size([DRAWS_OF_A_MEAN]))
        return draws.mean(0), draws.std(0)


def latent_point(fn: TorchDistribution) -> Tensor:
    """The mean of a posterior as in :func:`moments`; of integer classes, the most probable one."""
    inner = innermost(fn)
    return inner.probs.argmax(-1) if isinstance(inner, Categorical) else moments(fn)[0]


def mean_of(site: Site) -> Tensor:
    """:func:`point_of` the distribution of an observed site, in the shape of its value.

    Raises:
        ValueError: The distribution states no mean.
    """
    return point_of(site.name, site.fn).expand(site.value.shape)


def whole_site(x: Tensor, sites: Mapping[str, Site]) -> str | None:
    """Name of the first site whose value is x itself or x in another shape; ``None`` without."""
    return next((name for name, site in sites.items() if _is_all_of(site.value, x)), None)


def _is_all_of(value: Tensor, x: Tensor) -> bool:
    if value.numel() != x.numel():
        return False
    value = value.reshape(x.shape)
    return bool(((value == x) | (value.isnan() & x.isnan())).all())


def as_observation(
    title: str, x: Tensor, sites: Mapping[str, Site], rerun: Callable[[Tensor], Mapping[str, Site]]
) -> Tensor:
    """The means of the observed sites in the place and shape of the observations.

    A site that holds x, in whatever shape, gives a result of the shape of x. Several sites that
    hold parts of x are put together; values of x that no site holds stay as they are. A single site
    with anything else, such as a function of x, gives its own mean.

    Args:
        title: The story in words, for messages.
        x: The observations.
        sites: The observed sites of the model at x.
        rerun: A function that gives the observed sites at other observations.

    Raises:
        ValueError: There are several sites, and one holds a function of x; or a site states no mean.
    """
    whole = whole_site(x, sites)
    if whole is not None:
        return mean_of(sites[whole]).reshape(x.shape)
    if len(sites) == 1:
        return mean_of(next(iter(sites.values())))
    result = x.clone().flatten()
    moved = _at_numbers(title, x, sites, rerun)
    for name, site in sites.items():
        if _same(site.value, moved[name].value):
            continue  # holds a condition, not observations
        place = _place(title, site, x, moved[name].value)
        result[place.flatten()] = mean_of(site).flatten().to(result)
    return result.reshape(x.shape)


def _at_numbers(
    title: str, x: Tensor, sites: Mapping[str, Site], rerun: Callable[[Tensor], Mapping[str, Site]]
) -> Mapping[str, Site]:
    """The observed sites at observations that are the numbers of their own places."""
    numbers = torch.arange(x.numel(), device=x.device).reshape(x.shape).to(x.dtype)
    try:
        with pyro.validation_enabled(False):
            return rerun(numbers)
    except (IndexError, ValueError, RuntimeError):
        raise ValueError(
            f"none of the observed sites {list(sites)} of {title} holds x as a whole,"
            " and which parts they hold cannot be found out; read their means from a trace"
        ) from None


def _same(value: Tensor, other: Tensor) -> bool:
    return value.shape == other.shape and torch.equal(value.nan_to_num(), other.nan_to_num())


def _place(title: str, site: Site, x: Tensor, numbers: Tensor) -> Tensor:
    """The places in x that the values of a site come from.

    Args:
        title: The story in words.
        site: The site at x.
        x: The observations.
        numbers: The value of the site where x holds the numbers of its places.
    """
    place = numbers.round().long()
    is_part = place.min() >= 0 and place.max() < x.numel()
    if not (is_part and _same(x.flatten()[place], site.value.to(x.dtype))):
        raise ValueError(
            f"observed site {site.name!r} of {title} holds a function of x: observe x, a reshaped x,"
            " or parts of x such as x[:, 0], so that a reconstruction has the shape of x"
        )
    return place
