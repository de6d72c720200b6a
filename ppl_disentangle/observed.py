"""The observed sites of a model: which of them hold the observations, and their means."""

from __future__ import annotations

import dataclasses
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

from ppl_disentangle.posteriors import draws_of
from ppl_disentangle.sites import Site

__all__ = [
    "Layout",
    "data_sites",
    "latent_point",
    "layout_of",
    "mean_of",
    "moments",
    "point_of",
    "whole_site",
    "with_classes",
    "without_factors",
]

MAX_PLACES = 2**21
"""Largest number of places whose numbers and a quarter float32 holds exactly."""


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

    The moments of an integer say nothing about a class; a one-hot vector has its probabilities as
    moments.
    """
    inner = innermost(fn)
    if not isinstance(inner, Categorical):
        return fn
    return OneHotCategorical(probs=inner.probs).to_event(fn.event_dim)


def moments(fn: TorchDistribution) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of a posterior, of shape ``(*batch, *event)``.

    A distribution that does not state them, such as a flow, is drawn from: the mean of 1000 draws
    is off by at most about 3 % of the standard deviation.
    """
    try:
        return fn.mean, fn.stddev
    except NotImplementedError:
        draws = draws_of(fn)
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


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the observed sites of a model hold the observations.

    Attributes:
        whole: Name of the site that holds x in whatever shape, or of the only observed site.
        places: Without such a site, the places in x, flattened, of the values of each site.
    """

    whole: str | None
    places: Mapping[str, Tensor]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sites that hold observations."""
        return tuple(self.places) if self.whole is None else (self.whole,)

    def assemble(self, x: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Values of the sites in the place and shape of the observations.

        Values of x that no site holds stay as they are. A single site that holds a function of x
        keeps its own shape.

        Args:
            x: Observations, of the shape of the result.
            values: Values of the sites, each of the shape that its site has at x.
        """
        if self.whole is not None:
            value = values[self.whole]
            is_x = value.numel() == x.numel() and value.shape != x.shape
            return value.reshape(x.shape) if is_x else value
        result = x.clone().flatten()
        for name, place in self.places.items():
            result[place.flatten()] = values[name].flatten().to(result)
        return result.reshape(x.shape)


Rerun = Callable[[Tensor], Mapping[str, Site]]
"""A function that gives the observed sites of a model at other observations."""


def layout_of(title: str, x: Tensor, sites: Mapping[str, Site], rerun: Rerun) -> Layout:
    """Find out where the observed sites of a model hold the observations.

    Args:
        title: The story in words, for messages.
        x: The observations.
        sites: The observed sites of the model at x, without factors.
        rerun: The same for other observations. It is called if no site holds x as a whole.

    Raises:
        ValueError: There are several sites, and one holds a function of x.
    """
    whole = whole_site(x, sites)
    if whole is None and len(sites) == 1:
        whole = next(iter(sites))
    if whole is not None:
        return Layout(whole, {})
    moved = _at_numbers(title, x, sites, rerun)
    return Layout(
        None,
        {
            name: _place(title, site, x, moved[name].value)
            for name, site in sites.items()
            if not _same(site.value, moved[name].value)  # else it holds a condition
        },
    )


def data_sites(title: str, x: Tensor, sites: Mapping[str, Site], rerun: Rerun) -> tuple[str, ...]:
    """Names of the observed sites that hold the observations or a function of them.

    Other observed sites hold conditions or constants. The arguments are explained in
    :func:`layout_of`; ``rerun`` is called if there are several sites.
    """
    if len(sites) < 2:
        return tuple(sites)
    moved = _at_numbers(title, x, sites, rerun)
    return tuple(n for n, site in sites.items() if not _same(site.value, moved[n].value))


def _at_numbers(
    title: str, x: Tensor, sites: Mapping[str, Site], rerun: Rerun
) -> Mapping[str, Site]:
    """The observed sites at observations that are the numbers of their places."""
    try:
        with pyro.validation_enabled(False):
            return rerun(_numbers(x))
    except (IndexError, ValueError, RuntimeError):
        raise ValueError(
            f"none of the observed sites {list(sites)} of {title} holds x as a whole,"
            " and which parts they hold cannot be found out; read their means from a trace"
        ) from None


def _numbers(x: Tensor) -> Tensor:
    """Numbers of the places of x, in its shape, which observations hardly ever equal.

    They are k + 1/4, which counts and classes are not, or for integers k plus the number of places.
    """
    if x.numel() > MAX_PLACES:
        raise ValueError(f"expected at most {MAX_PLACES} values in a batch, got {x.numel()}")
    places = torch.arange(x.numel(), device=x.device).reshape(x.shape)
    return places.to(x.dtype) + 0.25 if x.is_floating_point() else places + x.numel()


def _same(value: Tensor, other: Tensor) -> bool:
    return value.shape == other.shape and torch.equal(value.nan_to_num(), other.nan_to_num())


def _place(title: str, site: Site, x: Tensor, numbers: Tensor) -> Tensor:
    """The places in x that the values of a site come from.

    Args:
        title: The story in words.
        site: The site at x.
        x: The observations.
        numbers: The value of the site at the numbers of the places of x.
    """
    place = numbers.floor().long() if x.is_floating_point() else numbers.long() - x.numel()
    is_part = place.min() >= 0 and place.max() < x.numel()
    if not (is_part and _same(x.flatten()[place].to(site.value.dtype), site.value)):
        raise ValueError(
            f"observed site {site.name!r} of {title} holds a function of x: observe x, a reshaped x,"
            " or parts of x such as x[:, 0], so that a reconstruction has the shape of x"
        )
    return place
