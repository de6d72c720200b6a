"""Checks that a value which an action gives to a site is one that the site can have."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import Distribution, TransformedDistribution, constraints
from torch.distributions.constraints import Constraint

from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.observed import innermost
from ppl_disentangle.story import GenerativeStory

__all__ = [
    "OutsideSupportError",
    "check_finite",
    "check_support",
    "describe",
    "has_coupled_elements",
    "root_of",
    "support_of",
]

TOLERATED_SUM = 1e-4
"""Distance from 1 of a sum of probabilities that rounding may cause in single precision."""

NAMED_CONSTRAINTS = {
    "_Simplex": "rows of numbers >= 0 that sum to 1",
    "_OneHot": "one-hot rows, such as [0, 0, 1]",
    "_Boolean": "0 or 1",
    "_Real": "real numbers",
    "_CorrCholesky": "Cholesky factors of correlation matrices",
    "_LowerCholesky": "lower triangular matrices with a positive diagonal",
    "_PositiveDefinite": "positive definite matrices",
}


class OutsideSupportError(ValueError):
    """An action gives a site a value that the site cannot have."""


BOUNDS = ("lower_bound", "upper_bound")


def support_of(fn: TorchDistribution) -> Constraint | None:
    """The set of values that a distribution can have; ``None`` if it does not state one."""
    image = _image(innermost(fn))
    if image is not None:
        return image
    try:
        support = fn.support
    except NotImplementedError:
        return None
    if support is None or constraints.is_dependent(support):
        return None
    return support


def _image(fn: Distribution) -> Constraint | None:
    """The interval to which transforms map the interval of a base distribution.

    torch states the codomain of the last transform instead, which may be wider.
    """
    plain = type(fn).__name__ == TransformedDistribution.__name__  # subclasses state their support
    if not plain or not isinstance(fn, TransformedDistribution):
        return None
    base = support_of(fn.base_dist)
    bounds = {} if base is None else _bounds(_elementwise(base))
    if not bounds or any(t.domain.event_dim or t.codomain.event_dim for t in fn.transforms):
        return None
    low, high = (
        bounds.get(name, inf) for name, inf in zip(BOUNDS, (-math.inf, math.inf), strict=True)
    )
    ends = [torch.as_tensor(end, dtype=torch.get_default_dtype()) for end in (low, high)]
    for transform in fn.transforms:
        ends = [transform(end) for end in ends]
    return constraints.interval(torch.minimum(*ends), torch.maximum(*ends))


def check_support(action: str, site: str, fn: TorchDistribution, value: Tensor) -> None:
    """Refuse a value outside of the support of the distribution of a site.

    Where the bounds of the support follow from the parents of the site, as of a uniform between two
    other latents, the value must be within the bounds of some unit, because an intervention cuts
    the site off from its parents.

    Args:
        action: The action as the user writes it, such as ``do('z[0]')``.
        site: Name of the site.
        fn: Distribution of the site.
        value: Its new value, ``(…, *event)``.

    Raises:
        OutsideSupportError: Some part of the value is outside.
    """
    support = support_of(fn)
    if support is None:
        return
    within = _elementwise(support)
    fits = _check(_widest(within, fn.event_dim - within.event_dim), value)
    if fits.all():
        return
    first = tuple(fits.logical_not().nonzero()[0])
    rows = value if within.event_dim else value.expand(fits.shape)
    is_coordinate = within.event_dim > 0 and "[" in action
    way_out = f"set the whole of {site!r} at once" if is_coordinate else "choose a value there"
    raise OutsideSupportError(
        f"{action}: {_short(rows[first])} is outside the support of site {site!r},"
        f" {type(innermost(fn)).__name__}: {describe(support)}; {way_out}"
    )


def check_finite(action: str, value: Tensor) -> None:
    """Refuse a value with infinite elements or NaN.

    Raises:
        OutsideSupportError: An element is not finite.
    """
    if not torch.isfinite(value).all():
        raise OutsideSupportError(f"{action}: the value is not finite")


def describe(support: Constraint) -> str:
    """The values of a support in words.

    Example:
        >>> describe(dist.Gamma(torch.ones(2), 1.0).to_event(1).support)
        'numbers >= 0'
        >>> describe(dist.Categorical(torch.ones(3)).support)
        'whole numbers from 0 to 2'
    """
    within = _elementwise(support)
    if isinstance(within, constraints.MixtureSameFamilyConstraint):
        return describe(within.base_constraint)
    kind = type(within).__name__
    if kind in NAMED_CONSTRAINTS:
        return NAMED_CONSTRAINTS[kind]
    if isinstance(within, constraints.multinomial):
        return f"rows of counts that sum to {_number(within.upper_bound)}"
    numbers = "whole numbers" if within.is_discrete else "numbers"
    bounds = _bounds_in_words(within)
    return f"{numbers} {bounds}" if bounds else str(within)


def has_coupled_elements(fn: TorchDistribution) -> bool:
    """Whether an element of a value depends on the others, as in a row of probabilities."""
    support = support_of(fn)
    if support is None:
        return False
    within = _elementwise(support)
    return within.event_dim > 0 and within is not constraints.real_vector


def root_of(story: GenerativeStory, node: str) -> TorchDistribution | None:
    """The distribution of a node without parents in the structural prior of a story."""
    for prior in story.modules():
        if isinstance(prior, StructuralPrior) and node in prior.names and not prior.parents[node]:
            return prior.mechanism_of(node).conditional(prior.parents_of(node, {}))
    return None


def _elementwise(support: Constraint) -> Constraint:
    """The constraint of an element, or of a row whose elements depend on each other."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def _check(support: Constraint, value: Tensor) -> Tensor:
    if type(support).__name__ == "_Simplex":
        return (value >= 0).all(-1) & ((value.sum(-1) - 1).abs() < TOLERATED_SUM)
    if isinstance(support, constraints.multinomial):
        counts = ((value >= 0) & (value % 1 == 0)).all(-1)
        return counts & (value.sum(-1) == support.upper_bound)
    return support.check(value)


