"""A training step as one graph of tensor operations, traced once through Pyro and run without it."""

from __future__ import annotations

import importlib
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro.infer.elbo import ELBOModule
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim import Optimizer

from ppl_disentangle.inference.training.graph_passes import simplified
from ppl_disentangle.inference.training.replay import Replay
from ppl_disentangle.inference.training.update import is_plain_adam
from ppl_disentangle.story import fork_randomness

__all__ = ["NotCapturedError", "StepGraph", "in_short"]

Batch = Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]
Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]

REPLAYED = ("cuda",)
"""Devices on which graphs are replayed."""
UNKNOWN = "it has parameters that it does not read from the story or the objective"


class NotCapturedError(Exception):
    """A step that is not the same operations on the same shapes every time; the message says why."""


def compiled(graph: GraphModule, arguments: Sequence[Tensor]) -> Any:
    """The graph as kernels, on the CPU called from C++: by inductor itself.

    ``torch.compile`` would look at all arguments at each call. The kernels look at none: :class:`StepGraph` does.
    """
    for node in graph.graph.find_nodes(op="placeholder"):
        node.meta.pop(
            "val", None
        )  # fakes of several modes, which the compiler would take for its inputs
    options = {"fallback_random": True, "size_asserts": False, "alignment_asserts": False}
    with warnings.catch_warnings(action="ignore"):  # of torch's own age
        inductor, config = (
            importlib.import_module(f"torch._inductor{part}") for part in ("", ".config")
        )
        with (
            torch.no_grad(),
            config.patch(cpp_wrapper=arguments[0].device.type == "cpu", **options),
        ):
            return inductor.compile(graph, list(arguments))


def _layout(tensor: Tensor) -> Layout:
    return tensor.shape, tensor.stride(), tensor.dtype


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient as autograd would accumulate it: fused kernels go through it as through the parameter."""
    return (
        gradient
        if gradient.stride() == parameter.stride()
        else torch.empty_like(parameter).copy_(gradient)
    )


def in_short(error: Exception) -> str:
    """The first lines of an error of torch's, which are long."""
    first, *others = str(error).split("\n")
    return f"{first} {others[0]}" if first.endswith(":") and others else first


