"""Sites of Pyro traces as plain records: the only file that reads ``trace.nodes``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Bernoulli, ContinuousBernoulli, Delta, Independent, TorchDistribution
from pyro.infer import is_validation_enabled
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle._pyro_private import (
    DETERMINISTIC,
    check_model_guide_match,
    check_site_shape,
    is_subsample,
)

__all__ = [
    "Plate",
    "Site",
    "data_of",
    "data_plate",
    "latent_sites",
    "observed_sites",
    "paired_traces",
    "sampled_sites",
    "returned_value",
    "state_auxiliary",
    "with_sites",
]

PARTICLES = "num_particles_vectorized"


@dataclasses.dataclass(frozen=True)
class Plate:
    """A vectorised plate around a site.

    Attributes:
        name: its name.
        dim: the batch dimension that it occupies, counted from the right: -1, -2, ….
        size: number of elements in this batch.
        full_size: number of elements that the batch stands for.
    """

    name: str
    dim: int
    size: int
    full_size: int


@dataclasses.dataclass(frozen=True)
class Site:
    """A sample statement as it was executed: its distribution, its value, and its surroundings."""

    name: str
    fn: TorchDistribution
    value: Tensor
    scale: float | Tensor
    mask: bool | Tensor | None
    plates: tuple[Plate, ...]

    def log_prob(self) -> Tensor:
        """Log density of the value, unscaled and unmasked, of the plates' shape."""
        return self.fn.log_prob(self.value)

    def total(self, values: Tensor) -> Tensor:
        """The sum of ``values``, one for each element of the plates, under the site's scale and mask."""
        return scaled_and_masked(values, self.scale, self.mask).sum()

    def per_datum(self, values: Tensor, plate: Plate) -> Tensor:
        """Sums of ``values`` over all plates but ``plate``, masked, of shape ``(plate.size,)``.

        Unscaled, but that elements of the other plates stand for as many as these say.
        """
        scale = math.prod(p.full_size / p.size for p in self.plates if p.name != plate.name)
        values = scaled_and_masked(values, scale, self.mask)
        values = values.expand(
            torch.broadcast_shapes(values.shape, (plate.size,) + (1,) * (-1 - plate.dim))
        )
        return values.movedim(plate.dim, 0).flatten(1).sum(1) if values.dim() > 1 else values


def _site(node: dict[str, Any]) -> Site:
    plates = tuple(
        Plate(f.name, f.dim, f.size, f.size if f.full_size is None else f.full_size)
        for f in node["cond_indep_stack"]
        if f.vectorized
    )
    return Site(node["name"], node["fn"], node["value"], node["scale"], node["mask"], plates)


def _sample_nodes(trace: Trace) -> Iterable[dict[str, Any]]:
    for node in trace.nodes.values():
        if (
            node["type"] == "sample"
            and not is_subsample(node)
            and not node["infer"].get(DETERMINISTIC)
        ):
            yield node


def sampled_sites(trace: Trace) -> dict[str, Site]:
    """The sites that ``trace`` drew, without plates and deterministic statements, in order of execution."""
    return {node["name"]: _site(node) for node in _sample_nodes(trace) if not node["is_observed"]}


def observed_sites(trace: Trace) -> dict[str, Site]:
    """The sites that ``trace`` was given, without deterministic statements, in order of execution."""
    return {node["name"]: _site(node) for node in _sample_nodes(trace) if node["is_observed"]}


def deterministic_sites(trace: Trace) -> dict[str, Site]:
    """The deterministic statements of ``trace``, in order of execution."""
    return {
        name: _site(node)
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and node["infer"].get(DETERMINISTIC)
    }


def _without_subsamples(trace: Trace) -> Trace:
    """A copy of ``trace`` without the sites at which plates draw the indices of their data."""
    pruned = trace.copy()
    for name, node in trace.nodes.items():
        if is_subsample(node):
            pruned.remove_node(name)
    return pruned


