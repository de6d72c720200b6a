"""Groups that vary one factor only, groups that share some factors, and triplets."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.conditioned import with_conditions
from ppl_disentangle.data.sampled.lookup import lookup, positions
from ppl_disentangle.data.sampled.pairs import draw_pairs
from ppl_disentangle.data.sampled.tuples import Tuples, checked_num

__all__ = ["groups", "sharing", "triplets"]


def groups(
    data: FactorDataset,
    size: int,
    *,
    factors: Sequence[str] | None = None,
    num: int | None = None,
    seed: int | torch.Generator = 0,
    conditions: bool = False,
) -> FactorDataset:
    """Groups within which exactly one factor varies, the mini-batches of DC-IGN [1]: ``(size, *event)`` each.

    The first two members are a pair of :func:`~ppl_disentangle.data.pairs` with ``k=1``, hence differ; the others are
    drawn, with replacement, uniformly from the data that agree with them in all factors but that one.

    Args:
        data: a grid or any data with factors.
        size: members of a group, at least 2.
        factors: names of those that may vary, each in as many groups; by default all with two values or more.
        num: number of groups; by default as many as there are data.
        seed: of the draws, or a generator.
        conditions: Whether the groups come with the position of the factor that varies, which ``fit`` passes to model
            and guide as ``varied``, int64 ``(batch,)``. By default they come without.

    Raises:
        KeyError: no such factor.
        ValueError: fewer than two members, or hardly any such groups.

    References:
        [1] Kulkarni et al., 2015. Deep convolutional inverse graphics network. https://arxiv.org/abs/1503.03167

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = groups(Sprites(), 4, factors=["x", "y"], num=100, conditions=True)
        >>> data.observations(torch.arange(8)).shape, data.conditions(torch.arange(3))["varied"].shape
        (torch.Size([8, 4, 1, 64, 64]), torch.Size([3]))
    """
    _check_size(size)
    num, generator = checked_num(data, num), as_generator(seed)
    members, changed = draw_pairs(data, positions(data, factors, varying=True), 1, num, generator)
    varied, table = changed.int().argmax(-1), lookup(data)
    others = members[:, :1].repeat(1, size - 2)
    for k in varied.unique().tolist():
        rows = (varied == k).nonzero()[:, 0]
        kept = [i for i in range(len(data.space)) if i != k]
        others[rows] = table.alike(members[rows, 0], kept, size - 2, generator)
    drawn = Tuples(data, torch.cat([members, others], -1), name=f"{data.name}_groups")
    return with_conditions(drawn, varied=varied) if conditions else drawn


def sharing(
    data: FactorDataset,
    factors: str | Sequence[str],
    size: int = 2,
    *,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> Tuples:
    """Groups that share the classes of the named factors, all else being free: ``(size, *event)`` each.

    The first member is drawn uniformly from the data, the others, with replacement, from those of the same classes.
    These are the groups of ML-VAE [1], and the pairs of one class that cycle-consistent and adversarial models take.

    Args:
        data: a grid or any data with factors.
        factors: names of those that are shared.
        size: members of a group, at least 2.
        num: number of groups; by default as many as there are data.
        seed: of the draws, or a generator.

    Raises:
        KeyError: no such factor.
        ValueError: fewer than two members.

    References:
        [1] Bouchacourt et al., 2018. Multi-level variational autoencoder. https://arxiv.org/abs/1705.08841

    Example:
        >>> from ppl_disentangle.data import digits
        >>> data = sharing(digits(), "digit")
        >>> digits().factors(data.members(torch.tensor([0])).flatten()).flatten().unique().numel()
        1
    """
    _check_size(size)
    shared = positions(data, [factors] if isinstance(factors, str) else factors)
    generator = as_generator(seed)
    first = uniform_index(len(data), checked_num(data, num), generator)
    others = lookup(data).alike(first, shared, size - 1, generator)
    return Tuples(data, torch.cat([first[:, None], others], -1), name=f"{data.name}_sharing")


def triplets(
    data: FactorDataset,
    factor: str,
    *,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> Tuples:
    """Anchor, positive and negative: ``(3, *event)`` each.

    The anchor is drawn uniformly from the data, the positive from those with the anchor's class of ``factor``, the
    negative from those with another. All other factors are free.

    Args:
        data: a grid or any data with factors.
        factor: name of the factor that the positive shares.
        num: number of triplets; by default as many as there are data.
        seed: of the draws, or a generator.

    Raises:
        KeyError: no such factor.
        ValueError: all data have one class of it.

    Example:
        >>> from ppl_disentangle.data import digits
        >>> triplets(digits(), "digit").observation_shape
        (3, 1, 8, 8)
    """
    [k], generator, table = (
        positions(data, [factor], varying=True),
        as_generator(seed),
        lookup(data),
    )
    column = table.classes(torch.arange(len(data)))[:, k]
    if bool((column == column[0]).all()):
        raise ValueError(
            f"expected two classes of {factor!r} or more, all of {data.name!r} have one"
        )
    anchor = uniform_index(len(data), checked_num(data, num), generator)
    positive = table.alike(anchor, [k], 1, generator)[:, 0]
    negative, left = anchor.clone(), torch.arange(len(anchor))
    while len(left):
        negative[left] = uniform_index(len(data), len(left), generator)
        left = left[column[negative[left]] == column[anchor[left]]]
    return Tuples(data, torch.stack([anchor, positive, negative], -1), name=f"{data.name}_triplets")


def _check_size(size: int) -> None:
    if size < 2:
        raise ValueError(f"expected size >= 2, got {size}")