class StepGraph:
    """From the indices of a batch to loss, terms and gradients, as a function of weights and buffers and nothing else.

    The operations are those of the eager step in their order, drawing the same random numbers, so that both agree bit
    for bit; buffers, such as the step that schedules read, are changed in place. All batches have the shape of the
    first. With ``compiler`` the graph becomes kernels by inductor, within the rounding of float32, and plain Adam is
    part of it. On CUDA either is replayed as a CUDA graph.

    Args:
        bound: what ``objective(story.model, story.guide)`` returned.
        per_datum: what the loss is multiplied by.
        batch: from indices of data, on their device, to observations and what else the story is told of them.
        index: indices of one batch.
        optimizer: has taken an eager step, whose gradients are there still.
        batch_inside: whether the batch is made by the graph, too.
        precision: ``"bfloat16"`` runs the graph under autocast.
        compiler: as above.

    Attributes:
        names: of the columns of what is recorded: ``"loss"`` and the terms.
        updates: whether a call changes the parameters; otherwise it leaves gradients for the optimiser.

    Raises:
        NotCapturedError: the step reads a value on the host, branches on one, or has parameters that it does not read
            from the story or the objective.
    """

    def __init__(
        self,
        bound: ELBOModule,
        per_datum: float,
        batch: Batch,
        index: Tensor,
        optimizer: Optimizer,
        *,
        batch_inside: bool = True,
        precision: str = "float32",
        compiler: bool = False,
    ) -> None:
        self.bound, self.per_datum, self.precision = bound, per_datum, precision
        self._batch, self._inside, self._told = batch, batch_inside, tuple(batch(index)[1])
        self._places = _places(bound)
        tensors = {id(t): t for t in self._places.values()}.values()
        self._parameters = [t for t in tensors if t.requires_grad]
        self._others = [t for t in tensors if not t.requires_grad]
        self._learned = [p for p in self._parameters if p.grad is not None]
        self._optimizer, self.updates = optimizer, compiler and is_plain_adam(optimizer)
        self.names: list[str] = []
        self._standing, self._moments_of = self._standing_arguments(), optimizer.state
        arguments = [*self._standing, *self._inputs(index)]
        self._layouts = [_layout(argument) for argument in arguments]
        self._call: Any = self._traced(arguments)
        if compiler:
            self._call = compiled(self._call, arguments)
        self._replay = Replay(self._call, self._standing) if index.device.type in REPLAYED else None

    def __call__(self, index: Tensor) -> Tensor:
        """Loss and terms per datum, in the order of :attr:`names`."""
        if (
            self._moments_of is not self._optimizer.state
        ):  # it went back to an earlier state, which is in new tensors
            self._standing, self._moments_of = self._standing_arguments(), self._optimizer.state
            self._expect(self._layouts[: len(self._standing)], self._standing)
            self._replay = None if self._replay is None else Replay(self._call, self._standing)
        inputs = self._inputs(index)
        self._expect(self._layouts[len(self._standing) :], inputs)
        with torch.no_grad():
            outputs = (
                self._call(*self._standing, *inputs)
                if self._replay is None
                else self._replay(inputs)
            )
        record, *gradients = outputs
        if not self.updates:
            for parameter, gradient in zip(self._learned, gradients, strict=True):
                parameter.grad = gradient
        return record

    def _standing_arguments(self) -> list[Tensor]:
        """Those that every step reads or changes in place: parameters, buffers, and the moments of Adam."""
        state = self._optimizer.state
        moments = [
            state[p][k]
            for k in ("exp_avg", "exp_avg_sq", "step")
            for p in self._learned
            if self.updates
        ]
        return [*(p.detach() for p in self._parameters), *self._others, *moments]

    @staticmethod
    def _expect(layouts: Sequence[Layout], arguments: Sequence[Tensor]) -> None:
        """Refuse what the kernels, which do not look, were not made for."""
        for layout, argument in zip(layouts, arguments, strict=True):
            if _layout(argument) != layout:
                raise ValueError(
                    f"the step was captured with a tensor of {layout}, got {_layout(argument)}"
                )

    def _inputs(self, index: Tensor) -> list[Tensor]:
        """What the graph makes its batch from."""
        if self._inside:
            return [index]
        x, conditions = self._batch(index)
        return [x, *conditions.values()]

    def _traced(self, arguments: Sequence[Tensor]) -> GraphModule:
        copies = [a.detach().clone() for a in arguments]
        with fork_randomness(), pyro.validation_enabled(False):
            try:
                graph = make_fx(self._step)(*copies)
            except NotCapturedError:
                raise
            except Exception as error:
                raise NotCapturedError(in_short(error)) from error
        if next(graph.parameters(), None) is not None:
            raise NotCapturedError(UNKNOWN)
        return simplified(graph)

    def _step(self, *arguments: Tensor) -> list[Tensor]:
        count = len(self._parameters), len(self._others), 3 * len(self._learned) * self.updates
        ends = list(itertools.accumulate(count))
        parameters, others, moments = (
            arguments[end - n : end] for n, end in zip(count, ends, strict=True)
        )
        inputs = arguments[ends[-1] :]
        x, conditions = (
            self._batch(*inputs)
            if self._inside
            else (inputs[0], dict(zip(self._told, inputs[1:], strict=True)))
        )
        with (
            torch.enable_grad(),
            torch.autocast(x.device.type, torch.bfloat16, enabled=self.precision == "bfloat16"),
        ):
            leaves = [p.detach().requires_grad_() for p in parameters]
            stand_ins = dict(
                zip(map(id, (*self._parameters, *self._others)), (*leaves, *others), strict=True)
            )
            placed = {place: stand_ins[id(tensor)] for place, tensor in self._places.items()}
            loss = functional_call(self.bound, placed, (x,), dict(conditions), tie_weights=False)
        learned = [stand_ins[id(p)] for p in self._learned]
        gradients = torch.autograd.grad(loss * self.per_datum, learned, allow_unused=True)
        if any(gradient is None for gradient in gradients):
            raise NotCapturedError(UNKNOWN)
        gradients = tuple(map(_laid_out_as, gradients, learned))
        terms: Mapping[str, Tensor] = getattr(self.bound.elbo, "last_terms", {})
        self.names = ["loss", *terms]
        record = torch.stack([loss.detach(), *terms.values()]).float() * self.per_datum
        if not self.updates:
            return [record, *gradients]
        self._adam([p.detach() for p in learned], gradients, moments)
        return [record]

    def _adam(
        self, parameters: Sequence[Tensor], gradients: Sequence[Tensor], moments: Sequence[Tensor]
    ) -> None:
        """Adam's step, in place."""
        count, groups = (
            len(parameters),
            {id(p): group for group in self._optimizer.param_groups for p in group["params"]},
        )
        columns = (
            self._learned,
            parameters,
            gradients,
            *(moments[i : i + count] for i in range(0, 3 * count, count)),
        )
        for own, parameter, gradient, mean, square, step in zip(*columns, strict=True):
            lr, (b1, b2), eps = (groups[id(own)][name] for name in ("lr", "betas", "eps"))
            step.add_(1)
            mean.lerp_(gradient, 1 - b1)
            square.mul_(b2).addcmul_(gradient, gradient, value=1 - b2)
            scale = (square.sqrt() / (1 - b2**step).sqrt()).add_(eps)
            parameter.sub_(lr / (1 - b1**step) * mean / scale)


def _places(bound: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by path, each attribute of each module once, however many paths lead to it.

    ``functional_call`` leaves a tensor that two paths lead to replaced for good.
    """
    places: dict[str, Tensor] = {}
    for path, module in bound.named_modules():
        for named in (module.named_parameters, module.named_buffers):
            places |= dict(named(path, recurse=False, remove_duplicate=False))
    return places