def scaled_and_masked(values: Tensor, scale: float | Tensor, mask: bool | Tensor | None) -> Tensor:
    """``values`` times ``scale`` where ``mask`` is true, zero elsewhere; all three broadcast."""
    if mask is False:
        return torch.zeros_like(values)
    if isinstance(scale, Tensor) or scale != 1:
        values = values * scale
    if isinstance(mask, Tensor):
        return torch.where(mask, values, values.new_zeros(()))
    return values


def sum_rightmost(values: Tensor, num_dims: int) -> Tensor:
    """Sums over the last ``num_dims`` dimensions."""
    return values.flatten(-num_dims).sum(-1) if num_dims else values


def state_auxiliary(name: str, value: Tensor, *, event_dim: int = 1) -> Tensor:
    """``pyro.deterministic`` of a guide, which the model need not have."""
    infer = {DETERMINISTIC: True, "is_auxiliary": True}
    return pyro.sample(name, Delta(value, event_dim=event_dim), obs=value, infer=infer)


def site_values(trace: Trace) -> dict[str, Tensor]:
    """Values of all sample and deterministic statements of ``trace``, in order of execution."""
    return {
        name: node["value"]
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and not is_subsample(node)
    }


def latent_sites(model_trace: Trace, guide_trace: Trace) -> list[tuple[Site, Site]]:
    """Pairs ``(site of the guide, site of the model)`` of every latent, in the guide's order.

    Raises:
        ValueError: one side samples a latent that the other lacks, or their event shapes differ.
    """
    guide, model = sampled_sites(guide_trace), sampled_sites(model_trace)
    for here, there, names, others in (
        ("guide", "model", guide, model),
        ("model", "guide", model, guide),
    ):
        for name, site in names.items():
            if name not in others:
                way_out = (
                    "; nothing is enumerated here: marginalise it"
                    if site.fn.has_enumerate_support
                    else ""
                )
                raise ValueError(
                    f"the {here} samples {name!r}, the {there} does not; it has {list(others)}{way_out}"
                )
    for name, q in guide.items():
        if q.fn.event_shape != model[name].fn.event_shape:
            raise ValueError(
                f"latent {name!r}: the guide's event shape is {tuple(q.fn.event_shape)}, the model's"
                f" {tuple(model[name].fn.event_shape)}; make both agree with .to_event()"
            )
    return [(q, model[name]) for name, q in guide.items()]


def data_plate(sites: Iterable[Site], name: str = "data") -> Plate | None:
    """The plate over the data: the one called ``name``, else the only one, else none.

    Raises:
        ValueError: several plates, none of them called ``name``.
    """
    plates = {p.name: p for site in sites for p in site.plates if p.name != PARTICLES}
    if name in plates:
        return plates[name]
    if len(plates) > 1:
        raise ValueError(
            f"which plate is over the data? There are {sorted(plates)}, none is called {name!r}"
        )
    return next(iter(plates.values()), None)


def paired_traces(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    max_plate_nesting: float = float("inf"),
    reparameterised: bool = True,
    matched: bool = True,
) -> tuple[Trace, Trace]:
    """A trace of the guide, and of the model replayed against it.

    This is equivalent to what ``Trace_ELBO`` traces, without the log densities. While Pyro's validation is on,
    Pyro's checks of a model/guide pair are made, and, unless ``reparameterised`` is false, latents that no gradient
    passes through are refused; unless ``matched`` is false, in which case the model may have latents of its own.
    """
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    if matched and is_validation_enabled():
        _check(
            _without_subsamples(model_trace),
            _without_subsamples(guide_trace),
            max_plate_nesting,
        )
        if reparameterised:
            check_reparameterised(sampled_sites(guide_trace).values())
    return model_trace, guide_trace


def returned_site(model_trace: Trace) -> Site:
    """The data of a trace of the model without data: the site whose value the model returned.

    Raises:
        ValueError: there is none.
    """
    returned = returned_value(model_trace)
    found = next(
        (site for site in sampled_sites(model_trace).values() if site.value is returned), None
    )
    if found is None:
        raise ValueError(
            f"expected a model that returns the value of its observed site, got {type(returned).__name__}"
        )
    return found


