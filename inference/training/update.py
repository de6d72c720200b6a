"""The optimiser's step, without the preparations that it makes anew at each step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

from ppl_disentangle._private_names import MissingNameError
from ppl_disentangle._torch_private import fused_adam_kernels, has_step_hooks

__all__ = ["MOMENTS", "Update", "adam_in_place", "is_plain_adam"]

MOMENTS = ("exp_avg", "exp_avg_sq", "step")
"""Adam's state of a parameter: running means of gradients and of their squares, number of steps."""
KERNEL_OPTIONS = ("lr", "eps", "weight_decay", "amsgrad", "maximize")
"""Options of a group that the fused kernel takes under their names."""
PLAIN_OPTIONS = {"weight_decay": 0, "amsgrad": False, "maximize": False}
"""Values of the options by which Adam follows its publication."""


def is_plain_adam(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` is Adam as published in [1], with no function hooked into its step.

    References:
        [1] Kingma & Ba, 2015. https://arxiv.org/abs/1412.6980
    """
    if type(optimizer) is not Adam or "step" in vars(optimizer):
        return False
    try:
        if has_step_hooks(optimizer):
            return False
    except MissingNameError:  # then nobody can tell, and the optimiser takes its step itself
        return False
    return all(map(_is_plain, optimizer.param_groups))


def _is_plain(group: Mapping[str, Any]) -> bool:
    return all(group[name] == value for name, value in PLAIN_OPTIONS.items())


def adam_in_place(
    parameter: Tensor,
    gradient: Tensor,
    mean: Tensor,
    square: Tensor,
    count: Tensor,
    options: Mapping[str, Any],
) -> None:
    """One step of plain Adam for one parameter, as tensor operations that change it in place.

    Args:
        parameter: The parameter, which is changed.
        gradient: Its gradient.
        mean: Running mean of its gradients, which is changed.
        square: Running mean of its squared gradients, which is changed.
        count: Number of steps so far, which is changed.
        options: The ``lr``, ``betas`` and ``eps`` of its group.
    """
    beta1, beta2 = options["betas"]
    count.add_(1)
    mean.lerp_(gradient, 1 - beta1)
    square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
    scale = (square.sqrt() / (1 - beta2**count).sqrt()).add_(options["eps"])
    parameter.sub_(options["lr"] / (1 - beta1**count) * mean / scale)


@dataclass(frozen=True)
class _Group:
    """The tensors of one group of parameters, in the lists that the fused kernel takes."""

    options: Mapping[str, Any]
    parameters: list[Tensor]
    means: list[Tensor]
    squares: list[Tensor]
    counts: list[Tensor]

    def has_gradients(self) -> bool:
        """Whether all parameters of the group have gradients."""
        return all(parameter.grad is not None for parameter in self.parameters)


class Update:
    """``optimizer.step()``; for fused Adam its two kernels alone, once all parameters have moments.

    Args:
        optimizer: An optimiser, whose parameters have gradients when the update is called.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._groups: list[_Group] = []
        self._state: Any = None  # the optimiser's state whose tensors the groups have
        try:
            self._add_to_many, self._fused_adam = fused_adam_kernels()
        except MissingNameError:
            self._has_kernels = False
        else:
            self._has_kernels = True

    def __call__(self) -> None:
        """Take one step."""
        can_be_fused = self._has_kernels and is_plain_adam(self._optimizer)
        if not can_be_fused or not self._fused_step():
            self._optimizer.step()

    def _fused_step(self) -> bool:
        """Take a step by the fused kernels; false, and no step, where they cannot take it."""
        # The optimiser's state is another object at first, and after going back to an earlier one.
        same_groups = len(self._groups) == len(self._optimizer.param_groups)
        if self._state is not self._optimizer.state or not same_groups:
            self._state = self._optimizer.state
            self._groups = _fused_groups(self._optimizer)
        if not self._groups or not all(group.has_gradients() for group in self._groups):
            self._state = None
            return False
        with torch.no_grad():
            for group in self._groups:
                self._step_of(group)
        return True

    def _step_of(self, group: _Group) -> None:
        beta1, beta2 = group.options["betas"]
        options = {name: group.options[name] for name in KERNEL_OPTIONS}
        self._add_to_many(group.counts, 1)
        self._fused_adam(
            group.parameters,
            [parameter.grad for parameter in group.parameters],
            group.means,
            group.squares,
            [],  # the largest squares, which only amsgrad has
            group.counts,
            beta1=beta1,
            beta2=beta2,
            **options,
        )


def _fused_groups(optimizer: Optimizer) -> list[_Group]:
    """The groups of a fused Adam; none where its fused kernel cannot take the step of all."""
    groups = optimizer.param_groups
    if any(not group.get("fused") or group.get("differentiable") for group in groups):
        return []
    parameters = [parameter for group in groups for parameter in group["params"]]
    states = [optimizer.state.get(parameter, {}) for parameter in parameters]
    have_moments = all(set(MOMENTS) <= state.keys() for state in states)
    if not have_moments or len({(p.device, p.dtype) for p in parameters}) != 1:
        return []
    return [_read_group(group, optimizer.state) for group in groups]


def _read_group(group: Mapping[str, Any], state: Mapping[Tensor, Mapping[str, Tensor]]) -> _Group:
    states = [state[parameter] for parameter in group["params"]]
    moments = [list(map(itemgetter(name), states)) for name in MOMENTS]
    return _Group(group, group["params"], *moments)
