"""A training step as one graph of tensor operations: traced once through Pyro, run without it."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import pyro
import torch
from pyro.infer.elbo import ELBOModule
from torch import Tensor, nn
from torch.func import functional_call
from torch.fx import GraphModule
from torch.optim import Optimizer

from ppl_disentangle._torch_private import compile_graph, trace_operations
from ppl_disentangle.inference.training.graph_passes import simplified
from ppl_disentangle.inference.training.objective_attributes import last_terms
from ppl_disentangle.inference.training.replay import Replay
from ppl_disentangle.inference.training.update import MOMENTS, adam_in_place, is_plain_adam
from ppl_disentangle.story import fork_randomness

__all__ = ["NotCapturedError", "StepGraph", "short_message"]

Batch = Callable[[Tensor], tuple[Tensor, Mapping[str, Tensor]]]
Layout = tuple[torch.Size, tuple[int, ...], torch.dtype]

REPLAYING_DEVICES = ("cuda",)
"""Types of devices on which graphs are replayed."""
UNKNOWN_PARAMETERS = "it has parameters that it does not read from the story or the objective"


class NotCapturedError(Exception):
    """The step is not the same operations on the same shapes every time; the message says why."""


@dataclasses.dataclass(frozen=True)
class StepArguments:
    """The tensors that a step reads or changes, by role; a graph takes them as one flat list.

    Attributes:
        parameters: Parameters that have gradients, of the story and the objective.
        buffers: Their other tensors: buffers, which the step may change, and frozen parameters.
        means: Adam's running means of the gradients, one for each learned parameter; empty where
            the optimiser itself takes the step.
        squares: Adam's running means of the squared gradients, likewise.
        counts: Adam's numbers of steps, likewise.
        inputs: The indices of the batch, or its observations and then its conditions.
    """

    parameters: Sequence[Tensor]
    buffers: Sequence[Tensor]
    means: Sequence[Tensor]
    squares: Sequence[Tensor]
    counts: Sequence[Tensor]
    inputs: Sequence[Tensor] = ()

    def _roles(self) -> list[Sequence[Tensor]]:
        return [getattr(self, field.name) for field in dataclasses.fields(self)]

    def flat(self) -> list[Tensor]:
        """All tensors, role after role."""
        return list(itertools.chain.from_iterable(self._roles()))

    def with_tensors(self, flat: Sequence[Tensor]) -> StepArguments:
        """Other tensors in the same roles, from a list as :meth:`flat` gives."""
        tensors = iter(flat)
        return StepArguments(
            *(list(itertools.islice(tensors, len(role))) for role in self._roles())
        )


class ModuleTensors:
    """The tensors of a module, each once, and the paths of attributes that lead to them.

    Attributes:
        parameters: Parameters that require gradients.
        learned: The parameters that have a gradient at present.
        buffers: Buffers and frozen parameters.
    """

    def __init__(self, module: nn.Module) -> None:
        self._by_path = _tensors_by_path(module)
        distinct = {id(tensor): tensor for tensor in self._by_path.values()}.values()
        self.parameters = [tensor for tensor in distinct if tensor.requires_grad]
        self.buffers = [tensor for tensor in distinct if not tensor.requires_grad]
        self.learned = [p for p in self.parameters if p.grad is not None]

    def replaced(
        self, parameters: Sequence[Tensor], buffers: Sequence[Tensor]
    ) -> dict[str, Tensor]:
        """Other tensors in the place of the module's, by path."""
        originals = map(id, (*self.parameters, *self.buffers))
        replacements = dict(zip(originals, (*parameters, *buffers), strict=True))
        return {path: replacements[id(tensor)] for path, tensor in self._by_path.items()}

    def learned_among(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """The replacements of :attr:`learned` among the replacements of :attr:`parameters`."""
        replacements = dict(zip(map(id, self.parameters), parameters, strict=True))
        return [replacements[id(parameter)] for parameter in self.learned]


class StepGraph:
    """Loss, terms and gradients of a batch as a function of its indices, the weights and buffers.

    The graph has the operations of the eager step in their order, and draws the same random
    numbers, so that both agree bit for bit. It changes buffers in place, such as the step that
    schedules read. All batches have the shape of the first. With ``compiler`` inductor makes
    kernels of the graph, which agree with the eager step up to the rounding of float32, and the
    update of plain Adam becomes part of it. On CUDA the step is replayed as a CUDA graph.

    Args:
        bound: The loss as a module: the result of ``objective(story.model, story.guide)``.
        per_datum: Factor that turns the loss into nats per datum.
        batch: Function from indices of data, on their device, to observations and conditions.
        index: Indices of one batch.
        optimizer: An optimiser that has taken an eager step; the gradients of that step are still
            there.
        batch_inside: Whether the graph makes the batch from the indices, too. If not, the batch is
            made before the graph runs.
        precision: ``"float32"``, or ``"bfloat16"`` to run the graph under autocast.
        compiler: Whether inductor compiles the graph.
        gradient_scale: Factor of the gradients; by default ``per_datum``.
        updates: Whether the update of plain Adam may become part of the graph.

    Attributes:
        names: Names of the recorded values: ``"loss"``, then the terms.
        updates: Whether a call changes the parameters. If not, it leaves gradients for the
            optimiser.

    Raises:
        NotCapturedError: The step reads a value on the host, branches on one, or has parameters
            that it does not read from the story or the objective; or torch lacks a tool.
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
        gradient_scale: float | None = None,
        updates: bool = False,
    ) -> None:
        self.bound = bound
        self.per_datum = per_datum
        self._gradient_scale = per_datum if gradient_scale is None else gradient_scale
        self.precision = precision
        self.updates = updates and is_plain_adam(optimizer)
        self.names: list[str] = []
        self._batch = batch
        self._batch_inside = batch_inside
        _, conditions = batch(index)
        self._condition_names = tuple(conditions)
        self._optimizer = optimizer
        self._tensors = ModuleTensors(bound)
        self._read_standing()
        self._roles = self._arguments(self._inputs(index))
        self._standing_layouts = list(map(_layout, self._standing))
        self._input_layouts = list(map(_layout, self._roles.inputs))
        self._call = self._captured(compiler)
        self._replay = self._new_replay() if index.device.type in REPLAYING_DEVICES else None

    def __call__(self, index: Tensor) -> Tensor:
        """Loss and terms per datum, in the order of :attr:`names`."""
        if self._optimizer_state is not self._optimizer.state:
            self._follow_optimizer()
        inputs = self._inputs(index)
        _check_layouts(self._input_layouts, inputs)
        with torch.no_grad():
            record, *gradients = self._outputs(inputs)
        if not self.updates:
            for parameter, gradient in zip(self._tensors.learned, gradients, strict=True):
                parameter.grad = gradient
        return record

    def _outputs(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        if self._replay is not None:
            return self._replay(inputs)
        return self._call(*self._standing, *inputs)

    def _arguments(self, inputs: Sequence[Tensor] = ()) -> StepArguments:
        """The present arguments; all but ``inputs`` stay in their memory from step to step."""
        parameters = [parameter.detach() for parameter in self._tensors.parameters]
        means, squares, counts = self._adam_moments()
        return StepArguments(parameters, self._tensors.buffers, means, squares, counts, inputs)

    def _adam_moments(self) -> list[list[Tensor]]:
        """Adam's means, squares and counts of steps, where the graph changes them."""
        learned = self._tensors.learned if self.updates else []
        states = [self._optimizer.state[parameter] for parameter in learned]
        try:
            return [list(map(itemgetter(moment), states)) for moment in MOMENTS]
        except KeyError as error:
            raise NotCapturedError(f"Adam has no {error} of a parameter") from error

    def _read_standing(self) -> None:
        self._standing = self._arguments().flat()
        self._optimizer_state = self._optimizer.state

    def _follow_optimizer(self) -> None:
        """Read the tensors of the optimiser again, which has gone back to an earlier state.

        The earlier state is in new tensors, hence in other memory than a CUDA graph has recorded.
        """
        self._read_standing()
        _check_layouts(self._standing_layouts, self._standing)
        if self._replay is not None:
            self._replay = self._new_replay()

    def _new_replay(self) -> Replay:
        return Replay(self._call, self._standing)

    def _inputs(self, index: Tensor) -> list[Tensor]:
        """The tensors from which the graph has its batch."""
        if self._batch_inside:
            return [index]
        x, conditions = self._batch(index)
        return [x, *conditions.values()]

    def _batch_from(self, inputs: Sequence[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Observations and conditions, from the tensors that :meth:`_inputs` gave."""
        if self._batch_inside:
            return self._batch(*inputs)
        x, *conditions = inputs
        return x, dict(zip(self._condition_names, conditions, strict=True))

    def _captured(self, compiler: bool) -> Callable[..., Sequence[Tensor]]:
        """The step as a graph, or as the kernels that a compiler makes of the graph."""
        graph = self._traced(self._roles.flat())
        if not compiler:
            return graph
        # The tracer's stand-ins for tensors belong to several modes. The compiler would take
        # them for its inputs, and refuse to mix them.
        for node in graph.graph.find_nodes(op="placeholder"):
            node.meta.pop("val", None)
        try:
            return compile_graph(graph, self._roles.flat())
        except Exception as error:  # the compiler's errors are of many types
            raise NotCapturedError(short_message(error)) from error

    def _traced(self, arguments: Sequence[Tensor]) -> GraphModule:
        # Tracing runs the step, hence on copies: buffers and moments are changed in place.
        copies = [argument.detach().clone() for argument in arguments]
        with fork_randomness(), pyro.validation_enabled(False):
            try:
                graph = trace_operations(self._step, copies)
            except NotCapturedError:
                raise
            except Exception as error:  # torch's, Pyro's and the story's, of many types
                raise NotCapturedError(short_message(error)) from error
        # A parameter that is no argument became a constant of the graph, which would not learn.
        if next(graph.parameters(), None) is not None:
            raise NotCapturedError(UNKNOWN_PARAMETERS)
        return simplified(graph)

    def _step(self, *flat: Tensor) -> list[Tensor]:
        """The step as a function of its arguments; this function is traced.

        Returns the record (loss and terms per datum) and, unless the graph updates the parameters
        itself, the gradients of the learned ones.
        """
        arguments = self._roles.with_tensors(flat)
        x, conditions = self._batch_from(arguments.inputs)
        # New leaves of the autograd graph, by which the module computes its loss.
        leaves = [parameter.detach().requires_grad_() for parameter in arguments.parameters]
        tensors = self._tensors.replaced(leaves, arguments.buffers)
        in_bfloat16 = self.precision == "bfloat16"
        with torch.enable_grad(), torch.autocast(x.device.type, torch.bfloat16, in_bfloat16):
            loss = functional_call(self.bound, tensors, (x,), dict(conditions), tie_weights=False)
        learned = self._tensors.learned_among(leaves)
        gradients = self._gradients(loss, learned)
        record = self._record(loss)
        if not self.updates:
            return [record, *gradients]
        self._update(learned, gradients, arguments)
        return [record]

    def _gradients(self, loss: Tensor, learned: Sequence[Tensor]) -> list[Tensor]:
        """Gradients of the loss, by default per datum."""
        gradients = torch.autograd.grad(loss * self._gradient_scale, learned, allow_unused=True)
        if any(gradient is None for gradient in gradients):
            raise NotCapturedError(UNKNOWN_PARAMETERS)
        return list(map(_laid_out_as, gradients, learned))

    def _record(self, loss: Tensor) -> Tensor:
        """The loss and the objective's terms per datum, of shape ``(1 + terms,)``."""
        terms = last_terms(self.bound.elbo)
        self.names = ["loss", *terms]
        record = torch.stack([loss.detach(), *terms.values()])
        is_double = record.dtype == torch.float64
        return (record if is_double else record.float()) * self.per_datum

    def _update(
        self, learned: Sequence[Tensor], gradients: Sequence[Tensor], arguments: StepArguments
    ) -> None:
        """Adam's step, in place, under the options of each parameter's group."""
        options: dict[int, dict[str, Any]] = {}
        for group in self._optimizer.param_groups:
            options |= dict.fromkeys(map(id, group["params"]), group)
        moments = zip(arguments.means, arguments.squares, arguments.counts, strict=True)
        for original, parameter, gradient, adam in zip(
            self._tensors.learned, learned, gradients, moments, strict=True
        ):
            adam_in_place(parameter.detach(), gradient, *adam, options[id(original)])


def short_message(error: Exception) -> str:
    """The first line of an error's message, and the second where the first announces it."""
    first, *others = str(error).split("\n")
    return f"{first} {others[0]}" if first.endswith(":") and others else first


def _layout(tensor: Tensor) -> Layout:
    return tensor.shape, tensor.stride(), tensor.dtype


def _check_layouts(layouts: Sequence[Layout], arguments: Sequence[Tensor]) -> None:
    """Refuse arguments for which the kernels, which check nothing themselves, were not made."""
    for layout, argument in zip(layouts, arguments, strict=True):
        if _layout(argument) != layout:
            raise ValueError(
                f"the step was captured with a tensor of {layout}, got {_layout(argument)}"
            )


def _laid_out_as(gradient: Tensor, parameter: Tensor) -> Tensor:
    """The gradient with the strides of its parameter, as autograd would accumulate it.

    Fused kernels go through both by one index.
    """
    if gradient.stride() == parameter.stride():
        return gradient
    return torch.empty_like(parameter).copy_(gradient)


def _tensors_by_path(module: nn.Module) -> dict[str, Tensor]:
    """All parameters and buffers by path: each attribute of each module once.

    Where several paths lead to one module, its attributes have one of them only:
    ``functional_call`` does not put a tensor back that it has replaced by two paths.
    """
    tensors: dict[str, Tensor] = {}
    for path, owner in module.named_modules():
        tensors |= dict(owner.named_parameters(path, recurse=False, remove_duplicate=False))
        tensors |= dict(owner.named_buffers(path, recurse=False, remove_duplicate=False))
    return tensors