def data_of(model_trace: Trace) -> Tensor:
    """The data that a trace of the model was given."""
    return model_trace.nodes["_INPUT"]["args"][0]


def returned_value(trace: Trace) -> Any:
    """What the program of a trace returned."""
    return trace.nodes["_RETURN"]["value"]


def with_sites(
    trace: Trace,
    sites: Mapping[str, Site],
    *,
    data: Tensor | None = None,
    returned: Tensor | None = None,
) -> Trace:
    """A copy of ``trace`` with other sites in the place of some, other data, and another value that it returned."""
    changed = trace.copy()
    for name, site in sites.items():
        sizes = {plate.name: plate.size for plate in site.plates}
        frames = tuple(
            f._replace(size=sizes.get(f.name, f.size))
            for f in trace.nodes[name]["cond_indep_stack"]
        )
        fields = {"fn": site.fn, "value": site.value, "scale": site.scale, "mask": site.mask}
        changed.nodes[name] = trace.nodes[name] | fields | {"cond_indep_stack": frames}
    if data is not None:
        node = trace.nodes["_INPUT"]
        changed.nodes["_INPUT"] = node | {"args": (data, *node["args"][1:])}
    if returned is not None:
        changed.nodes["_RETURN"] = trace.nodes["_RETURN"] | {"value": returned}
    return changed


def nested_trace(trace: Trace, inner: Trace, prefix: str) -> Trace:
    """A copy of ``trace`` that also holds the latents of another trace, under prefixed names.

    Undone by :func:`inner_trace`.
    """
    nested = trace.copy()
    for node in _sample_nodes(inner):
        if not node["is_observed"]:
            name = prefix + node["name"]
            nested.add_node(name, **(node | {"name": name}))
    return nested


def inner_trace(trace: Trace, prefix: str) -> Trace:
    """The latents that :func:`nested_trace` put into ``trace``, under their original names."""
    inner = Trace()
    for node in _sample_nodes(trace):
        if node["name"].startswith(prefix):
            name = node["name"].removeprefix(prefix)
            inner.add_node(name, **(node | {"name": name}))
    return inner


def _check(model_trace: Trace, guide_trace: Trace, max_plate_nesting: float) -> None:
    latent_sites(model_trace, guide_trace)
    check_model_guide_match(model_trace, guide_trace, max_plate_nesting)
    for trace in (model_trace, guide_trace):
        trace.compute_log_prob()
        for node in _sample_nodes(trace):
            check_site_shape(node, max_plate_nesting)
    for site in observed_sites(model_trace).values():
        _check_range(site)


def check_reparameterised(sites: Iterable[Site]) -> None:
    for site in sites:
        if not site.fn.has_rsample:
            raise ValueError(
                f"latent {site.name!r} is drawn from {type(site.fn).__name__}, which is not reparameterised;"
                " use a relaxed distribution, EnumeratedELBO or Pyro's own ELBOs"
            )


def _check_range(site: Site) -> None:
    """Bernoulli pixels may be grey, hence do not validate themselves, but must be in [0, 1]."""
    fn = site.fn
    while isinstance(fn, Independent):
        fn = fn.base_dist
    if (
        isinstance(fn, Bernoulli | ContinuousBernoulli)
        and not ((site.value >= 0) & (site.value <= 1)).all()
    ):
        low, high = site.value.min().item(), site.value.max().item()
        raise ValueError(
            f"observed site {site.name!r}: {type(fn).__name__} takes values in [0, 1], got {low:g} to {high:g}; rescale"
            " the data (from_arrays has maximum=), or use a Gaussian likelihood"
        )


def first_non_finite(model_trace: Trace, guide_trace: Trace) -> str | None:
    """Name of the first site whose value or log density is not finite, guide first."""
    for trace in (guide_trace, model_trace):
        for node in _sample_nodes(trace):
            site = _site(node)
            if not (torch.isfinite(site.value).all() and torch.isfinite(site.log_prob()).all()):
                return site.name
    return None
