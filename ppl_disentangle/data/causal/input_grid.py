"""Causal data as a grid of what was free."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ppl_disentangle.data.base import Factor, FactorGrid
from ppl_disentangle.data.causal.dataset import CausalDataset
from ppl_disentangle.data.causal.flow import Flow
from ppl_disentangle.data.causal.pendulum import Pendulum

__all__ = ["InputGrid", "flow_grid", "pendulum_grid"]


class InputGrid(FactorGrid):
    """The units of a causal data set as a grid over the noise of some nodes, in the order in which they are.

    The factors are independent then, and are all that there is to an image; what follows from them, such as a shadow,
    is no factor. Measures that draw combinations of factors, such as the FactorVAE score, need such a grid.

    Args:
        scene: units with every combination of the nodes' noise once, the last varying fastest.
        inputs: name of the factor for each node whose noise is free.

    Raises:
        ValueError: the units are no such grid.
    """

    def __init__(self, scene: CausalDataset, inputs: Mapping[str, str]) -> None:
        if unknown := [node for node in inputs if node not in scene.names]:
            raise ValueError(f"expected nodes among {list(scene.names)}, got {unknown}")
        self.scene, self.name = scene, f"{scene.name}_grid"
        self.observation_shape, self.maximum = scene.observation_shape, scene.maximum
        columns = scene.noise[:, [scene.names.index(node) for node in inputs]]
        levels, classes = zip(
            *(column.unique(return_inverse=True) for column in columns.unbind(-1)), strict=True
        )
        self.space = tuple(
            Factor(name, tuple(level.tolist()))
            for name, level in zip(inputs.values(), levels, strict=True)
        )
        if len(self) != len(scene) or not torch.equal(
            self.factors(torch.arange(len(self))), torch.stack(classes, -1)
        ):
            sizes = dict(zip(inputs.values(), self.factor_sizes, strict=True))
            raise ValueError(
                f"expected every combination of {sizes} once and in order, got {len(scene)} other units"
            )

    def render(self, factors: Tensor) -> Tensor:
        """Stored observations of the factor classes ``(batch, len(space))``."""
        return self.scene.observations(self.index(factors))


def pendulum_grid(*, size: int = 64, clamp: bool = True) -> InputGrid:
    """The 7308 published images of :class:`~ppl_disentangle.data.Pendulum`, as a grid of its two angles.

    Args:
        size: pixels along each side.
        clamp: whether a shadow is at least 3 long, as published.

    Example:
        >>> pendulum_grid().factor_sizes
        (84, 87)
    """
    return InputGrid(Pendulum(size=size, clamp=clamp), {"angle": "angle", "light": "light"})


def flow_grid(*, size: int = 64) -> InputGrid:
    """The 8100 published units of :class:`~ppl_disentangle.data.Flow`, as a grid of ball, water and hole.

    Example:
        >>> flow_grid().factor_sizes
        (30, 30, 9)
    """
    return InputGrid(Flow(size=size), {"ball": "ball", "height": "water", "hole": "hole"})