def _widest(support: Constraint, event_dims: int) -> Constraint:
    """The support with the outermost bounds of all units, by coordinate."""
    bounds = _bounds(support)
    if not any(isinstance(bound, Tensor) for bound in bounds.values()):
        return support
    widest = {}
    for name, bound in bounds.items():
        outermost = torch.amin if name == "lower_bound" else torch.amax
        tensor = torch.as_tensor(bound)
        units = tuple(range(tensor.dim() - event_dims))
        widest[name] = outermost(tensor, units) if units else tensor
    return type(support)(**widest)


def _bounds(support: Constraint) -> Mapping[str, float | Tensor]:
    members = vars(support)
    return {name: members[name] for name in BOUNDS if name in members}


def _bounds_in_words(support: Constraint) -> str:
    bounds = {name: _number(bound) for name, bound in _bounds(support).items()}
    low, high = (bounds.get(name) for name in BOUNDS)
    kind = type(support).__name__
    if low is not None and high is not None:
        return f"from {low} to {high}" + (", without the end" if "HalfOpen" in kind else "")
    if low is None and high is None:
        return ""
    strict = kind in ("_GreaterThan", "_LessThan")
    sign = ">" if low is not None else "<"
    return f"{sign}{'' if strict else '='} {high if low is None else low}"


def _number(bound: float | Tensor) -> str:
    tensor = torch.as_tensor(bound)
    low = f"{tensor.min().item():g}"
    high = f"{tensor.max().item():g}"
    return low if low == high else f"{low}…{high}"


def _short(got: Tensor) -> str:
    if got.dim() > 1 or got.numel() > 8:
        return f"a value of shape {tuple(got.shape)}"
    numbers = [f"{number:.6g}" for number in got.flatten().tolist()]
    return f"[{', '.join(numbers)}]" if got.dim() else numbers[0]
