"""All names of Pyro that are private or undocumented, and the functions that use them.

A name is looked up when a function needs it; where it is missing, an implementation here, or an
error that says so, takes its place.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from pyro.distributions import (
    RelaxedBernoulliStraightThrough,
    RelaxedOneHotCategoricalStraightThrough,
    TorchDistribution,
)
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle._private_names import MissingNameError, attribute_of, look_up

__all__ = [
    "DETERMINISTIC",
    "PRIVATE_NAMES",
    "check_model_guide_match",
    "check_site_shape",
    "is_subsample",
    "log_sum_product",
    "relaxed_value",
]

PRIVATE_NAMES = {
    "is subsample": "pyro.poutine.util.site_is_subsample",
    "check pair": "pyro.util.check_model_guide_match",
    "check shape": "pyro.util.check_site_shape",
    "relaxed value": "pyro.distributions.relaxed_straight_through._unquantize",
    "contraction": "pyro.ops.contract.contract_tensor_tree",
}
"""Full names by the purpose that they serve here."""

DETERMINISTIC = "_deterministic"
"""The key by which ``pyro.deterministic`` marks its sites in ``infer``."""

DIMENSIONS = "_pyro_dims"
"""The attribute by which Pyro's contractions know the dimensions of a tensor."""

STRAIGHT_THROUGH = (RelaxedBernoulliStraightThrough, RelaxedOneHotCategoricalStraightThrough)


@cache
def _function(path: str) -> Any:
    """The function of that name, or ``None`` where Pyro has none."""
    try:
        return look_up(path)
    except MissingNameError:
        return None


def is_subsample(node: Mapping[str, Any]) -> bool:
    """Whether a plate made this node of a trace, to draw the indices of its data."""
    of_pyro = _function(PRIVATE_NAMES["is subsample"])
    if of_pyro is not None:
        return of_pyro(node)
    return node["type"] == "sample" and type(node["fn"]).__name__ == "_Subsample"


def check_model_guide_match(
    model_trace: Trace, guide_trace: Trace, max_plate_nesting: float
) -> None:
    """Pyro's check of the sites that a model and its guide share; nothing where Pyro has none.

    :func:`~ppl_disentangle.sites.latent_sites` checks the names of the latents in any case.
    """
    of_pyro = _function(PRIVATE_NAMES["check pair"])
    if of_pyro is not None:
        of_pyro(model_trace, guide_trace, max_plate_nesting)


def check_site_shape(node: Mapping[str, Any], max_plate_nesting: float) -> None:
    """Pyro's check that log densities have the shape of the plates, or a check like it.

    Raises:
        ValueError: A dimension of the log densities belongs to no plate, or has another size.
    """
    of_pyro = _function(PRIVATE_NAMES["check shape"])
    if of_pyro is not None:
        of_pyro(node, max_plate_nesting)
        return
    sizes = {frame.dim: frame.size for frame in node["cond_indep_stack"] if frame.vectorized}
    shape = tuple(node["log_prob"].shape)
    for dim in range(-len(shape), 0):
        if shape[dim] not in (1, sizes.get(dim, 1)):
            raise ValueError(
                f"site {node['name']!r}: invalid log_prob shape {shape}, expected the plates' sizes"
                f" {sizes} by dimension; put it into a plate, or use .to_event(...)"
            )


def relaxed_value(distribution: TorchDistribution, value: Tensor) -> Tensor:
    """The value whose density ``distribution.log_prob(value)`` is.

    A straight-through estimator rounds its draws, and keeps the relaxed draw, which has a density,
    with the rounded one. Any other distribution has the density of ``value`` itself.

    Raises:
        ValueError: A straight-through estimator's value without the relaxed draw behind it, whose
            density would be another one.
    """
    if not isinstance(distribution, STRAIGHT_THROUGH):
        return value
    try:
        return attribute_of(value, PRIVATE_NAMES["relaxed value"])
    except MissingNameError as error:
        kind = type(distribution).__name__
        raise ValueError(
            f"expected a draw of {kind} with the relaxed draw behind it, got a value without one;"
            " use a distribution that is not a straight-through estimator"
        ) from error


def log_sum_product(
    factors: Sequence[tuple[Tensor, str, frozenset[str]]], summed: set[str]
) -> list[tuple[Tensor, str, frozenset[str]]]:
    """The logarithm of a sum over classes of a product of factors in plates.

    A dimension is named by one character: a class that is summed over, or a plate, whose elements
    are independent of each other.

    Args:
        factors: Logarithms of the factors; each with the names of its dimensions, in order, and of
            its plates.
        summed: Names of the classes.

    Returns:
        Logarithms of factors without classes, whose product is the sum, in the same form.

    Raises:
        MissingNameError: Pyro has no such contraction.
    """
    tree: OrderedDict[frozenset[str], list[Tensor]] = OrderedDict()
    for factor, names, plates in factors:
        tensor = factor.clone()  # Pyro writes the names of the dimensions on the tensor
        setattr(tensor, DIMENSIONS, names)
        tree.setdefault(plates, []).append(tensor)
    contracted = look_up(PRIVATE_NAMES["contraction"])(tree, summed)
    return [
        (term, getattr(term, DIMENSIONS), plates)
        for plates, terms in contracted.items()
        for term in terms
    ]
