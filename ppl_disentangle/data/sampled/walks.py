"""Walks along the factors: short sequences whose factors change a little at every step."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorDataset
from ppl_disentangle.data.conversion import as_dataset
from ppl_disentangle.data.randomness import as_generator, uniform_index
from ppl_disentangle.data.sampled.lookup import lookup, positions
from ppl_disentangle.data.sampled.tuples import Tuples, checked_num

__all__ = ["laplace_transition", "walks"]


def walks(
    data: Any,
    length: int,
    transitions: float | Mapping[str, ArrayLike] = 1.0,
    *,
    always_moves: bool = False,
    num: int | None = None,
    seed: int | torch.Generator = 0,
) -> Tuples:
    r"""Sequences of data along Markov chains of their factors.

    Observations have shape ``(length, *event)``.

    .. math:: i_1 \sim U(\text{data}), \qquad c_{t+1, k} \mid c_{t, k} \sim T_k(c_{t, k}, \cdot)
       \text{ independently over the factors } k

    with the classes c of each frame. A number as transition stands for :func:`laplace_transition`
    with this rate. With two frames, these are the data of SlowVAE [1], except that cyclic factors
    do not wrap around in [1], and that [1] replaces a step without any change; see
    ``always_moves``. Factors without a transition stay the same, like identity while the pose
    changes.

    Args:
        data: Grid, or other data with all combinations that a walk reaches.
        length: Number of frames, at least 2.
        transitions: Rate for each moving factor, or matrix of shape ``(classes, classes)`` whose
            rows are the probabilities of the next class. A single rate applies to all ordered and
            cyclic factors.
        always_moves: Whether a step in which no factor moved is replaced: one of the moving factors
            is drawn uniformly, and its next class given that the class changes.
        num: Number of walks; by default the number of data.
        seed: Seed of the random draws, or a generator.

    Raises:
        KeyError: A name is not a factor.
        ValueError: ``length`` is below 2, the rows of a matrix are not probabilities, a class
            cannot be left although a step always moves, or a combination has no datum.

    References:
        [1] Klindt et al., 2021. Towards nonlinear disentanglement in natural data with temporal
        sparse coding. https://arxiv.org/abs/2007.10930

    Example:
        >>> from ppl_disentangle.data import Sprites
        >>> data = walks(Sprites(), 5, {"x": 8.0, "y": 8.0}, num=100)
        >>> frames = data.dataset.factors(data.members(torch.tensor([3]))[0])
        >>> frames[:, :3].unique(dim=0).shape  # shape, scale and orientation stay
        torch.Size([1, 3])
    """
    data = as_dataset(data)
    if length < 2:
        raise ValueError(f"expected length >= 2, got {length}")
    chains = _chains(data, transitions, always_moves)
    generator = as_generator(seed)
    table = lookup(data)
    start = uniform_index(len(data), checked_num(data, num), generator)
    frames = [table.classes(start)]
    for _ in range(length - 1):
        frames.append(_step(frames[-1], chains, always_moves, generator))
    members = table.find(range(len(data.space)), torch.cat(frames), generator)
    members = members.view(length, -1).T.contiguous()  # from (length, num) to (num, length)
    return Tuples(data, members, name=f"{data.name}_walks")


def laplace_transition(size: int, rate: float, *, cyclic: bool = False) -> Tensor:
    r"""Transition matrix of a Laplace step on classes, as in SlowVAE [1].

    .. math:: T(i, j) \propto \exp\left(-\frac{\lambda\, |i - j|}{\log n}\right)

    with n classes, rate :math:`\lambda` and the natural logarithm. Each row is normalised, so walks
    stay in the range. The uniform distribution is stationary only if the factor is cyclic.

    Args:
        size: Number of classes n, at least 2.
        rate: Rate; a larger rate gives smaller steps, and at 0 the next class is uniform.
        cyclic: Whether the distance is the shorter way round a circle.

    Returns:
        Probabilities, float64 of shape ``(size, size)``.

    Raises:
        ValueError: ``size`` is below 2, or ``rate`` below 0.

    References:
        [1] Klindt et al., 2021. https://arxiv.org/abs/2007.10930; the width of the step follows the
        public code, https://github.com/bethgelab/slow_disentanglement (``truncated_laplace``)

    Example:
        >>> laplace_transition(3, math.log(3)) * (1 + math.exp(-1) + math.exp(-2))  # first row: 1, 1/e, 1/e²
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
    """Transition matrix of each factor that moves, by the position of the factor."""
    if not isinstance(transitions, Mapping):
        moving = [f.name for f in data.space if f.kind != "categorical" and f.size > 1]
        transitions = dict.fromkeys(moving, transitions)
    chains = {}
    factors = positions(data, list(transitions))
    for k, given in zip(factors, transitions.values(), strict=True):
        chains[k] = _transition_matrix(data.space[k], given)
        if always_moves and bool((chains[k].diagonal() > 1 - 1e-12).any()):
            name = data.space[k].name
            raise ValueError(f"always_moves needs another class to go to from each of {name!r}")
    return chains


def _transition_matrix(factor: Factor, given: ArrayLike) -> Tensor:
    """Transition matrix of a factor, from a rate or a matrix of probabilities."""
    size = factor.size
    matrix = torch.as_tensor(given, dtype=torch.float64)
    if matrix.dim() == 0:
        return laplace_transition(size, matrix.item(), cyclic=factor.kind == "cyclic")
    fits = matrix.shape == (size, size) and bool((matrix >= 0).all())
    if not fits or not torch.allclose(matrix.sum(-1), matrix.new_ones(()), atol=1e-6):
        expected = f"probabilities ({size}, {size}) for {factor.name!r}, whose rows sum to 1"
        raise ValueError(f"expected {expected}; got shape {tuple(matrix.shape)}")
    return matrix


def _step(
    classes: Tensor, chains: Mapping[int, Tensor], always_moves: bool, generator: torch.Generator
) -> Tensor:
    """Classes of the next frame, ``(num, factors)``."""
    after = classes.clone()
    for k, matrix in chains.items():
        after[:, k] = _next(matrix, classes[:, k], generator)
    if not always_moves:
        return after
    still = (after == classes).all(-1).nonzero()[:, 0]
    moving = torch.tensor(list(chains))[uniform_index(len(chains), len(still), generator)]
    for k, matrix in chains.items():
        rows = still[moving == k]
        if len(rows):
            after[rows, k] = _next(_without_staying(matrix), classes[rows, k], generator)
    return after


def _without_staying(matrix: Tensor) -> Tensor:
    """Transition matrix given that the class changes."""
    others = matrix.clone().fill_diagonal_(0)
    return others / others.sum(-1, keepdim=True)


def _next(matrix: Tensor, classes: Tensor, generator: torch.Generator) -> Tensor:
    """The next class of each datum, drawn by inversion of the distribution function of its row."""
    size = len(matrix)
    cumulative = matrix.cumsum(-1).clamp(max=1)
    cumulative[:, -1] = 1
    uniform = torch.rand(len(classes), generator=generator, dtype=torch.float64)
    # Row i shifted to [i, i + 1]: the flat table is sorted, and one search serves all rows.
    shifted = (cumulative + torch.arange(size)[:, None]).flatten()
    position = torch.searchsorted(shifted, classes + uniform, right=True)
    return (position - classes * size).clamp(0, size - 1)
