"""Pairs that share all factors but a few: weak supervision by the factors that stay the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.conditioned import with_conditions
from ppl_disentangle.data.sampled.lookup import lookup, positions
from ppl_disentangle.data.sampled.tuples import Tuples, checked_num

__all__ = ["draw_pairs", "pairs"]

# After this many draws, an error is raised if a smaller share of them has a partner.
_MIN_DRAWS = 1000
_MIN_PARTNER_SHARE = 0.01


def pairs(
    data: Any,
    k: int | Literal["random"] = 1,
    *,
    factors: Sequence[str] | None = None,
    num: int | None = None,
    seed: int | torch.Generator = 0,
    conditions: bool = False,
) -> FactorDataset:
    r"""Pairs of data that differ in exactly k factors and agree in all others.

    Observations have shape ``(2, *event)``.

    .. math:: i \sim U(\text{data}), \qquad S \sim U\{S : |S| = k\}, \qquad
       j \sim U\{j : c_j \ne c_i \text{ in each factor of } S, \; c_j = c_i \text{ in all others}\}

    with the classes :math:`c_i` of datum i. If no such j exists, both i and S are drawn again. On a
    grid it always exists, and every factor changes equally often. The pairs of [1] redraw the
    factors in S, so some keep their value by chance; here, as in [2], all factors in S change.

    Args:
        data: Grid, or other data with factors. Both members come from it, so make the pairs of a
            training set from the training set.
        k: Number of factors that change, or ``"random"``: uniform over 1, …, K - 1 of K factors.
        factors: Names of the factors that may change; by default all with at least two values.
        num: Number of pairs; by default the number of data.
        seed: Seed of the random draws, or a generator.
        conditions: Whether the pairs come with the factors that changed, which ``fit`` passes to
            model and guide as ``changed``, bool of shape ``(batch, len(data.space))``. By default
            they come without.

    Raises:
        KeyError: A name is not a factor.
        ValueError: k is out of range, or the data have hardly any such pairs.

    References:
        [1] Locatello et al., 2020. Weakly-supervised disentanglement without compromises.
        https://arxiv.org/abs/2002.02886
        [2] Klindt et al., 2021. Towards nonlinear disentanglement in natural data with temporal
        sparse coding. https://arxiv.org/abs/2007.10930

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = pairs(Sprites(), k=1, num=100, conditions=True)
        >>> data.observations(torch.arange(8)).shape, data.conditions(torch.arange(8))["changed"].sum(1)
        (torch.Size([8, 2, 1, 64, 64]), tensor([1, 1, 1, 1, 1, 1, 1, 1]))
    """
    data = as_dataset(data)
    allowed = positions(data, factors, varying=True)
    most = len(allowed) - 1 if k == "random" else len(allowed)
    if k != "random" and not 1 <= k <= most:
        raise ValueError(f"expected 1 <= k <= {most} or k='random', got k={k!r}")
    if most < 1:
        raise ValueError("k='random' needs two factors that may change, so that one is shared")
    generator = as_generator(seed)
    members, changed = draw_pairs(data, allowed, k, checked_num(data, num), generator)
    drawn = Tuples(data, members, name=f"{data.name}_pairs")
    return with_conditions(drawn, changed=changed) if conditions else drawn


def draw_pairs(
    data: FactorDataset,
    allowed: Sequence[int],
    k: int | Literal["random"],
    num: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Members ``(num, 2)`` of the pairs of :func:`pairs`, and the factors that changed.

    Args:
        data: Data set of the members.
        allowed: Positions of the factors that may change.
        k: Number of factors that change, or ``"random"``; see :func:`pairs`.
        num: Number of pairs.
        generator: Generator of the random draws.

    Returns:
        Members, int64 ``(num, 2)``, and whether each factor changed, bool ``(num, len(space))``.
    """
    table = lookup(data)
    members = torch.zeros(num, 2, dtype=torch.int64)
    changed = torch.zeros(num, len(data.space), dtype=torch.bool)
    remaining = torch.arange(num)
    num_draws = 0
    num_partners = 0
    while len(remaining):
        first = uniform_index(len(data), len(remaining), generator)
        subset = _subsets(data, allowed, k, len(remaining), generator)
        second, exists = table.differing(first, subset, generator)
        num_draws += len(remaining)
        num_partners += int(exists.sum())
        if num_draws >= _MIN_DRAWS and num_partners < _MIN_PARTNER_SHARE * num_draws:
            _raise_hardly_any(data, allowed, k, f"{num_partners} of {num_draws}")
        members[remaining[exists]] = torch.stack([first, second], -1)[exists]
        changed[remaining[exists]] = subset[exists]
        remaining = remaining[~exists]
    return members, changed


def _raise_hardly_any(
    data: FactorDataset, allowed: Sequence[int], k: int | Literal["random"], share: str
) -> None:
    names = [data.factor_names[i] for i in allowed]
    raise ValueError(
        f"hardly any data of {data.name!r} differ in exactly k={k} of {names} and in nothing else: "
        f"{share} draws found a partner"
    )


def _subsets(
    data: FactorDataset,
    allowed: Sequence[int],
    k: int | Literal["random"],
    num: int,
    generator: torch.Generator,
) -> Tensor:
    """Uniform subsets of k factors, bool of shape ``(num, len(space))``."""
    rank = torch.rand(num, len(allowed), generator=generator).argsort(-1).argsort(-1)
    size = 1 + uniform_index(len(allowed) - 1, num, generator)[:, None] if k == "random" else k
    chosen = torch.zeros(num, len(data.space), dtype=torch.bool)
    chosen[:, list(allowed)] = rank < size
    return chosen
