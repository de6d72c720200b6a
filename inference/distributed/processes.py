"""Processes that train together and share each batch: their ranks and their communication."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as torch_distributed
from pyro.infer import is_validation_enabled
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ppl_disentangle.story import fork_randomness

__all__ = [
    "all_reduce_mean",
    "broadcast_first",
    "data_parallel",
    "gathered",
    "group_of_processes",
    "num_processes",
    "rank",
    "separate_streams",
]

T = TypeVar("T")


def num_processes() -> int:
    """Number of processes that train together; one unless ``torch.distributed`` is initialised."""
    return torch_distributed.get_world_size() if _is_running() else 1


def rank() -> int:
    """Number of this process among those that train together, from 0."""
    return torch_distributed.get_rank() if _is_running() else 0


def _is_running() -> bool:
    return torch_distributed.is_available() and torch_distributed.is_initialized()


@contextmanager
def group_of_processes() -> Iterator[None]:
    """Make one group of the processes that ``torchrun`` started, for the time of the context.

    With CUDA each process has its own GPU, and they communicate by nccl; otherwise by gloo. Without
    ``torchrun``, or within a group, the context does nothing.
    """
    if _is_running() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch_distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
        torch_distributed.barrier()  # no process leaves while another still communicates with it
    finally:
        gc.collect()  # objects that refer to the group must be freed before the group
        torch_distributed.destroy_process_group()


def gathered(value: T) -> list[T]:
    """The values of all processes, in the order of their ranks; they travel by way of the host."""
    values = [value] * num_processes()
    if len(values) > 1:
        torch_distributed.all_gather_object(values, value)
    return values


def broadcast_first(value: Any) -> Any:
    """The value of the first process; values of other processes are ignored."""
    values = [value]
    if num_processes() > 1:
        torch_distributed.broadcast_object_list(values)
    return values[0]


class _LossOfModules(nn.Module):
    """A loss, with the modules whose parameters it uses as submodules."""

    def __init__(self, loss: nn.Module, *modules: nn.Module) -> None:
        super().__init__()
        self.loss = loss
        self.modules_of_loss = nn.ModuleList(modules)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.loss(*args, **kwargs)


def data_parallel(loss: nn.Module, *modules: nn.Module) -> nn.Module:
    """A loss whose gradients are averaged over the processes.

    Args:
        loss: The loss as a module. A single process gets this very module back.
        modules: Modules whose parameters the loss uses without having them as submodules.
    """
    if num_processes() == 1:
        return loss
    # torch announces a new name of an argument that it passes on itself.
    with warnings.catch_warnings(action="ignore", category=FutureWarning):
        return DistributedDataParallel(
            _LossOfModules(loss, *modules), broadcast_buffers=False, static_graph=True
        )


def all_reduce_mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, which the host does not wait for."""
    if num_processes() > 1:
        torch_distributed.all_reduce(value)
    return value / num_processes()


@contextmanager
def separate_streams() -> Iterator[None]:
    """Let each process draw other random numbers, for the time of the context.

    Outside of the context all processes draw the same numbers, since they were seeded alike.

    Raises:
        ValueError: The processes have different random states, while Pyro's validation is on.
    """
    seed = int(torch.randint(2**62, ()))
    if is_validation_enabled() and len(set(gathered(seed))) > 1:
        raise ValueError("expected processes with the same random state: seed all of them alike")
    with fork_randomness():
        torch.manual_seed(seed + 1 + rank())
        yield
