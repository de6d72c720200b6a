"""Refuse data whose scale the likelihood of a story cannot learn, before the first step."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pyro.distributions as dist
from torch import Tensor

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.sites import Site

__all__ = ["check_scale", "naming_scale"]

_TOLERANCE = 1e-3
_MOST_SCALES = 100
_LEAST_SCALES = 1e-3
_FAR_FROM_INITIAL_OUTPUTS = 20


def check_scale(data: FactorDataset, x: Tensor, sites: Iterable[Site]) -> None:
    """Compare the range of all data with the likelihood of the sites that hold a whole batch.

    Args:
        data: The data, whose range is known if it was read from arrays.
        x: The first batch of float observations.
        sites: Observed sites of the model at this batch.

    Raises:
        ValueError: A Bernoulli likelihood is given data outside [0, 1].

    Warns:
        UserWarning: The data are far from the mean of a normal likelihood, or vary far less than it,
            by its first standard deviation.
    """
    if data.value_range is None:
        return
    for site in sites:
        likelihood = _elementwise(site.fn)
        if site.value.numel() != x.numel():
            continue
        if isinstance(likelihood, dist.Bernoulli | dist.ContinuousBernoulli):
            _check_unit_interval(data, site.name)
        elif isinstance(likelihood, dist.Normal):
            _warn_of_scale(data, site.name, float(likelihood.scale.median()))


@contextmanager
def naming_scale(data: FactorDataset) -> Iterator[None]:
    """A context in which errors about parameters out of range name the scale of extreme data.

    Raises:
        ValueError: A program gave a distribution parameters that are not finite or out of range.
    """
    try:
        yield
    except ValueError as error:
        values = data.value_range
        if values is None or "found invalid values" not in str(error):
            raise
        largest = max(abs(values.low), abs(values.high)) / data.maximum
        if largest <= _MOST_SCALES:
            raise
        raise ValueError(
            f"{data.name!r} has values in [{values.low / data.maximum:g},"
            f" {values.high / data.maximum:g}], for which the networks give parameters out of"
            " range: standardise the data to mean 0 and standard deviation 1"
        ) from error


def _elementwise(likelihood: dist.TorchDistributionMixin) -> dist.TorchDistributionMixin:
    """The distribution of the elements of an event."""
    while isinstance(likelihood, dist.Independent | dist.MaskedDistribution):
        likelihood = likelihood.base_dist
    return likelihood


def _check_unit_interval(data: FactorDataset, site: str) -> None:
    low, high, *_ = data.value_range or (0, 1)
    low, high = (end / data.maximum for end in (low, high))
    if low < -_TOLERANCE or high > 1 + _TOLERANCE:
        is_like_bytes = low >= 0 and 100 < high <= 255
        remedy = "from_arrays(x, maximum=255)" if is_like_bytes else "from_arrays(x / x.max())"
        if low < 0:
            remedy = "from_arrays((x - x.min()) / (x.max() - x.min()))"
        raise ValueError(
            f"{data.name!r} has values in [{low:g}, {high:g}], the Bernoulli likelihood of"
            f" {site!r} takes [0, 1]: scale them, as in {remedy}, or use likelihood='gaussian'"
        )


def _warn_of_scale(data: FactorDataset, site: str, scale: float) -> None:
    assert data.value_range is not None
    mean = abs(data.value_range.mean) / data.maximum
    spread = data.value_range.scale / data.maximum
    largest = max(mean, spread)
    # Networks begin with outputs near 0 and reach a few units; a small scale alone is no matter.
    too_far = largest > _MOST_SCALES * scale and largest > _FAR_FROM_INITIAL_OUTPUTS
    too_small = 0 < spread < _LEAST_SCALES * scale and mean < _LEAST_SCALES * scale
    if too_far or too_small:
        warnings.warn(
            f"{data.name!r} has mean {data.value_range.mean / data.maximum:.3g} and standard"
            f" deviation {spread:.3g}, the normal likelihood of {site!r} begins with {scale:.3g}:"
            " training takes very long; standardise the data",
            stacklevel=2,
        )
