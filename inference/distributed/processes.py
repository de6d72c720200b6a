"""One batch over several processes: each draws what belongs to its data, and terms are computed from what all drew."""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as torch_distributed
from pyro.infer import is_validation_enabled
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ppl_disentangle.story import fork_randomness

__all__ = [
    "gathered",
    "broadcast_first",
    "group_of_processes",
    "all_reduce_mean",
    "num_processes",
    "separate_streams",
    "rank",
    "data_parallel",
]


def num_processes() -> int:
    """How many processes train together: those of ``torch.distributed`` once it is initialised, else one."""
    return torch_distributed.get_world_size() if _is_running() else 1


def rank() -> int:
    """The number of this process among them."""
    return torch_distributed.get_rank() if _is_running() else 0


def _is_running() -> bool:
    return torch_distributed.is_available() and torch_distributed.is_initialized()


@contextmanager
def group_of_processes() -> Iterator[None]:
    """Inside, the processes that ``torchrun`` started are one group: by nccl, each on its GPU, else by gloo."""
    if _is_running() or int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    torch_distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
        torch_distributed.barrier()  # none leaves while another still talks to it
    finally:
        gc.collect()  # what refers to the group ends before it, not with the interpreter
        torch_distributed.destroy_process_group()


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in their order; on the host."""
    values = [value] * num_processes()
    if len(values) > 1:
        torch_distributed.all_gather_object(values, value)
    return values


def broadcast_first(value: Any) -> Any:
    """The value of the first process."""
    values = [value]
    if num_processes() > 1:
        torch_distributed.broadcast_object_list(values)
    return values[0]


class _Loss(nn.Module):
    """A loss, and the modules that it is computed by, of which it need not know."""

    def __init__(self, loss: nn.Module, *parts: nn.Module) -> None:
        super().__init__()
        self.loss, self.parts = loss, nn.ModuleList(parts)

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        return self.loss(*args, **kwargs)


def data_parallel(loss: nn.Module, *parts: nn.Module) -> nn.Module:
    """A loss of some modules, whose gradients are averaged over the processes; itself if there is but one."""
    if num_processes() == 1:
        return loss
    with warnings.catch_warnings(
        action="ignore", category=FutureWarning
    ):  # of an argument's next name
        return DistributedDataParallel(
            _Loss(loss, *parts), broadcast_buffers=False, static_graph=True
        )


def all_reduce_mean(value: Tensor) -> Tensor:
    """The mean of a tensor over the processes, without waiting for it."""
    if num_processes() > 1:
        torch_distributed.all_reduce(value)
    return value / num_processes()


@contextmanager
def separate_streams() -> Iterator[None]:
    """Inside, each process draws numbers of its own; outside, all draw the same, as they began alike.

    Raises:
        ValueError: they did not, while Pyro's validation is on.
    """
    key = int(torch.randint(2**62, ()))
    if is_validation_enabled() and len(set(gathered(key))) > 1:
        raise ValueError("expected processes with the same random state: seed all of them alike")
    with fork_randomness():
        torch.manual_seed(key + 1 + rank())
        yield
