"""Gradients of every story under every objective, of one batch; run by ``torchrun`` each process has a part of it.

``python -m tests.inference.distributed.shared_batch FILE [apart]`` writes them; what is drawn for a datum does not
depend on the process that draws it. With ``apart``, terms are those of each part, whose gradients are averaged.
"""

import itertools
import sys
from pathlib import Path

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ppl_disentangle.inference.distributed.processes import (
    data_parallel,
    group_of_processes,
    num_processes,
    rank,
)
from ppl_disentangle.inference.elbo import decomposed
from tests.models.test_stories import PAIRS, conditions_of, observations, refused

BATCH = 29  # of 14 and 15, or of 9, 10 and 10 data, as no other dimension is


class SameDraws(TorchFunctionMode):
    """What is drawn for each datum is taken from a table of the whole batch."""

    def __init__(self, first, last):
        super().__init__()
        self.first, self.last, self.calls = first, last, itertools.count()

    def __torch_function__(self, func, types, args=(), kwargs=None):
        drawn = func(*args, **(kwargs or {}))
        if func in (
            torch.normal,
            torch.rand,
            torch.rand_like,
            torch.randn,
            torch.randn_like,
            Tensor.normal_,
        ):
            table = self.table(
                drawn.shape,
                torch.randn if "n" in func.__name__.removeprefix("rand") else torch.rand,
            )
            if func is torch.normal:
                return args[0] + args[1] * table
            return drawn.copy_(table) if func is Tensor.normal_ else table.to(drawn.dtype)
        if func is torch.multinomial:
            chance = args[0].double().cumsum(-1)
            return torch.searchsorted(
                chance, chance[:, -1:] * self.table(drawn.shape, torch.rand).double()
            )
        return drawn

    def table(self, shape, draw):
        generator = torch.Generator().manual_seed(next(self.calls))
        own = self.last - self.first
        axis = next((i for i, size in enumerate(shape) if size in (own, BATCH)), None)
        if axis is None:
            return draw(shape, generator=generator, dtype=torch.float64)
        whole = draw(
            (*shape[:axis], BATCH, *shape[axis + 1 :]), generator=generator, dtype=torch.float64
        )
        return whole if shape[axis] == BATCH else whole.narrow(axis, self.first, own)


def gradients(make, objective, *, apart):
    """Of the mean loss a datum by every parameter, and the loss; nothing if the objective refuses the story."""
    torch.manual_seed(0)
    story = make().double()
    objective = objective(story).double()
    if refused(story, objective):
        return {}
    story.num_data = 100
    first, last = (BATCH * (rank() + i) // num_processes() for i in range(2))
    x = observations(BATCH, story).double()[first:last]
    conditions = {
        name: value.double()[first:last] for name, value in conditions_of(story, BATCH).items()
    }
    bound = objective(story.model, story.guide)
    loss_of = data_parallel(bound)
    with SameDraws(first, last):
        loss = (
            loss_of(x, **conditions)
            / story.num_data
            * (num_processes() * len(x) / BATCH if apart else 1)
        )
    loss.backward()
    found = {name: p.grad for name, p in bound.named_parameters() if p.grad is not None}
    return found | {"loss": loss.detach()}


if __name__ == "__main__":
    apart = "apart" in sys.argv
    if apart:
        decomposed.joined_traces = lambda model_trace, guide_trace, *_, **__: (
            model_trace,
            guide_trace,
        )
    with group_of_processes():
        found = {
            pair.id: gradients(*pair.values, apart=apart)
            for pair in PAIRS
            if not apart or "hfvae" in pair.id
        }
        if rank() == 0:
            torch.save(found, Path(sys.argv[1]))
