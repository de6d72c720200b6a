"""All names of PyTorch that are private or undocumented, and the functions that use them.

A name is looked up when a function needs it. Where it is missing the function raises
:class:`MissingNameError`, and the caller does without: training steps are then taken one
operation at a time, or by the optimiser itself, with the same weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Transform
from torch.distributions.transforms import ExpTransform
from torch.fx import GraphModule
from torch.optim import Optimizer

from ppl_disentangle._private_names import attribute_of, look_up

__all__ = [
    "PRIVATE_NAMES",
    "compile_graph",
    "forget_cached_values",
    "fused_adam_kernels",
    "has_step_hooks",
    "is_inverse",
    "is_operation",
    "schema_of",
    "set_batch_shape",
    "trace_operations",
]

PRIVATE_NAMES = {
    "make_fx": "torch.fx.experimental.proxy_tensor.make_fx",
    "schema": "torch._ops.OpOverload._schema",
    "compile": "torch._inductor.compile",
    "compiler options": "torch._inductor.config.patch",
    "fused Adam": "torch._fused_adam_",
    "add to many": "torch._foreach_add_",
    "hooks before a step": "torch.optim.Optimizer._optimizer_step_pre_hooks",
    "hooks after a step": "torch.optim.Optimizer._optimizer_step_post_hooks",
}
"""Full names by the purpose that they serve here."""


def trace_operations(
    function: Callable[..., list[Tensor]], arguments: Sequence[Tensor]
) -> GraphModule:
    """The tensor operations of ``function(*arguments)`` as a graph of ATen operations."""
    make_fx = look_up(PRIVATE_NAMES["make_fx"])
    return make_fx(function)(*arguments)


def is_operation(target: object) -> bool:
    """Whether a node of a graph with this target calls an ATen operation."""
    operations = type(torch.ops.aten.add.Tensor)
    return isinstance(target, operations)


def schema_of(operation: Any) -> Any:
    """The schema of an ATen operation, which says which arguments it changes in place."""
    return attribute_of(operation, PRIVATE_NAMES["schema"])


def compile_graph(
    graph: GraphModule, arguments: Sequence[Tensor]
) -> Callable[..., Sequence[Tensor]]:
    """The graph as kernels made by inductor, on the CPU called from C++.

    ``torch.compile`` would check all arguments at each call; these kernels check none.
    """
    compile_by_inductor = look_up(PRIVATE_NAMES["compile"])
    with_options = look_up(PRIVATE_NAMES["compiler options"])
    options = with_options(
        fallback_random=True,  # draws the numbers of the eager step
        size_asserts=False,
        alignment_asserts=False,
        cpp_wrapper=arguments[0].device.type == "cpu",
    )
    # The compiler itself calls functions that torch has deprecated.
    with warnings.catch_warnings(action="ignore"), torch.no_grad(), options:
        return compile_by_inductor(graph, list(arguments))


def fused_adam_kernels() -> tuple[Callable[..., None], Callable[..., None]]:
    """The kernel that adds a number to many tensors, and the kernel of fused Adam."""
    return look_up(PRIVATE_NAMES["add to many"]), look_up(PRIVATE_NAMES["fused Adam"])


def has_step_hooks(optimizer: Optimizer) -> bool:
    """Whether functions are registered that run before or after each step of ``optimizer``."""
    before = attribute_of(optimizer, PRIVATE_NAMES["hooks before a step"])
    after = attribute_of(optimizer, PRIVATE_NAMES["hooks after a step"])
    return bool(before or after)


def is_inverse(transform: Transform) -> bool:
    """Whether ``transform`` is a view of another transform, run backwards."""
    inverses = type(ExpTransform().inv)
    return isinstance(transform, inverses)


def set_batch_shape(distribution: Any, shape: torch.Size) -> None:
    """Give a copied distribution, whose parameters have been replaced, their batch shape.

    Raises:
        ValueError: The distribution keeps its batch shape elsewhere.
    """
    distribution._batch_shape = shape
    if distribution.batch_shape != shape:
        kind = type(distribution).__name__
        raise ValueError(
            f"expected a {kind} of batch shape {tuple(shape)} after its parameters were replaced,"
            f" got {tuple(distribution.batch_shape)}; use another distribution, or one process"
        )


def forget_cached_values(transform: Transform) -> None:
    """Clear values that a copied transform has from the original: its inverse, its last x and y."""
    fields = vars(transform)
    for name, empty in (("_inv", None), ("_cached_x_y", (None, None))):
        if name in fields:
            fields[name] = empty
