"""Distributions of which only some elements are observed, for values with missing elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pyro.distributions as dist
import torch
from pyro.distributions import MaskedDistribution, TorchDistribution, constraints
from pyro.infer import is_validation_enabled
from torch import Tensor
from torch.distributions import (
    Independent,
    LowRankMultivariateNormal,
    MixtureSameFamily,
    MultivariateNormal,
    transform_to,
)

from ppl_disentangle.conditionals import RowDistribution

__all__ = ["elements_observed", "filled", "observing"]


def observing(fn: TorchDistribution, observed: Tensor, name: str) -> TorchDistribution:
    """The distribution of the observed elements of ``fn``: the others are integrated out.

    Its log density does not depend on the elements that are not observed, but they must be in the
    support; see :func:`filled`. Independent elements are left out one by one. A multivariate normal
    is marginalised. For other distributions, such as a Dirichlet, an event counts if all its elements
    are observed, and is left out if none is.

    Args:
        fn: A distribution.
        observed: Which elements are observed, bool, of the shape of the value.
        name: Name of the site in error messages.

    Raises:
        ValueError: Only a part of an event is observed that cannot be marginalised. It is raised
            while Pyro's validation is on; the log density of such an event is NaN otherwise.
    """
    if isinstance(fn, RowDistribution):
        return fn.observing(observed)
    if isinstance(fn, MaskedDistribution):
        return observing(fn.base_dist, observed, name).mask(fn._mask)
    if fn.event_dim == 0:
        return fn.mask(observed)
    if isinstance(fn, Independent):
        base = observing(fn.base_dist, observed, name)
        return base.to_event(fn.reinterpreted_batch_ndims)
    if isinstance(fn, LowRankMultivariateNormal):
        return _ObservedNormal(fn, _low_rank_marginal(fn, observed), observed)
    if isinstance(fn, MultivariateNormal):
        return _ObservedNormal(fn, _marginal(fn, observed), observed)
    if isinstance(fn, MixtureSameFamily):
        of_components = observed.unsqueeze(-1 - len(fn.event_shape))
        components = observing(fn.component_distribution, of_components, name)
        return dist.MixtureSameFamily(fn.mixture_distribution, components)
    return _WholeEvents(fn, observed, name)


def filled(fn: TorchDistribution, value: Tensor, observed: Tensor, name: str) -> Tensor:
    """``value`` with a point of the support of ``fn`` where it is not observed.

    Args:
        fn: The distribution of the value.
        value: The value, of any content where it is not observed.
        observed: Which elements are observed, bool, of the shape of the value.
        name: Name of the site in error messages.

    Raises:
        ValueError: The support of the distribution is not known.
    """
    return torch.where(observed, value, _point_inside(fn, value, name).to(value.dtype))


def elements_observed(fn: TorchDistribution) -> Tensor | None:
    """Which elements of a result of :func:`observing` count; ``None`` for another distribution."""
    while isinstance(fn, Independent):
        fn = fn.base_dist
    if isinstance(fn, RowDistribution | _Observed):
        return fn.observed
    if isinstance(fn, MixtureSameFamily):
        of_components = elements_observed(fn.component_distribution)
        event_dim = len(fn.event_shape)
        return None if of_components is None else of_components.squeeze(-1 - event_dim)
    if isinstance(fn, MaskedDistribution) and isinstance(fn._mask, Tensor):
        return fn._mask
    return None


def _point_inside(fn: TorchDistribution, value: Tensor, name: str) -> Tensor:
    """A point of the support, of a shape that broadcasts to the value."""
    if isinstance(fn, MultivariateNormal | LowRankMultivariateNormal):
        return fn.loc
    try:
        support = fn.support
    except NotImplementedError:
        support = None
    while isinstance(support, constraints.independent | constraints.MixtureSameFamilyConstraint):
        support = support.base_constraint
    point = _point_of(support, fn, value)
    if point is None:
        raise ValueError(
            f"observed site {name!r}: it has missing values, but no value of"
            f" {type(fn).__name__} is known to put in their place; impute them, or mask the site"
        )
    return point


def _point_of(support: Any, fn: TorchDistribution, value: Tensor) -> Tensor | None:
    """A point of a constraint; ``None`` if none is known."""
    if support is constraints.one_hot:
        return torch.eye(fn.event_shape[0], device=value.device)[0]
    if support is constraints.boolean:
        return torch.zeros((), device=value.device)
    if hasattr(support, "lower_bound") and support.is_discrete:
        return torch.as_tensor(support.lower_bound, device=value.device)
    try:
        transform = transform_to(support)
    except (NotImplementedError, AttributeError, TypeError):
        return None
    size = value.shape[value.dim() - support.event_dim :]
    return transform(torch.zeros(transform.inverse_shape(size), device=value.device))


def _marginal(fn: MultivariateNormal, observed: Tensor) -> MultivariateNormal:
    """A normal in which the elements that are not observed are standard, and independent."""
    both = observed[..., :, None] & observed[..., None, :]
    identity = torch.eye(observed.shape[-1], dtype=fn.loc.dtype, device=fn.loc.device)
    covariance = torch.where(both, fn.covariance_matrix, identity)
    return dist.MultivariateNormal(fn.loc, covariance_matrix=covariance)


def _low_rank_marginal(
    fn: LowRankMultivariateNormal, observed: Tensor
) -> LowRankMultivariateNormal:
    """The same of a normal of low rank: standard where not observed."""
    factor = torch.where(observed[..., None], fn.cov_factor, fn.cov_factor.new_zeros(()))
    diagonal = torch.where(observed, fn.cov_diag, fn.cov_diag.new_ones(()))
    return dist.LowRankMultivariateNormal(fn.loc, factor, diagonal)


class _Observed(TorchDistribution):
    """Abstract: a distribution of which some elements are observed; draws and mean are of all.

    Args:
        whole: The distribution of all elements.
        observed: Which elements are observed.
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(self, whole: TorchDistribution, observed: Tensor) -> None:
        self.whole = whole
        self.observed = observed
        batch_of_value = observed.shape[: observed.dim() - whole.event_dim]
        batch_shape = torch.broadcast_shapes(whole.batch_shape, batch_of_value)
        super().__init__(batch_shape, whole.event_shape, validate_args=False)

    @property
    def support(self) -> constraints.Constraint:
        """Support of all elements."""
        return self.whole.support

    @property
    def mean(self) -> Tensor:
        """Mean of all elements."""
        return self.whole.mean

    @property
    def variance(self) -> Tensor:
        """Variance of all elements."""
        return self.whole.variance

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Draw all elements."""
        return self.whole.expand(self.batch_shape).sample(torch.Size(sample_shape))


class _ObservedNormal(_Observed):
    """A multivariate normal whose missing elements are integrated out.

    Args:
        whole: The normal of all elements.
        marginal: The normal in which missing elements are standard around their mean, at which
            they are.
        observed: Which elements are observed.
    """

    def __init__(
        self, whole: TorchDistribution, marginal: TorchDistribution, observed: Tensor
    ) -> None:
        super().__init__(whole, observed)
        self.marginal = marginal

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the observed elements."""
        at_mean = torch.where(self.observed, value, self.whole.loc)
        num_missing = (~self.observed).sum(-1)
        return self.marginal.log_prob(at_mean) + 0.5 * math.log(2 * math.pi) * num_missing

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _ObservedNormal:
        """The same normal for a larger batch."""
        shape = torch.Size(batch_shape)
        observed = self.observed.expand(shape + self.event_shape)
        return _ObservedNormal(self.whole.expand(shape), self.marginal.expand(shape), observed)


class _WholeEvents(_Observed):
    """Events that count if all their elements are observed, and not if none is."""

    def __init__(self, whole: TorchDistribution, observed: Tensor, name: str) -> None:
        super().__init__(whole, observed)
        self.name = name
        dims = tuple(range(-whole.event_dim, 0))
        self.is_known = observed.all(dims)
        self.is_partial = observed.any(dims) & ~self.is_known
        if is_validation_enabled() and self.is_partial.any():
            raise ValueError(
                f"observed site {name!r}: some elements of an event of {type(whole).__name__} are"
                " missing and others are not, which cannot be integrated out; make the whole event"
                " missing, or impute it"
            )

    def log_prob(self, value: Tensor) -> Tensor:
        """Log density of the events that are known; zero of others, NaN of events in part."""
        density = self.whole.log_prob(value)
        density = torch.where(self.is_known, density, density.new_zeros(()))
        return torch.where(self.is_partial, density.new_full((), math.nan), density)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> _WholeEvents:
        """The same distribution for a larger batch."""
        shape = torch.Size(batch_shape)
        observed = self.observed.expand(shape + self.event_shape)
        return _WholeEvents(self.whole.expand(shape), observed, self.name)
