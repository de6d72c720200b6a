"""Causal effects on nodes or data: average, individual, by group, direct and indirect."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

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
    r"""Average over units how setting a node to one value instead of another changes an effect.

    .. math:: \mathbb E[Y_{\mathrm{do}(c = b)} - Y_{\mathrm{do}(c = a)}]

    Both worlds have the same units and the same noise.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``.
        cause: The cause c: a node, a latent, or a coordinate of one.
        effect: The effect Y: a node, or a function from data ``(num, *event)`` to ``(num, …)``,
            such as a classifier.
        values: The values a and b.
        **units: Settings of :class:`Units`; by default the model draws the units.

    Returns:
        Variables ``mean``, ``lower``, ``upper`` over the dims of the effect, and ``draws`` over
        ``draw`` as well.

    Raises:
        KeyError: The story has no such node.
        ValueError: ``values`` are not two values, or a setting of the units is not valid.

    Example:
        >>> from ppl_disentangle.causal import StructuralPrior
        >>> from ppl_disentangle.causal.mechanisms import LinearGaussian
        >>> from ppl_disentangle.conditionals import Gaussian, GaussianLearnedScale
        >>> from ppl_disentangle.models import CausalVAE
        >>> prior = StructuralPrior("light -> shadow", LinearGaussian)
        >>> story = CausalVAE(prior, Gaussian(nn.Linear(6, 4)), GaussianLearnedScale(nn.Linear(2, 6)))
        >>> effect = average_effect(story, "light", "shadow", values=(0.0, 2.0), num_units=10)
        >>> weight = prior.mechanisms["shadow"].weight
        >>> bool(abs(effect["mean"] - 2 * weight.item()) < 1e-6)
        True
    """
    population = Population(story, Units(**units))
    difference = _difference(population, cause, effect, values)
    return population.summarise(difference.mean("data"), cause, effect, values)


def individual_effects(
    story: Any, cause: str, effect: Effect, x: Any, *, values: Values, **units: Any
) -> xr.Dataset:
    r"""Compute the effect of setting a node to one value instead of another in each unit.

    .. math:: Y_{\mathrm{do}(c = b)}(u) - Y_{\mathrm{do}(c = a)}(u)

    over the guide's draws of the latents of unit u. Arguments and result are the same as for
    :func:`average_effect`, and the result has the additional dim ``data``.
    """
    population = Population(story, Units(x=x, **units))
    difference = _difference(population, cause, effect, values)
    return population.summarise(difference, cause, effect, values)


def conditional_effects(
    story: Any, cause: str, effect: Effect, by: str, *, values: Values, bins: int = 4, **units: Any
) -> xr.Dataset:
    r"""Average the effect over groups of units with similar factual values of the node ``by``.

    .. math:: \mathbb E[Y_{\mathrm{do}(c = b)} - Y_{\mathrm{do}(c = a)} \mid v \in \text{group}]

    If the node v has at most ``bins`` different values, each of them makes a group; otherwise the
    groups are quantile bins. The other arguments are the same as for :func:`average_effect`, and so
    is the result, with the additional dim ``group``. Its coordinates ``low`` and ``high`` are the
    range of v in a group, ``count`` is the number of units in it over all draws.
    """
    population = Population(story, Units(**units))
    difference = _difference(population, cause, effect, values, also=(by,))
    factual = population.factual(by)  # (draw, data)
    edges = _lower_edges(factual, bins)
    group = np.searchsorted(edges, factual, side="right") - 1
    group_of_unit = xr.DataArray(group, dims=("draw", "data"))
    means = [difference.where(group_of_unit == g).mean("data") for g in range(len(edges))]
    result = population.summarise(xr.concat(means, "group"), cause, effect, values)
    members = [factual[group == g] for g in range(len(edges))]
    return result.assign_coords(
        low=("group", [float(members_of_group.min()) for members_of_group in members]),
        high=("group", [float(members_of_group.max()) for members_of_group in members]),
        count=("group", [members_of_group.size for members_of_group in members]),
    ).assign_attrs(by=by)


def _lower_edges(values: np.ndarray, bins: int) -> np.ndarray:
    """The smallest value of each group: distinct values, or lower ends of quantile bins."""
    distinct = np.unique(values)
    if len(distinct) <= bins:
        return distinct
    return np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[:-1]))


def mediated_effects(
    story: Any,
    cause: str,
    effect: Effect,
    mediators: str | Sequence[str],
    *,
    values: Values,
    **units: Any,
) -> xr.Dataset:
    r"""Split the effect of a node into its natural direct and indirect components [1].

    .. math:: \text{direct} = \mathbb E[Y_{b, M_a} - Y_{a, M_a}], \quad
       \text{indirect} = \mathbb E[Y_{a, M_b} - Y_{a, M_a}], \quad
       \text{total} = \mathbb E[Y_{b, M_b} - Y_{a, M_a}]

    where the indirect effect passes through the mediators M, and :math:`Y_{b, M_a}` is the effect
    with the cause at b and the mediators at the values that they would have with the cause at a, in
    the same unit. The interaction is the total minus the sum of both parts. The arguments are the
    same as for :func:`average_effect`, and so is the result, with the additional dim ``component``.

    References:
        [1] Pearl, 2001. Direct and indirect effects. UAI, 411-420.
    """
    population = Population(story, Units(**units))
    names = (mediators,) if isinstance(mediators, str) else tuple(mediators)
    a, b = population.settings(cause, values)
    population.simulate([a, b], until=names)
    mediators_at_a = {name: FixedValue(population.value(name)[1]) for name in names}
    mediators_at_b = {name: FixedValue(population.value(name)[2]) for name in names}
    actions = [a, b, {**b, **mediators_at_a}, {**a, **mediators_at_b}]
    outcomes = population.outcomes(actions, effect).mean("data")
    components = _components(outcomes - outcomes.isel(world=0))
    result = population.summarise(components, cause, effect, values)
    return result.assign_attrs(mediators=", ".join(names))


def _components(differences: xr.DataArray) -> xr.DataArray:
    """The components of an effect.

    Args:
        differences: Outcomes minus the outcome at a, over ``world``: at a, at b, at b with M_a, at
            a with M_b.
    """
    total = differences.isel(world=1)
    direct = differences.isel(world=2)
    indirect = differences.isel(world=3)
    components = {
        "total": total,
        "direct": direct,
        "indirect": indirect,
        "interaction": total - direct - indirect,
    }
    stacked = xr.concat(list(components.values()), "component")
    return stacked.assign_coords(component=list(components))


def _difference(
    population: Population, cause: str, effect: Effect, values: Values, *, also: Sequence[str] = ()
) -> xr.DataArray:
    settings = population.settings(cause, values)
    return population.outcomes(settings, effect, also=also).diff("world").squeeze("world")
