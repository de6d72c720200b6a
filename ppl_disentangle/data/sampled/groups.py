"""Groups in which one factor varies, groups that share factors, and triplets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.conditioned import with_conditions
from ppl_disentangle.data.sampled.lookup import lookup, positions
from ppl_disentangle.data.sampled.pairs import draw_pairs
from ppl_disentangle.data.sampled.tuples import Tuples, checked_num

__all__ = ["groups", "sharing", "triplets"]


def groups(
    data: Any,
    size: int,
    *,
    factors: Sequence[str] | None = None,
    num: int | None = None,
    seed: int | torch.Generator = 0,
    conditions: bool = False,
) -> FactorDataset:
    """Groups in which exactly one factor varies, the mini-batches of DC-IGN [1].

    Observations have shape ``(size, *event)``. The first two members are a pair of
    :func:`~ppl_disentangle.data.pairs` with ``k=1``, so they differ. The other members are drawn
    with replacement from the data that agree with them in all other factors.

    Args:
        data: Grid, or other data with factors.
        size: Number of members of a group, at least 2.
        factors: Names of the factors that may vary; each varies in about as many groups. By default
            all factors with at least two values.
        num: Number of groups; by default the number of data.
        seed: Seed of the random draws, or a generator.
        conditions: Whether the groups come with the position of the factor that varies, which
            ``fit`` passes to model and guide as ``varied``, int64 ``(batch,)``. By default they
            come without.

    Raises:
        KeyError: A name is not a factor.
        ValueError: ``size`` is below 2, or the data have hardly any such groups.

    References:
        [1] Kulkarni et al., 2015. Deep convolutional inverse graphics network.
        https://arxiv.org/abs/1503.03167

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = groups(Sprites(), 4, factors=["x", "y"], num=100, conditions=True)
        >>> data.observations(torch.arange(8)).shape, data.conditions(torch.arange(3))["varied"].shape
        (torch.Size([8, 4, 1, 64, 64]), torch.Size([3]))
    """
    data = as_dataset(data)
    _check_size(size)
    num = checked_num(data, num)
    generator = as_generator(seed)
    allowed = positions(data, factors, varying=True)
    pairs, changed = draw_pairs(data, allowed, 1, num, generator)
    varied = changed.int().argmax(-1)
    others = _others(data, pairs[:, 0], varied, size - 2, generator)
    drawn = Tuples(data, torch.cat([pairs, others], -1), name=f"{data.name}_groups")
    return with_conditions(drawn, varied=varied) if conditions else drawn


def _others(
    data: FactorDataset, first: Tensor, varied: Tensor, num: int, generator: torch.Generator
) -> Tensor:
    """Data that agree with the first member in all but the varied factor, ``(len(first), num)``."""
    table = lookup(data)
    others = first[:, None].repeat(1, num)
    for k in varied.unique().tolist():
        rows = (varied == k).nonzero()[:, 0]
        shared = [i for i in range(len(data.space)) if i != k]
        others[rows] = table.alike(first[rows], shared, num, generator)
    return others


def sharing(
    data: Any,
    factors: str | Sequence[str],
    size: int = 2,
    *,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> Tuples:
    """Groups that share the classes of the named factors, while all other factors are free.

    Observations have shape ``(size, *event)``. The first member is drawn uniformly from the data,
    the others with replacement from the data of the same classes. These are the groups of ML-VAE
    [1], and the pairs of one class of cycle-consistent and adversarial models.

    Args:
        data: Grid, or other data with factors.
        factors: Names of the shared factors, or one name.
        size: Number of members of a group, at least 2.
        num: Number of groups; by default the number of data.
        seed: Seed of the random draws, or a generator.

    Raises:
        KeyError: A name is not a factor.
        ValueError: ``size`` is below 2.

    References:
        [1] Bouchacourt et al., 2018. Multi-level variational autoencoder.
        https://arxiv.org/abs/1705.08841

    Example:
        >>> from ppl_disentangle.data import digits
        >>> data = sharing(digits(), "digit")
        >>> digits().factors(data.members(torch.tensor([0])).flatten()).flatten().unique().numel()
        1
    """
    data = as_dataset(data)
    _check_size(size)
    shared = positions(data, [factors] if isinstance(factors, str) else factors)
    generator = as_generator(seed)
    first = uniform_index(len(data), checked_num(data, num), generator)
    others = lookup(data).alike(first, shared, size - 1, generator)
    return Tuples(data, torch.cat([first[:, None], others], -1), name=f"{data.name}_sharing")


def triplets(
    data: Any,
    factor: str,
    *,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> Tuples:
    """Triplets of anchor, positive and negative, by the class of one factor.

    Observations have shape ``(3, *event)``. The anchor is drawn uniformly from the data, the
    positive from the data with the anchor's class of ``factor``, the negative from the data with
    another class. All other factors are free.

    Args:
        data: Grid, or other data with factors.
        factor: Name of the factor that anchor and positive share.
        num: Number of triplets; by default the number of data.
        seed: Seed of the random draws, or a generator.

    Raises:
        KeyError: The name is not a factor.
        ValueError: All data have the same class of the factor.

    Example:
        >>> from ppl_disentangle.data import digits
        >>> triplets(digits(), "digit").observation_shape
        (3, 1, 8, 8)
    """
    data = as_dataset(data)
    [k] = positions(data, [factor], varying=True)
    generator = as_generator(seed)
    table = lookup(data)
    classes = table.classes(torch.arange(len(data)))[:, k]
    if (classes == classes[0]).all():
        raise ValueError(
            f"expected two classes of {factor!r} or more, all of {data.name!r} have one"
        )
    anchor = uniform_index(len(data), checked_num(data, num), generator)
    positive = table.alike(anchor, [k], 1, generator)[:, 0]
    negative = _of_another_class(classes, anchor, generator)
    return Tuples(data, torch.stack([anchor, positive, negative], -1), name=f"{data.name}_triplets")


def _of_another_class(classes: Tensor, anchor: Tensor, generator: torch.Generator) -> Tensor:
    """Data of another class than each anchor, ``(len(anchor),)``, drawn by rejection."""
    negative = anchor.clone()
    rejected = torch.arange(len(anchor))
    while len(rejected):
        negative[rejected] = uniform_index(len(classes), len(rejected), generator)
        is_same = classes[negative[rejected]] == classes[anchor[rejected]]
        rejected = rejected[is_same]
    return negative


def _check_size(size: int) -> None:
    if size < 2:
        raise ValueError(f"expected size >= 2, got {size}")
