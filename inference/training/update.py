"""The optimiser's step, without what it costs to prepare it anew each time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer

__all__ = ["Update", "is_plain_adam"]

OPTIONS = ("lr", "eps", "weight_decay", "amsgrad", "maximize")


def is_plain_adam(optimizer: Optimizer) -> bool:
    """Whether ``optimizer`` takes the steps of [1], and nothing is hooked into them.

    References:
        [1] Kingma & Ba, 2015. https://arxiv.org/abs/1412.6980
    """
    plain = {"weight_decay": 0, "amsgrad": False, "maximize": False}
    hooked = (
        optimizer._optimizer_step_pre_hooks
        or optimizer._optimizer_step_post_hooks
        or "step" in vars(optimizer)
    )
    groups = optimizer.param_groups
    return (
        type(optimizer) is Adam
        and not hooked
        and all(g[k] == v for g in groups for k, v in plain.items())
    )


class Update:
    """``optimizer.step()``; for fused Adam its two kernels and nothing else, once all parameters have moments.

    Args:
        optimizer: an optimiser; when this is called, its parameters have gradients.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = optimizer
        self._known: tuple[Any, list[tuple[list[Tensor], ...]]] = (None, [])

    def __call__(self) -> None:
        """Take one step."""
        if not is_plain_adam(self._optimizer):
            self._optimizer.step()
            return
        if (
            self._known[0] is not self._optimizer.state
        ):  # at first, and after going back to an earlier state
            self._known = self._optimizer.state, self._columns()
        gradients = [
            [p.grad for p in parameters if p.grad is not None] for parameters, *_ in self._known[1]
        ]
        if not gradients or any(
            len(g) < len(c[0]) for g, c in zip(gradients, self._known[1], strict=True)
        ):
            self._known = None, []
            self._optimizer.step()
            return
        with torch.no_grad():
            for group, (parameters, means, squares, steps), column in zip(
                self._optimizer.param_groups, self._known[1], gradients, strict=True
            ):
                (beta1, beta2), other = group["betas"], {k: group[k] for k in OPTIONS}
                torch._foreach_add_(steps, 1)
                torch._fused_adam_(
                    parameters, column, means, squares, [], steps, beta1=beta1, beta2=beta2, **other
                )

    def _columns(self) -> list[tuple[list[Tensor], ...]]:
        """Parameters, means, squares and numbers of steps of each group; empty where ``optimizer.step`` must do it."""
        state, groups = self._optimizer.state, self._optimizer.param_groups
        all_of_them = [p for group in groups for p in group["params"]]
        if any(not g["fused"] or g["differentiable"] for g in groups):
            return []
        if (
            any(p not in state for p in all_of_them)
            or len({(p.device, p.dtype) for p in all_of_them}) != 1
        ):
            return []
        moments = ("exp_avg", "exp_avg_sq", "step")
        return [
            (g["params"], *([state[p][k] for p in g["params"]] for k in moments)) for g in groups
        ]
