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

from ppl_disentangle._torch_private import forget_cached_values, is_inverse, set_batch_shape
from ppl_disentangle.inference.distributed.processes import gathered, rank
from ppl_disentangle.sites import (
    Plate,
    Site,
    auxiliary_sites,
    data_of,
    data_plate,
    deterministic_sites,
    observed_sites,
    returned_value,
    sampled_sites,
    with_sites,
)

__all__ = ["ScoreOnly", "joined_traces"]

NO_EVENT = torch.Size()

TOLERANCE = 1e-4
"""Relative and absolute error by which a log density may change when its latent is gathered."""


def joined_traces(
    model_trace: Trace,
    guide_trace: Trace,
    sizes: Sequence[int] | None = None,
    *,
    data: bool = False,
) -> tuple[Trace, Trace]:
    """Turn traces of this process's part of a batch into traces of the whole batch.

    The result is the same in every process. One operation gathers the draws from all processes,
    together with the parameters of the distributions that they were drawn from. Of observed sites
    it gathers the log densities alone. Every process can compute a loss from the joined traces;
    the gradients of that loss, averaged over the processes as DDP does, equal the gradients of the
    whole batch in one process.

    Args:
        model_trace: Trace of a model.
        guide_trace: Trace of a guide.
        sizes: Number of data of each process; by default every process asks the others.
        data: Whether to gather the data that the model was given, too, for terms that read them.

    Returns:
        The joined trace of the model, and the joined trace of the guide.

    Raises:
        ValueError: The traces have no plate over the data; a latent is outside of it, so that
            processes would draw it apart; a process has less than two data; or, while Pyro's
            validation is on, a distribution cannot be gathered.
    """
    traces = [model_trace, guide_trace]
    plate = _plate_of(traces)
    sizes = gathered(plate.size) if sizes is None else list(sizes)
    _check_sizes(sizes)
    gatherer = _TraceGatherer(plate.name, plate.size, sizes)
    scores = list(map(_observed_scores, traces))
    # The first round notes which tensors have a row for each datum. They are gathered all at once,
    # and the second round puts the gathered tensors in their places.
    for _ in range(2):
        joined = [
            gatherer.trace(trace, trace_scores, data=data and trace is model_trace)
            for trace, trace_scores in zip(traces, scores, strict=True)
        ]
        gatherer.gather()
    if is_validation_enabled():
        for trace, whole in zip(traces, joined, strict=True):
            _check(trace, whole, sizes)
    return joined[0], joined[1]


def _check_sizes(sizes: Sequence[int]) -> None:
    if min(sizes) < 2:
        raise ValueError(
            f"expected at least two data of a batch for each process, got {list(sizes)}"
        )


def _plate_of(traces: Sequence[Trace]) -> Plate:
    """The plate over the data."""
    sites: list[Site] = []
    for trace in traces:
        sites += sampled_sites(trace).values()
        sites += observed_sites(trace).values()
    plate = data_plate(sites)
    if plate is None:
        raise ValueError(
            "several processes need a plate over the data, in model and guide, to share a batch by"
        )
    return plate


def _observed_scores(trace: Trace) -> dict[str, Tensor]:
    """Log densities of the observed sites by name."""
    return {name: site.log_prob() for name, site in observed_sites(trace).items()}


