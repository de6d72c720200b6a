"""Causal effects of one node on another or on data: average, individual, by group, direct and indirect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from torch import Tensor

from ppl_disentangle.causal.population import Effect, FixedValue, Population, Units, Values

__all__ = [
    "Units",
    "average_effect",
    "conditional_effects",
    "individual_effects",
    "mediated_effects",
]


def average_effect(
    story: Any, cause: str, effect: Effect, *, values: Values, **units: Any
) -> xr.Dataset:
    r"""What setting a node to one value instead of another does to an effect, on average over units.

    .. math:: \mathbb E[Y_{\mathrm{do}(c = b)} - Y_{\mathrm{do}(c = a)}]

    Both worlds have the same units and the same noise.

    Args:
        story: a story.
        cause: the node (or latent, or coordinate of one) c.
        effect: the node Y, or a function from data ``(num, *event)`` to ``(num, …)``, such as a classifier.
        values: a and b.
        **units: the settings of :class:`Units`; by default units are drawn from the model.

    Returns:
        Variables ``mean``, ``lower``, ``upper`` over the dims of the effect, and ``draws`` over ``draw`` as well.

    Raises:
        KeyError: no such node.

    Example:
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.causal.mechanisms import LinearGaussian
        >>> from ppl_disentangle.models import CausalVAE
        >>> from ppl_disentangle.causal.structural import StructuralPrior
        >>> prior = StructuralPrior("light -> shadow", LinearGaussian)
        >>> story = CausalVAE(prior, Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6)))
        >>> found = average_effect(story, "light", "shadow", values=(0.0, 2.0), num_units=10)
        >>> weight = prior.mechanisms["shadow"].weight
        >>> bool(abs(found["mean"] - 2 * weight.item()) < 1e-6)
        True
    """
    population = Population(story, Units(**units))
    return population.summarise(
        _difference(population, cause, effect, values).mean("data"), cause, effect, values
    )


def individual_effects(
    story: Any, cause: str, effect: Effect, x: Tensor, *, values: Values, **units: Any
) -> xr.Dataset:
    r"""What setting a node to one value instead of another does to the effect in each of the units ``x``.

    .. math:: Y_{\mathrm{do}(c = b)}(u) - Y_{\mathrm{do}(c = a)}(u)

    over the guide's draws of the latents of unit u. Arguments and result are those of :func:`average_effect`, with the
    dim ``data`` besides.
    """
    population = Population(story, Units(x=x, **units))
    return population.summarise(
        _difference(population, cause, effect, values), cause, effect, values
    )


def conditional_effects(
    story: Any, cause: str, effect: Effect, by: str, *, values: Values, bins: int = 4, **units: Any
) -> xr.Dataset:
    r"""The average effect in groups of units that are alike in the factual value of the node ``by``.

    .. math:: \mathbb E[Y_{\mathrm{do}(c = b)} - Y_{\mathrm{do}(c = a)} \mid v \in \text{group}]

    Groups are the values of the node v if there are no more than ``bins``, else as many quantile bins. Other arguments
    and the result are those of :func:`average_effect`, with the dim ``group``, whose coordinates ``low`` and ``high``
    are its range, and the number of units in it over all draws, ``count``.
    """
    population = Population(story, Units(**units))
    difference = _difference(population, cause, effect, values, also=(by,))
    known = population.factual(by)
    distinct = np.unique(known)
    edges = (
        distinct
        if len(distinct) <= bins
        else np.unique(np.quantile(known, np.linspace(0, 1, bins + 1)[:-1]))
    )
    group = xr.DataArray(np.searchsorted(edges, known, side="right") - 1, dims=("draw", "data"))
    means = [difference.where(group == g).mean("data") for g in range(len(edges))]
    low, high = (
        [float(end(known[group.values == g])) for g in range(len(edges))]
        for end in (np.min, np.max)
    )
    result = population.summarise(xr.concat(means, "group"), cause, effect, values)
    count = [int((group == g).sum()) for g in range(len(edges))]
    return result.assign_coords(
        low=("group", low), high=("group", high), count=("group", count)
    ).assign_attrs(by=by)


def mediated_effects(
    story: Any,
    cause: str,
    effect: Effect,
    mediators: str | Sequence[str],
    *,
    values: Values,
    **units: Any,
) -> xr.Dataset:
    r"""The effect of a node in natural direct and indirect parts [1]: past the mediators M, and through them.

    .. math:: \text{direct} = \mathbb E[Y_{b, M_a} - Y_{a, M_a}], \quad
       \text{indirect} = \mathbb E[Y_{a, M_b} - Y_{a, M_a}], \quad
       \text{total} = \mathbb E[Y_{b, M_b} - Y_{a, M_a}]

    where :math:`Y_{b, M_a}` is what the effect would be with the cause at b and the mediators at the values that they
    would have with the cause at a, in the same unit. What total exceeds the sum of both by is their interaction.
    Arguments and result are those of :func:`average_effect`, with the dim ``component``.

    References:
        [1] Pearl, 2001. Direct and indirect effects. UAI, 411-420.
    """
    population = Population(story, Units(**units))
    names = (mediators,) if isinstance(mediators, str) else tuple(mediators)
    a, b = population.settings(cause, values)
    population.simulate([a, b], until=names)
    held = [{name: FixedValue(population.value(name)[world]) for name in names} for world in (1, 2)]
    outcomes = population.outcomes([a, b, {**b, **held[0]}, {**a, **held[1]}], effect).mean("data")
    reference = outcomes.isel(world=0)
    total, direct, indirect = (outcomes.isel(world=k) - reference for k in (1, 2, 3))
    parts = {
        "total": total,
        "direct": direct,
        "indirect": indirect,
        "interaction": total - direct - indirect,
    }
    stacked = xr.concat(list(parts.values()), "component").assign_coords(component=list(parts))
    return population.summarise(stacked, cause, effect, values).assign_attrs(
        mediators=", ".join(names)
    )


def _difference(
    population: Population, cause: str, effect: Effect, values: Values, *, also: Sequence[str] = ()
) -> xr.DataArray:
    return (
        population.outcomes(population.settings(cause, values), effect, also=also)
        .diff("world")
        .squeeze("world")
    )
