"""A step on a GPU as a CUDA graph: its kernels are launched once, all together."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = ["Replay"]


class Replay:
    """A function that is recorded as a CUDA graph: the same kernels on the same memory each time.

    The first call runs the function as it is, so that libraries set themselves up. The second call
    records it. From then on calls replay the record, with random numbers that continue torch's
    generator. A call overwrites the results of the one before it. A function that cannot be
    recorded keeps running as it is, with a warning.

    Args:
        call: A function of tensors on one CUDA device, which may change them in place.
        standing: Its first arguments, which stay where they are in memory.
    """

    def __init__(self, call: Callable[..., Sequence[Tensor]], standing: Sequence[Tensor]) -> None:
        self._call = call
        self._standing = standing
        self._num_calls = 0
        self._inputs: Sequence[Tensor] = ()
        self._outputs: Sequence[Tensor] = ()
        self._graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """The function of the standing arguments and ``inputs``."""
        self._num_calls += 1
        if self._num_calls == 2:
            self._record(inputs)
        if self._graph is None:
            return self._call(*self._standing, *inputs)
        # A replay reads its inputs where the record read them.
        for recorded, value in zip(self._inputs, inputs, strict=True):
            recorded.copy_(value)
        self._graph.replay()
        return self._outputs

    def _record(self, inputs: Sequence[Tensor]) -> None:
        """Record a call, which runs no kernels yet; on failure, warn and keep no record."""
        graph = torch.cuda.CUDAGraph()
        self._inputs = [value.clone() for value in inputs]
        try:
            with torch.cuda.graph(graph):
                self._outputs = self._call(*self._standing, *self._inputs)
        except RuntimeError as error:
            warnings.warn(
                f"the training step is not replayed as a CUDA graph: {error}", stacklevel=3
            )
        else:
            self._graph = graph
