"""Loss and gradients of a batch under objectives of other libraries, as ``SVI`` takes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import torch
from pyro.infer import (
    ELBO,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    ReweightedWakeSleep,
    TraceTailAdaptive_ELBO,
)
from torch import Tensor, nn

from ppl_disentangle.inference.distributed.processes import num_processes
from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.story import parameters_are_registered

__all__ = [
    "Objective",
    "check_objective",
    "check_statistics",
    "computes_own_gradients",
    "has_value",
    "loss_with_gradients",
    "settle",
]

JIT = (JitTrace_ELBO, JitTraceEnum_ELBO, JitTraceGraph_ELBO, JitTraceMeanField_ELBO)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
TERMS_OF_WAKE_SLEEP = ("model_loss", "guide_loss")


@runtime_checkable
class ComputesGradients(Protocol):
    """An objective that back-propagates its loss itself, such as ``TraceGraph_ELBO``."""

    def loss_and_grads(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """Leave the gradients of the loss in the parameters, and return the loss."""


@runtime_checkable
class HasDifferentiableLoss(Protocol):
    """An objective whose loss is a tensor that can be back-propagated."""

    def differentiable_loss(self, model: Any, guide: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss."""


Objective: TypeAlias = ELBO | ComputesGradients | Callable[..., Tensor]
"""Any of Pyro's ELBOs, or a function ``loss(model, guide, *args)`` that ``SVI`` takes."""


def computes_own_gradients(objective: Objective) -> bool:
    """Whether a step leaves the gradients to the objective, instead of differentiating its loss."""
    if isinstance(objective, DecomposedELBO):
        return False
    differentiates = isinstance(objective, HasDifferentiableLoss)
    return isinstance(objective, JIT) or not (has_value(objective) and differentiates)


def has_value(objective: Objective) -> bool:
    """Whether the loss has a value; the tail-adaptive divergence has gradients only."""
    return not isinstance(objective, TraceTailAdaptive_ELBO)


def check_objective(objective: Objective, conditions: Mapping[str, Any]) -> None:
    """Refuse anything but an objective that can train in this run.

    Raises:
        TypeError: Expected an objective.
        ValueError: It takes no conditions, or no part of a batch, and is given some.
    """
    name = type(objective).__name__
    if isinstance(objective, type):
        raise TypeError(f"the objective is a class: pass an instance, {objective.__name__}()")
    if not isinstance(objective, ELBO | ComputesGradients) and not callable(objective):
        raise TypeError(
            "expected an objective of this library or of Pyro, or a function"
            f" loss(model, guide, *args), got {name}"
        )
    if isinstance(objective, JIT) and conditions:
        raise ValueError(
            f"{name} would keep the conditions of the first batch, {', '.join(conditions)};"
            f" use {name.removeprefix('Jit')}"
        )
    if num_processes() > 1 and computes_own_gradients(objective):
        raise ValueError(
            f"{name} computes its gradients itself, which several processes cannot share;"
            " train in one process"
        )


def check_statistics(objective: Objective, story: nn.Module) -> None:
    """Refuse an objective that would not update the running statistics of a story.

    Raises:
        ValueError: A Jit objective is to train a story with batch normalisation. Steps that its
            tracer has recorded change no buffers.
    """
    if not isinstance(objective, JIT):
        return
    for path, part in story.named_modules():
        if isinstance(part, BATCH_NORMS) and part.training and part.track_running_stats:
            name = type(objective).__name__
            raise ValueError(
                f"{name} would not update the running statistics of {path!r}; use"
                f" {name.removeprefix('Jit')}"
            )


def settle(
    objective: Objective,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Tensor,
    conditions: Mapping[str, Any],
) -> None:
    """Let one of Pyro's ELBOs find out the number of nested plates, before the first step does."""
    if not isinstance(objective, ELBO):
        return
    try:
        with parameters_are_registered():
            objective.loss(model, guide, x, **conditions)
    except NotImplementedError:  # an objective that has gradients, but no value
        return


def loss_with_gradients(
    objective: Objective,
    model: Callable[..., Any],
    guide: Callable[..., Any],
    x: Tensor,
    conditions: Mapping[str, Any],
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss of a batch and its terms; its gradients are added to the gradients of the parameters.

    Pyro's objectives compute gradients only where a program states parameters, so that the
    parameters of the story are registered with Pyro in the meantime.
    """
    with parameters_are_registered():
        if isinstance(objective, ComputesGradients):
            result = objective.loss_and_grads(model, guide, x, **conditions)
        else:
            result = objective(model, guide, x, **conditions)
            result.backward()
    parts = result if isinstance(result, tuple) else (result,)
    values = [torch.as_tensor(part, device=x.device).detach() for part in parts]
    if len(values) == 1:
        return (values[0] if has_value(objective) else values[0].new_full((), torch.nan)), {}
    names = [f"loss_{i}" for i in range(len(values))]
    if isinstance(objective, ReweightedWakeSleep):
        names = list(TERMS_OF_WAKE_SLEEP)
    return torch.stack(values).sum(), dict(zip(names, values, strict=True))
