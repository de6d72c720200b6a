"""A step on a GPU as a CUDA graph: its kernels are launched once, all together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Replay"]


class Replay:
    """A function that launches the same kernels on the same memory at each call, recorded and replayed.

    The first call runs as it is, on a stream of its own, so that libraries set themselves up; the second is recorded
    and replayed, as all later ones are, with random numbers that go on from torch's generator. What it returns is
    overwritten by the next call. A function that cannot be recorded runs as it is, with a warning.

    Args:
        call: the function, of tensors on one CUDA device, which changes those that it changes in place.
        standing: its first arguments, which stay where they are in memory.
    """

    def __init__(self, call: Callable[..., Sequence[Tensor]], standing: Sequence[Tensor]) -> None:
        self._call, self._standing = call, standing
        self._inputs: list[Tensor] = []
        self._outputs: Sequence[Tensor] = ()
        self._graph: torch.cuda.CUDAGraph | None = None
        self._can_be_recorded = True

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The function of the standing arguments and ``inputs``, which are copied."""
        if not self._can_be_recorded:
            return self._call(*self._standing, *inputs)
        if not self._inputs:
            self._inputs = [value.clone() for value in inputs]
            return self._aside()
        for kept, value in zip(self._inputs, inputs, strict=True):
            kept.copy_(value)
        if self._graph is None and not self._recorded():
            return self._call(*self._standing, *inputs)
        assert self._graph is not None
        self._graph.replay()
        return self._outputs

    def _aside(self) -> Sequence[Tensor]:
        device = self._inputs[0].device
        stream, current = torch.cuda.Stream(device), torch.cuda.current_stream(device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            outputs = self._call(*self._standing, *self._inputs)
        current.wait_stream(stream)
        for value in outputs:
            value.record_stream(current)
        return outputs

    def _recorded(self) -> bool:
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._outputs = self._call(*self._standing, *self._inputs)
        except RuntimeError as error:
            self._can_be_recorded = False
            warnings.warn(f"the training step is not replayed as a CUDA graph: {error}", stacklevel=2)
            return False
        self._graph = graph
        return True
