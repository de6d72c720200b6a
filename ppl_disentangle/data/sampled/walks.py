"""Walks along the factors: short sequences whose factors move a little at every step."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.base import FactorDataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.lookup import lookup, positions
from ppl_disentangle.data.sampled.tuples import Tuples, checked_num

__all__ = ["laplace_transition", "walks"]


def walks(
    data: FactorDataset,
    length: int,
    transitions: float | Mapping[str, ArrayLike] = 1.0,
    *,
    always_moves: bool = False,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> Tuples:
    r"""Sequences of data along Markov chains of their factors, ``(length, *event)`` each.

    .. math:: i_1 \sim U(\text{data}), \qquad c_{t+1, k} \mid c_{t, k} \sim T_k(c_{t, k}, \cdot)
       \text{ independently over the factors } k

    A number stands for :func:`laplace_transition` of that rate; with two frames, that is the data of SlowVAE [1]
    (there, cyclic factors do not wrap around, and a step in which nothing moved is replaced; see ``always_moves``).
    Factors without a transition stay as they are: identity, while pose moves.

    Args:
        data: a grid, or any data that have all combinations that a walk comes to.
        length: frames, at least 2.
        transitions: for each moving factor a rate, or a matrix of shape ``(classes, classes)`` whose rows are
            probabilities of the next class. A single rate is that of all factors that are ordered or cyclic.
        always_moves: where no factor moved, draw one of the moving factors uniformly, and its next class given that it
            is another.
        num: number of walks; by default as many as there are data.
        seed: of the draws, or a generator.

    Raises:
        KeyError: no such factor.
        ValueError: fewer than two frames, a matrix that is none of probabilities, a class that cannot be left though
            a step always moves, or a combination without a datum.

    References:
        [1] Klindt et al., 2021. Towards nonlinear disentanglement in natural data with temporal sparse coding.
        https://arxiv.org/abs/2007.10930

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = walks(Sprites(), 5, {"x": 8.0, "y": 8.0}, num=100)
        >>> frames = data.dataset.factors(data.members(torch.tensor([3]))[0])
        >>> frames[:, :3].unique(dim=0).shape  # shape, scale and orientation stay
        torch.Size([1, 3])
    """
    if length < 2:
        raise ValueError(f"expected length >= 2, got {length}")
    chains, generator, table = (
        _chains(data, transitions, always_moves),
        as_generator(seed),
        lookup(data),
    )
    frames = [table.classes(uniform_index(len(data), checked_num(data, num), generator))]
    for _ in range(length - 1):
        frames.append(_step(frames[-1], chains, always_moves, generator))
    members = table.find(range(len(data.space)), torch.cat(frames), generator)
    return Tuples(data, members.view(length, -1).T.contiguous(), name=f"{data.name}_walks")


def laplace_transition(size: int, rate: float, *, cyclic: bool = False) -> Tensor:
    r"""The transition matrix of a Laplace step on classes, as SlowVAE [1] draws it; float64 of shape ``(size, size)``.

    .. math:: T(i, j) \propto \exp\left(-\frac{\lambda\, |i - j|}{\log n}\right)

    with n classes, rate :math:`\lambda` and natural logarithm; each row is normalised, so that walks do not leave the
    range. The uniform distribution is not stationary under it, unless it is cyclic.

    Args:
        size: number of classes n, at least 2.
        rate: the larger, the smaller the steps; at 0 the next class is uniform.
        cyclic: the distance is the shorter way round the circle.

    Raises:
        ValueError: fewer than two classes, or a rate below 0.

    References:
        [1] Klindt et al., 2021. https://arxiv.org/abs/2007.10930; the width of the step follows the public code,
        https://github.com/bethgelab/slow_disentanglement (``truncated_laplace``)

    Example:
        >>> laplace_transition(3, math.log(3)) * (1 + math.exp(-1) + math.exp(-2))  # the first row: 1, 1/e, 1/e²
        tensor([[1.0000, 0.3679, 0.1353],
                [0.3186, 0.8660, 0.3186],
                [0.1353, 0.3679, 1.0000]], dtype=torch.float64)
    """
    if size < 2 or not 0 <= rate < math.inf:
        raise ValueError(f"expected size >= 2 and a finite rate >= 0, got size={size}, rate={rate}")
    classes = torch.arange(size, dtype=torch.float64)
    distance = (classes[:, None] - classes).abs()
    if cyclic:
        distance = torch.minimum(distance, size - distance)
    return (-rate / math.log(size) * distance).softmax(-1)


def _chains(
    data: FactorDataset, transitions: float | Mapping[str, ArrayLike], always_moves: bool
) -> dict[int, Tensor]:
    """The transition matrix of each factor that moves, by position."""
    if not isinstance(transitions, Mapping):
        names = [f.name for f in data.space if f.kind != "categorical" and f.size > 1]
        transitions = dict.fromkeys(names, transitions)
    chains = {}
    for k, (name, given) in zip(
        positions(data, list(transitions)), transitions.items(), strict=True
    ):
        size = data.space[k].size
        matrix = torch.as_tensor(given, dtype=torch.float64)
        if matrix.dim() == 0:
            matrix = laplace_transition(size, matrix.item(), cyclic=data.space[k].kind == "cyclic")
        fits = matrix.shape == (size, size) and bool((matrix >= 0).all())
        if not fits or not torch.allclose(matrix.sum(-1), matrix.new_ones(()), atol=1e-6):
            got = tuple(matrix.shape)
            raise ValueError(
                f"expected probabilities ({size}, {size}) for {name!r}, whose rows sum to 1; got shape {got}"
            )
        if always_moves and bool((matrix.diagonal() > 1 - 1e-12).any()):
            raise ValueError(f"always_moves needs another class to go to from each of {name!r}")
        chains[k] = matrix
    return chains


def _step(
    classes: Tensor, chains: Mapping[int, Tensor], always_moves: bool, generator: torch.Generator
) -> Tensor:
    """The next classes ``(num, factors)``."""
    after = classes.clone()
    for k, matrix in chains.items():
        after[:, k] = _next(matrix, classes[:, k], generator)
    still = (after == classes).all(-1).nonzero()[:, 0] if always_moves else classes.new_empty(0)
    which = torch.tensor(list(chains))[uniform_index(len(chains), len(still), generator)]
    for k, matrix in chains.items():
        rows = still[which == k]
        if len(rows):
            others = matrix.clone().fill_diagonal_(0)
            after[rows, k] = _next(
                others / others.sum(-1, keepdim=True), classes[rows, k], generator
            )
    return after


def _next(matrix: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """A draw from the row of each class, by inversion: row i of the distribution functions lies in [i, i + 1]."""
    size = len(matrix)
    steps = matrix.cumsum(-1).clamp(max=1)
    steps[:, -1] = 1
    uniform = torch.rand(len(classes), generator=generator, dtype=torch.float64)
    ladder = (steps + torch.arange(size)[:, None]).flatten()
    found = torch.searchsorted(ladder, classes + uniform, right=True) - classes * size
    return found.clamp(0, size - 1)
