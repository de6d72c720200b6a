"""Traces of all processes joined into one, so that an objective sees the whole batch."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
import torch.distributed as torch_distributed
from pyro.distributions import TorchDistribution
from pyro.infer import is_validation_enabled
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.distributions import Distribution, Transform
from torch.distributions.transforms import _InverseTransform

from ppl_disentangle.inference.distributed.processes import gathered, rank
from ppl_disentangle.sites import (
    Site,
    data_of,
    data_plate,
    deterministic_sites,
    observed_sites,
    returned_value,
    sampled_sites,
    with_sites,
)


def joined_traces(
    model_trace: Trace | None,
    guide_trace: Trace,
    sizes: Sequence[int] | None = None,
    *,
    data: bool = False,
) -> tuple[Any, Trace]:
    """Traces of this process's part of a batch, as those of the whole batch, which are the same in every process.

    What was drawn, and the parameters of what it was drawn from, are gathered from all processes in one operation;
    of observed sites the log densities alone. The gradient of a loss that every process computes from these traces,
    averaged over the processes, as DDP does, is that of the whole batch in one process.

    Args:
        model_trace: of a model, if it is to be joined, too.
        guide_trace: of a guide.
        sizes: number of data of each process; asked of the others if not given.
        data: whether terms read the data that the model was given, too.

    Raises:
        ValueError: no plate over the data, a latent outside of it, which processes would draw apart, a process with
            less than two data, or, while Pyro's validation is on, a distribution that cannot be gathered.
    """
    traces = [guide_trace] if model_trace is None else [model_trace, guide_trace]
    plate = data_plate(
        s for t in traces for s in (*sampled_sites(t).values(), *observed_sites(t).values())
    )
    if plate is None:
        raise ValueError(
            "several processes need a plate over the data, in model and guide, to share a batch by"
        )
    sizes = gathered(plate.size) if sizes is None else list(sizes)
    if min(sizes) < 2:
        raise ValueError(
            f"expected at least two data of a batch for each process, got {list(sizes)}"
        )
    scores = [
        {name: site.log_prob() for name, site in observed_sites(trace).items()} for trace in traces
    ]
    walk = _TraceGatherer(plate.name, plate.size, sizes)
    for _ in range(2):
        joined = [
            walk.trace(t, s, data=data and t is model_trace)
            for t, s in zip(traces, scores, strict=True)
        ]
        walk.gather()
    if is_validation_enabled():
        for trace, whole in zip(traces, joined, strict=True):
            _check(trace, whole, sizes)
    return joined[0], joined[-1]


def _check(trace: Trace, joined: Trace, sizes: Sequence[int]) -> None:
    """Refuse latents whose density is another one now."""
    first = sum(sizes[: rank()])
    for name, whole in sampled_sites(joined).items():
        site = sampled_sites(trace)[name]
        own, found = site.log_prob(), whole.log_prob()
        axis = next(axis for axis in range(own.dim()) if own.shape[axis] != found.shape[axis])
        if not torch.allclose(
            own, found.narrow(axis, first, own.shape[axis]), rtol=1e-4, atol=1e-4, equal_nan=True
        ):
            raise ValueError(
                f"latent {name!r}: {type(site.fn).__name__} cannot be gathered from several processes"
            )


class _TraceGatherer:
    """Goes through traces twice: first it notes all tensors with a row a datum, then it puts the joined ones there."""

    def __init__(self, plate: str, size: int, sizes: Sequence[int]) -> None:
        self.plate, self.size, self.sizes = plate, size, sizes
        self.noted: dict[int, tuple[Tensor, int]] = {}
        self.joined: dict[int, Tensor] = {}

    def gather(self) -> None:
        """Gather all tensors that were noted, side by side."""
        if self.joined or not self.noted:
            return
        noted = [tensor.movedim(axis, 0) for tensor, axis in self.noted.values()]
        wide = any(tensor.dtype == torch.float64 for tensor in noted)
        flat = [
            tensor.reshape(self.size, -1).to(torch.float64 if wide else torch.float32)
            for tensor in noted
        ]
        parts = _Gathered.apply(torch.cat(flat, -1), self.sizes).split(
            [part.shape[1] for part in flat], -1
        )
        for (key, (_, axis)), tensor, part in zip(self.noted.items(), noted, parts, strict=True):
            rows = part.reshape(sum(self.sizes), *tensor.shape[1:]).to(tensor.dtype)
            self.joined[key] = rows.movedim(0, axis)

    def trace(self, trace: Trace, scores: Mapping[str, Tensor], *, data: bool) -> Trace:
        """The trace, with joined sites."""
        sites = {}
        for name, site in sampled_sites(trace).items():
            if self.plate not in (plate.name for plate in site.plates):
                raise ValueError(
                    f"latent {name!r} is outside of the plate {self.plate!r}: every process would draw one of its own"
                )
            sites[name] = self._site(
                site, self._distribution(site.fn, len(site.fn.batch_shape) + self._dim(site))
            )
        for name, site in deterministic_sites(trace).items():
            if self._has_rows(site):
                sites[name] = self._site(
                    site, self._distribution(site.fn, len(site.fn.batch_shape) + self._dim(site))
                )
        for name, site in observed_sites(trace).items():
            if self.plate in (plate.name for plate in site.plates):
                score = self._rows(scores[name], scores[name].dim() + self._dim(site))
                sites[name] = self._site(site, ScoreOnly(score), value=site.value)
        x = self._rows(data_of(trace), 0) if data else None
        return with_sites(trace, sites, data=x, returned=self.joined.get(id(returned_value(trace))))

    def _has_rows(self, site: Site) -> bool:
        if self.plate not in (plate.name for plate in site.plates):
            return False
        axis = site.value.dim() - site.fn.event_dim + self._dim(site)
        return axis >= 0 and site.value.shape[axis] == self.size

    def _dim(self, site: Site) -> int:
        return next(plate.dim for plate in site.plates if plate.name == self.plate)

    def _site(self, site: Site, fn: Any, value: Tensor | None = None) -> Site:
        dim, total = self._dim(site), sum(self.sizes)
        plates = [
            dataclasses.replace(p, size=total) if p.name == self.plate else p for p in site.plates
        ]
        mask = site.mask
        if isinstance(mask, Tensor) and mask.dim() >= -dim:
            mask = self._rows(mask, mask.dim() + dim)
        if value is None:
            value = self._rows(site.value, site.value.dim() - site.fn.event_dim + dim)
        return Site(site.name, fn, value, site.scale * (self.size / total), mask, tuple(plates))

    def _rows(self, tensor: Tensor, axis: int) -> Tensor:
        """The tensor with the rows of all processes along ``axis``, once they are known; as it is if it has none."""
        if (
            tensor.dim() <= axis
            or tensor.shape[axis] != self.size
            or isinstance(tensor, nn.Parameter)
        ):
            return tensor
        if tensor.stride(axis) == 0:  # the same for each datum, as a prior is
            return tensor.narrow(axis, 0, 1).expand(
                *tensor.shape[:axis], sum(self.sizes), *tensor.shape[axis + 1 :]
            )
        self.noted.setdefault(id(tensor), (tensor, axis))
        return self.joined.get(id(tensor), tensor)

    def _distribution(self, fn: Any, axis: int) -> Any:
        joined = copy.copy(fn)
        for name, value in vars(fn).items():
            if not (
                isinstance(value, Tensor) and value.dim() < len(fn.batch_shape)
            ):  # else one for all, as a temperature
                vars(joined)[name] = self._part(value, axis)
        shape = list(fn.batch_shape)
        shape[axis] = sum(self.sizes)
        joined._batch_shape = torch.Size(shape)
        return joined

    def _part(self, value: Any, axis: int) -> Any:
        if isinstance(value, Tensor):
            return self._rows(value, axis)
        if isinstance(value, Distribution):
            return self._distribution(value, axis)
        if isinstance(value, Transform) and not isinstance(value, nn.Module):
            if isinstance(value, _InverseTransform):
                return self._part(value.inv, axis).inv
            joined = copy.copy(value)
            parts = {
                name: self._part(part, axis) for name, part in vars(value).items() if name != "_inv"
            }
            vars(joined).update(parts, _inv=None, _cached_x_y=(None, None))
            return joined
        if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
            return type(value)(self._part(part, axis) for part in value)
        return value


class ScoreOnly(TorchDistribution):
    """What an observed site is after its data were scored in other processes: their log densities."""

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, scores: Tensor) -> None:
        self.scores = scores
        super().__init__(scores.shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log densities, whatever the value."""
        return self.scores


class _Gathered(torch.autograd.Function):
    """The rows of all processes, in their order.

    The gradient of a row goes to where it came from: there it is the same loss, which all processes compute, times
    their number, for the mean over processes that follows.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes = sizes
        padding = max(sizes) - len(rows)
        padded = (
            torch.cat([rows, rows.new_zeros(padding, rows.shape[1])])
            if padding
            else rows.contiguous()
        )
        parts = [torch.empty_like(padded) for _ in sizes]
        torch_distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        first = sum(ctx.sizes[: rank()])
        return gradients[0][first : first + ctx.sizes[rank()]] * len(ctx.sizes), None
