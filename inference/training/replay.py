"""A step on a GPU as a CUDA graph: its kernels are launched once, all together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Replay"]


class Replay:
    """A function that launches the same kernels on the same memory at each call, recorded and replayed.

    The first call runs as it is, so that libraries set themselves up; the second is recorded and replayed, as all later
    ones are, with random numbers that go on from torch's generator. What it returns is overwritten by the next call. A
    function that cannot be recorded runs as it is, with a warning.

    Args:
        call: the function, of tensors on one CUDA device, which changes those that it changes in place.
        standing: its first arguments, which stay where they are in memory.
    """

    def __init__(self, call: Callable[..., Sequence[Tensor]], standing: Sequence[Tensor]) -> None:
        self._call, self._standing, self._calls = call, standing, 0
        self._inputs: Sequence[Tensor] = ()
        self._outputs: Sequence[Tensor] = ()
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The function of the standing arguments and ``inputs``, which are copied."""
        self._calls += 1
        if self._calls == 2:
            self._record(inputs)
        if self._graph is None:
            return self._call(*self._standing, *inputs)
        for kept, value in zip(self._inputs, inputs, strict=True):
            kept.copy_(value)
        self._graph.replay()
        return self._outputs

    def _record(self, inputs: Sequence[Tensor]) -> None:
        graph, self._inputs = torch.cuda.CUDAGraph(), [value.clone() for value in inputs]
        try:
            with torch.cuda.graph(graph):
                self._outputs = self._call(*self._standing, *self._inputs)
        except RuntimeError as error:
            warnings.warn(
                f"the training step is not replayed as a CUDA graph: {error}", stacklevel=3
            )
        else:
            self._graph = graph
