"""Causal data as a grid over the noise of the nodes that vary freely."""

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
    """The units of a causal data set as a grid over the noise of some nodes, in the same order.

    The factors of this grid are independent and determine the image. Nodes that follow from them,
    such as a shadow, are not factors. Metrics that draw combinations of factors, such as the
    FactorVAE score, need such a grid.

    Args:
        scene: Causal data set with every combination of the nodes' noise exactly once, the last
            node varying fastest.
        inputs: Name of the factor, for each node whose noise varies freely.

    Raises:
        ValueError: The units do not form such a grid.
    """

    def __init__(self, scene: CausalDataset, inputs: Mapping[str, str]) -> None:
        if unknown := [node for node in inputs if node not in scene.names]:
            raise ValueError(f"expected nodes among {list(scene.names)}, got {unknown}")
        self.scene = scene
        self.name = f"{scene.name}_grid"
        self.observation_shape = scene.observation_shape
        self.maximum = scene.maximum
        factors = []
        classes = []
        for node, name in inputs.items():
            noise = scene.noise[:, scene.names.index(node)]
            levels, node_classes = noise.unique(return_inverse=True)
            factors.append(Factor(name, tuple(levels.tolist())))
            classes.append(node_classes)
        self.space = tuple(factors)
        self._check_order(torch.stack(classes, -1))

    def _check_order(self, classes: Tensor) -> None:
        """Raise an error unless the units list every combination once, in row-major order."""
        num_units = len(self.scene)
        in_order = self.factors(torch.arange(len(self)))
        if len(self) != num_units or not torch.equal(in_order, classes):
            sizes = dict(zip(self.factor_names, self.factor_sizes, strict=True))
            raise ValueError(
                f"expected every combination of {sizes} once and in order, got {num_units} other units"
            )

    def render(self, factors: Tensor) -> Tensor:
        """Stored observations of the factor classes ``(batch, len(space))``."""
        return self.scene.observations(self.index(factors))


def pendulum_grid(*, size: int = 64, clamp: bool = True) -> InputGrid:
    """The published images of :class:`~ppl_disentangle.data.Pendulum` as a grid of both angles.

    Args:
        size: Pixels along each side.
        clamp: Whether a shadow has at least length 3, as published.

    Example:
        >>> pendulum_grid().factor_sizes
        (84, 87)
    """
    return InputGrid(Pendulum(size=size, clamp=clamp), {"angle": "angle", "light": "light"})


def flow_grid(*, size: int = 64) -> InputGrid:
    """The published units of :class:`~ppl_disentangle.data.Flow` as a grid of ball, water and hole.

    Args:
        size: Pixels along each side.

    Example:
        >>> flow_grid().factor_sizes
        (30, 30, 9)
    """
    return InputGrid(Flow(size=size), {"ball": "ball", "height": "water", "hole": "hole"})