def _check(trace: Trace, joined: Trace, sizes: Sequence[int]) -> None:
    """Refuse latents whose log density, at the data of this process, has changed."""
    first = sum(sizes[: rank()])
    sites = sampled_sites(trace) | auxiliary_sites(trace)
    for name, whole in (sampled_sites(joined) | auxiliary_sites(joined)).items():
        site = sites[name]
        expected = site.log_prob()
        score = whole.log_prob()
        # The axis of the data is the one along which the joined trace is longer.
        axis = next(
            axis for axis in range(expected.dim()) if expected.shape[axis] != score.shape[axis]
        )
        own = score.narrow(axis, first, expected.shape[axis])
        if not torch.allclose(expected, own, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
            kind = type(site.fn).__name__
            raise ValueError(f"latent {name!r}: {kind} cannot be gathered from several processes")


class _TraceGatherer:
    """Puts the rows of all processes in the place of the rows of this one, throughout a trace.

    It goes through the traces twice: it notes the tensors with a row for each datum, then, after
    :meth:`gather`, it replaces them.

    Args:
        plate: Name of the plate over the data.
        size: Number of data of this process.
        sizes: Number of data of each process.
    """

    def __init__(self, plate: str, size: int, sizes: Sequence[int]) -> None:
        self.plate = plate
        self.size = size
        self.sizes = sizes
        self.total = sum(sizes)
        self.noted: dict[int, tuple[Tensor, int]] = {}  # tensor and axis of the data, by id
        self.joined: dict[int, Tensor] = {}

    def gather(self) -> None:
        """Gather all tensors that were noted, in one operation; the second call does nothing."""
        if self.joined or not self.noted:
            return
        by_rows = {key: tensor.movedim(axis, 0) for key, (tensor, axis) in self.noted.items()}
        all_columns = self._gathered_columns(list(by_rows.values()))
        for (key, tensor), columns in zip(by_rows.items(), all_columns, strict=True):
            rows = columns.reshape(self.total, *tensor.shape[1:]).to(tensor.dtype)
            _, axis = self.noted[key]
            self.joined[key] = rows.movedim(0, axis)

    def _gathered_columns(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        """The rows of all processes of each tensor ``(data, ...)``, as ``(all data, columns)``."""
        any_double = any(tensor.dtype == torch.float64 for tensor in tensors)
        dtype = torch.float64 if any_double else torch.float32
        # One matrix holds all tensors side by side: (data of this process, columns).
        matrices = [tensor.reshape(self.size, -1).to(dtype) for tensor in tensors]
        widths = [matrix.shape[1] for matrix in matrices]
        return _Gathered.apply(torch.cat(matrices, -1), self.sizes).split(widths, -1)

    def trace(self, trace: Trace, scores: Mapping[str, Tensor], *, data: bool) -> Trace:
        """The trace with the joined sites, as far as they are gathered.

        Args:
            trace: A trace of this process's data.
            scores: Log densities of its observed sites.
            data: Whether to gather the data, too.
        """
        sites = self._drawn_sites(trace)
        for name, site in observed_sites(trace).items():
            if self._is_over_data(site):
                sites[name] = self._observed_site(site, scores[name])
        x = self._rows(data_of(trace), 0) if data else None
        return with_sites(trace, sites, data=x, returned=self.joined.get(id(returned_value(trace))))

    def _drawn_sites(self, trace: Trace) -> dict[str, Site]:
        """The latents, and the deterministic statements with a row for each datum."""
        sites: dict[str, Site] = {}
        for name, site in (sampled_sites(trace) | auxiliary_sites(trace)).items():
            if not self._is_over_data(site):
                raise ValueError(
                    f"latent {name!r} is outside of the plate {self.plate!r}: every process would"
                    " draw one of its own"
                )
            sites[name] = self._drawn_site(site)
        for name, site in deterministic_sites(trace).items():
            if self._has_rows(site):
                sites[name] = self._drawn_site(site)
        return sites

    def _is_over_data(self, site: Site) -> bool:
        return any(plate.name == self.plate for plate in site.plates)

    def _has_rows(self, site: Site) -> bool:
        """Whether the value of a site has a row for each datum."""
        if not self._is_over_data(site):
            return False
        axis = self._value_axis(site)
        return axis >= 0 and site.value.shape[axis] == self.size

    def _dim(self, site: Site) -> int:
        """The dimension of the plate over the data, from the right, negative."""
        return next(plate.dim for plate in site.plates if plate.name == self.plate)

    def _value_axis(self, site: Site) -> int:
        """The axis of the data in the value of a site, to the left of the event's dimensions."""
        return site.value.dim() - site.fn.event_dim + self._dim(site)

    def _drawn_site(self, site: Site) -> Site:
        fn = self._distribution(site.fn, len(site.fn.batch_shape) + self._dim(site))
        return self._site(site, fn, self._rows(site.value, self._value_axis(site)))

    def _observed_site(self, site: Site, scores: Tensor) -> Site:
        """A site of which the log densities alone are gathered; its value stays."""
        rows = self._rows(scores, scores.dim() + self._dim(site))
        return self._site(site, ScoreOnly(rows), site.value)

    def _site(self, site: Site, fn: Any, value: Tensor) -> Site:
        dim = self._dim(site)
        plates = [
            dataclasses.replace(plate, size=self.total) if plate.name == self.plate else plate
            for plate in site.plates
        ]
        mask = site.mask
        if isinstance(mask, Tensor) and mask.dim() >= -dim:
            mask = self._rows(mask, mask.dim() + dim)
        # A datum of the whole batch stands for fewer data than one of a part.
        scale = site.scale * (self.size / self.total)
        return Site(site.name, fn, value, scale, mask, tuple(plates))

    def _rows(self, tensor: Tensor, axis: int) -> Tensor:
        """The tensor with the rows of all processes along ``axis``, once they are gathered.

        A tensor without a row for each datum stays as it is.
        """
        is_parameter = isinstance(tensor, nn.Parameter)
        if is_parameter or tensor.dim() <= axis or tensor.shape[axis] != self.size:
            return tensor
        if tensor.stride(axis) == 0:  # one row expanded to all data, as the prior's are
            shape = (*tensor.shape[:axis], self.total, *tensor.shape[axis + 1 :])
            return tensor.narrow(axis, 0, 1).expand(shape)
        self.noted.setdefault(id(tensor), (tensor, axis))
        return self.joined.get(id(tensor), tensor)

    def _distribution(self, fn: Any, axis: int) -> Any:
        """A copy of a distribution whose parameters have the rows of all processes."""
        joined = copy.copy(fn)
        for name, value in vars(fn).items():
            # A tensor with fewer dimensions is shared by the data, such as a temperature.
            is_shared = isinstance(value, Tensor) and value.dim() < len(fn.batch_shape)
            if not is_shared:
                vars(joined)[name] = self._component(value, axis)
        shape = list(fn.batch_shape)
        shape[axis] = self.total
        set_batch_shape(joined, torch.Size(shape))
        return joined

    def _component(self, value: Any, axis: int) -> Any:
        """An attribute of a distribution or transform, with the rows of all processes."""
        if isinstance(value, Tensor):
            return self._rows(value, axis)
        if isinstance(value, Distribution):
            return self._distribution(value, axis)
        if isinstance(value, Transform) and not isinstance(value, nn.Module):
            return self._transform(value, axis)
        if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
            return type(value)(self._component(item, axis) for item in value)
        return value

    def _transform(self, transform: Transform, axis: int) -> Transform:
        """A copy of a transform whose parameters have the rows of all processes."""
        if is_inverse(transform):
            return self._component(transform.inv, axis).inv
        joined = copy.copy(transform)
        forget_cached_values(joined)
        components = {name: self._component(value, axis) for name, value in vars(joined).items()}
        vars(joined).update(components)
        return joined


class ScoreOnly(TorchDistribution):
    """The distribution of an observed site whose data were scored in other processes.

    Args:
        scores: Log densities of the data, of the plates' shape.
        event_shape: Shape of one event.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}

    def __init__(self, scores: Tensor, event_shape: torch.Size = NO_EVENT) -> None:
        self.scores = scores
        super().__init__(scores.shape, event_shape, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """The log densities, whatever the value."""
        return self.scores


class _Gathered(torch.autograd.Function):
    """The rows of all processes, in the order of their ranks, with gradients.

    Every process computes the same loss from all rows. The gradient of a row is therefore the same
    everywhere, and goes back to the process that the row came from, multiplied by the number of
    processes, since a mean over the processes follows.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: Sequence[int]) -> Tensor:
        ctx.sizes = sizes
        # all_gather wants the same shape from every process: rows of zeros are added, then cut off.
        padding = max(sizes) - len(rows)
        padded = rows.contiguous()
        if padding:
            padded = torch.cat([rows, rows.new_zeros(padding, rows.shape[1])])
        parts = [torch.empty_like(padded) for _ in sizes]
        torch_distributed.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients  # (all data, columns)
        first = sum(ctx.sizes[: rank()])
        last = first + ctx.sizes[rank()]
        return gradient[first:last] * len(ctx.sizes), None
