"""Sites of Pyro traces as plain records: the only file that reads ``trace.nodes``.

A *site* is a sample statement, ``pyro.sample(name, distribution)``, and a *trace* is the record of
all statements of one run of a model or guide.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import (
    Bernoulli,
    ContinuousBernoulli,
    Delta,
    ExpandedDistribution,
    Independent,
    MaskedDistribution,
    TorchDistribution,
    TransformedDistribution,
)
from pyro.infer import is_validation_enabled
from pyro.poutine import Trace
from pyro.poutine.guide import GuideMessenger
from torch import Tensor
from torch.distributions import Transform, biject_to

from ppl_disentangle._pyro_private import (
    DETERMINISTIC,
    check_model_guide_match,
    check_site_shape,
    is_subsample,
)

__all__ = [
    "Plate",
    "Site",
    "auxiliary_sites",
    "check_pair",
    "check_reparameterised",
    "data_of",
    "data_plate",
    "deterministic_sites",
    "event_dim_of",
    "first_non_finite",
    "inner_trace",
    "is_delta",
    "is_observed_or_computed",
    "is_deterministic",
    "latent_sites",
    "nested_trace",
    "observed_sites",
    "paired_traces",
    "plate_sizes",
    "plate_shape",
    "plates_by_dim",
    "returned_site",
    "returned_value",
    "sampled_sites",
    "scaled_and_masked",
    "site_values",
    "state_auxiliary",
    "sum_rightmost",
    "with_event_dim",
    "with_sites",
    "without_sites",
]

PARTICLES = "num_particles_vectorized"
"""Pyro's name for the plate over particles that are drawn at once."""


@dataclasses.dataclass(frozen=True)
class Plate:
    """A vectorised plate around a site: a batch dimension of independent elements.

    Attributes:
        name: Name of the plate.
        dim: Its batch dimension, counted from the right: -1, -2, ….
        size: Number of elements in the batch.
        full_size: Number of elements for which the batch stands.
    """

    name: str
    dim: int
    size: int
    full_size: int

    @property
    def scale(self) -> float:
        """The factor by which Pyro scales the sites in the plate."""
        return self.full_size / self.size


@dataclasses.dataclass(frozen=True)
class Site:
    """A sample statement of a trace.

    Attributes:
        name: Name of the statement.
        fn: Its distribution.
        value: Its value, drawn or observed.
        scale: Factor by which Pyro multiplies its log density, such as number of data over batch
            size.
        mask: Which elements count; ``None`` if all do.
        plates: The plates around it.
        is_stated: Whether it is a ``pyro.deterministic``, whose value is computed, not drawn.
        is_auxiliary: Whether the guide marked the site as one that the model lacks.
        source: The auxiliary site of which the value is a function, as in ``AutoNormal``; ``fn`` is
            then the distribution of that function.
        jacobian: Log density of the value minus the log density of ``source``; ``None`` without a
            source.
    """

    name: str
    fn: TorchDistribution
    value: Tensor
    scale: float | Tensor
    mask: bool | Tensor | None
    plates: tuple[Plate, ...]
    is_stated: bool = False
    is_auxiliary: bool = False
    source: Site | None = None
    jacobian: Tensor | None = None

    def log_prob(self) -> Tensor:
        """Log density of the value, unscaled and unmasked, of the shape of the plates."""
        if self.source is None or self.jacobian is None:
            return self.fn.log_prob(self.value)
        return self.source.log_prob() + self.jacobian

    def is_in(self, plate: Plate) -> bool:
        """Whether a plate of that name is around the site."""
        return any(p.name == plate.name for p in self.plates)

    def weighted(self, values: Tensor) -> Tensor:
        """``values``, one for each element of the plates, scaled and masked as Pyro does."""
        return scaled_and_masked(values, self.scale, self.mask)

    def total(self, values: Tensor) -> Tensor:
        """The scaled and masked sum of ``values``, one for each element of the plates."""
        return self.weighted(values).sum()

    def without_scale_of(self, plate: Plate) -> Site:
        """The same site without the scale of a subsampled plate; its other scales stay."""
        return dataclasses.replace(self, scale=self.scale / plate.scale)

    def per_datum(self, values: Tensor, plate: Plate) -> Tensor:
        """Scaled and masked sums of ``values`` over all plates except one, of shape ``(plate.size,)``.

        All scales and masks of the site count: of subsampled plates, of ``poutine.scale`` and of
        ``poutine.mask``. The scale of ``plate`` itself is left out, so that the sums of all sites
        of a pair, added up and multiplied by ``plate.scale``, are the bound of ``Trace_ELBO``.

        Args:
            values: One number for each element of the plates.
            plate: The plate whose elements stay apart, usually the plate over the data.
        """
        values = self.without_scale_of(plate).weighted(values)
        # A value that does not depend on the plate may lack its dimension: broadcast it.
        plate_shape = (plate.size,) + (1,) * (-1 - plate.dim)
        values = values.expand(torch.broadcast_shapes(values.shape, plate_shape))
        return values.movedim(plate.dim, 0).flatten(1).sum(1) if values.dim() > 1 else values


def _site(node: Mapping[str, Any]) -> Site:
    plates = tuple(
        Plate(f.name, f.dim, f.size, f.size if f.full_size is None else f.full_size)
        for f in node["cond_indep_stack"]
        if f.vectorized
    )
    infer = node["infer"]
    return Site(
        node["name"],
        node["fn"],
        node["value"],
        node["scale"],
        node["mask"],
        plates,
        is_stated=is_deterministic(node),
        is_auxiliary=bool(infer.get("is_auxiliary")),
    )


def _sample_nodes(trace: Trace) -> Iterable[dict[str, Any]]:
    """The sample statements of a trace, without plates and deterministic statements."""
    for node in trace.nodes.values():
        if node["type"] == "sample" and not is_subsample(node) and not is_deterministic(node):
            yield node


def _drawn_sites(trace: Trace) -> dict[str, Site]:
    return {node["name"]: _site(node) for node in _sample_nodes(trace) if not node["is_observed"]}


def sampled_sites(trace: Trace) -> dict[str, Site]:
    """The sites of ``trace`` that were drawn, in order of execution.

    Plates, deterministic statements and auxiliary sites are left out; see :func:`auxiliary_sites`.
    """
    return {name: site for name, site in _drawn_sites(trace).items() if not site.is_auxiliary}


def auxiliary_sites(trace: Trace) -> dict[str, Site]:
    """The sites of ``trace`` that were drawn and marked ``is_auxiliary``, in order of execution.

    A guide may draw them without the model. ``AutoNormal`` draws a latent on the whole real line
    first and states its image as the latent of the model; ``AutoDiagonalNormal`` draws one vector
    of all latents.
    """
    return {name: site for name, site in _drawn_sites(trace).items() if site.is_auxiliary}


def observed_sites(trace: Trace) -> dict[str, Site]:
    """The sites of ``trace`` that were observed, in order of execution.

    Deterministic statements are left out.
    """
    return {node["name"]: _site(node) for node in _sample_nodes(trace) if node["is_observed"]}


def deterministic_sites(trace: Trace) -> dict[str, Site]:
    """The deterministic statements of ``trace``, in order of execution.

    For the event dims of a statement in Pyro's default form see :func:`event_dim_of`.
    """
    return {
        name: _stated(node)
        for name, node in trace.nodes.items()
        if node["type"] == "sample" and is_deterministic(node)
    }


def plate_sizes(trace: Trace) -> dict[str, tuple[int, int]]:
    """Size and full size of each plate around the sample statements of ``trace``, by name.

    Raises:
        ValueError: The log density of a statement cannot be computed.
    """
    trace.compute_log_prob()
    sites = map(_site, _sample_nodes(trace))
    return {plate.name: (plate.size, plate.full_size) for site in sites for plate in site.plates}


def is_delta(distribution: TorchDistribution) -> bool:
    """Whether all probability is at one value."""
    while isinstance(distribution, Independent | MaskedDistribution | ExpandedDistribution):
        distribution = distribution.base_dist
    return isinstance(distribution, Delta)


def is_observed_or_computed(node: Mapping[str, Any]) -> bool:
    """Whether a node of a trace is a sample statement with a value that is not drawn."""
    return node["type"] == "sample" and bool(node["is_observed"])


def _stated(node: Mapping[str, Any]) -> Site:
    site = _site(node)
    event_dim = event_dim_of(node)
    return site if site.fn.event_dim == event_dim else with_event_dim(site, event_dim)


def with_event_dim(site: Site, event_dim: int) -> Site:
    """A deterministic site whose value has ``event_dim`` event dims; all others are batch dims."""
    return dataclasses.replace(site, fn=Delta(site.value, event_dim=event_dim).mask(False))


def is_deterministic(node: Mapping[str, Any]) -> bool:
    """Whether a sample statement is a ``pyro.deterministic``."""
    return bool(node["infer"].get(DETERMINISTIC))


def plate_shape(node: Mapping[str, Any]) -> torch.Size:
    """Sizes of the vectorised plates around a sample statement, 1 for dims between them."""
    sizes = {frame.dim: frame.size for frame in node["cond_indep_stack"] if frame.vectorized}
    return torch.Size(sizes.get(dim, 1) for dim in range(min(sizes, default=0), 0))


def plates_by_dim(node: Mapping[str, Any]) -> dict[int, str]:
    """Names of the vectorised plates around a sample statement, by batch dim: -1, -2, …."""
    return {frame.dim: frame.name for frame in node["cond_indep_stack"] if frame.vectorized}


def event_dim_of(node: Mapping[str, Any]) -> int:
    """Number of event dims of the value of a sample statement.

    ``pyro.deterministic`` without ``event_dim`` declares all dims as event dims. The leading dims
    that have the sizes of the plates around the statement are batch dims nevertheless.

    Args:
        node: A node of a trace, or the message of a handler, in a program without further axes left
            of its plates.
    """
    value = node["value"]
    if not is_deterministic(node) or node["fn"].event_dim < value.dim():
        return node["fn"].event_dim
    sizes = plate_shape(node)
    for batch_dims in range(min(len(sizes), value.dim()), 0, -1):
        places = zip(value.shape[:batch_dims], sizes[-batch_dims:], strict=True)
        if all(n in (1, m) for n, m in places):
            return value.dim() - batch_dims
    return value.dim()


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
    """A deterministic statement of a guide that the model does not need to have.

    This is ``pyro.deterministic``, marked as auxiliary so that Pyro does not look for it in the
    model.

    Args:
        name: Name of the statement.
        value: Its value.
        event_dim: Number of dimensions of one event, from the right.
    """
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
    """Pairs ``(site of the guide, site of the model)`` of all latents, in the guide's order.

    A latent that the guide computes from one auxiliary site, as ``AutoNormal`` does, has
    that site as its ``source`` and its distribution as ``fn``. Auxiliary sites that belong to no
    single latent, such as the joint vector of ``AutoDiagonalNormal``, come last; each has a site of
    the model with log density zero, so that sums over the pairs equal the sums of ``Trace_ELBO``.

    Raises:
        ValueError: A latent is sampled by only one of the two, or their event shapes differ.
    """
    model = _drawn_sites(model_trace)
    drawn = _drawn_sites(guide_trace)
    auxiliary = {k: site for k, site in drawn.items() if site.is_auxiliary and k not in model}
    guide = {name: site for name, site in drawn.items() if name not in auxiliary}
    _check_contained("guide", guide, "model", model)
    _check_contained("model", model, "guide", guide)
    pairs: list[tuple[Site, Site]] = []
    for name, q in guide.items():
        if q.fn.event_shape != model[name].fn.event_shape:
            raise ValueError(
                f"latent {name!r}: the guide's event shape is {tuple(q.fn.event_shape)}, the"
                f" model's {tuple(model[name].fn.event_shape)}; make both agree with .to_event()"
            )
        pairs.append((_with_source(q, model[name], auxiliary), model[name]))
    return pairs + [(site, _certain(site)) for site in auxiliary.values()]


def _with_source(q: Site, p: Site, auxiliary: dict[str, Site]) -> Site:
    """A latent of the guide with the auxiliary site that it is an image of, which is taken out."""
    source = auxiliary.get(f"{q.name}_unconstrained")
    same = source is not None and (q.mask is source.mask, q.plates) == (True, source.plates)
    if source is None or not same or not isinstance(q.fn, Delta):
        return q
    del auxiliary[source.name]
    # The model's support determines the map, as in Pyro's own guides.
    transform = biject_to(p.fn.support)
    fn = TransformedDistribution(source.fn, [transform] if _moves(transform) else [])
    return dataclasses.replace(q, fn=fn, source=source, jacobian=q.fn.log_density)


def _moves(transform: Transform) -> bool:
    """Whether a transform is not the identity."""
    while hasattr(transform, "base_transform"):
        transform = transform.base_transform
    return bool(getattr(transform, "parts", [transform]))


def _certain(site: Site) -> Site:
    """A site of the model beside an auxiliary site of the guide, of log density zero."""
    zeros = site.value.new_zeros(site.fn.batch_shape)
    fn = Delta(site.value, log_density=zeros, event_dim=site.fn.event_dim)
    return dataclasses.replace(site, fn=fn)


def _check_contained(
    here: str, sites: Mapping[str, Site], there: str, others: Mapping[str, Site]
) -> None:
    """Refuse a latent of one program that the other program lacks."""
    for name, site in sites.items():
        if name in others:
            continue
        way_out = ""
        if site.fn.has_enumerate_support:
            way_out = "; nothing is enumerated here: use EnumeratedELBO, or marginalise it"
        raise ValueError(
            f"the {here} samples {name!r}, the {there} does not; it has {list(others)}{way_out}"
        )


def data_plate(sites: Iterable[Site], name: str = "data") -> Plate | None:
    """The plate over the data, or ``None`` if there is no plate.

    It is the plate called ``name``, else the only plate, else the only plate that is around all
    sites in plates. Where sites disagree on the number of elements that it stands for, it has the
    largest.

    Raises:
        ValueError: There are several such plates, and no plate is called ``name``.
    """
    around = [site.plates for site in sites]
    found = sorted(itertools.chain(*around), key=lambda plate: plate.full_size)
    plates = {plate.name: plate for plate in found if plate.name != PARTICLES}
    if name in plates:
        return plates[name]
    if len(plates) < 2:
        return next(iter(plates.values()), None)
    shared = set(plates)
    for group in around:
        names = {plate.name for plate in group} & set(plates)
        shared &= names or shared
    if len(shared) != 1:
        raise ValueError(
            f"which plate is over the data? There are {sorted(plates)}, none is called {name!r}:"
            f" call that plate {name!r}"
        )
    return plates[shared.pop()]


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
    """A trace of the model with its latents drawn by the guide, and the trace of the guide.

    These are the traces of ``Trace_ELBO``, without log densities. While Pyro's validation is on,
    the pair is checked.

    Args:
        model: The model.
        guide: The guide.
        args: Positional arguments of both, usually the data.
        kwargs: Keyword arguments of both.
        max_plate_nesting: Largest number of nested plates, for Pyro's checks.
        reparameterised: Whether to refuse latents that pass no gradient.
        matched: Whether to check the pair at all. A model may have latents that the guide lacks
            only if this is false.

    Raises:
        ValueError: A check failed.
    """
    model_trace, guide_trace = _unchecked_traces(model, guide, args, kwargs)
    if matched:
        check_pair(model_trace, guide_trace, max_plate_nesting=max_plate_nesting)
        if reparameterised and is_validation_enabled():
            check_reparameterised(sampled_sites(guide_trace).values())
            check_reparameterised(auxiliary_sites(guide_trace).values())
    return model_trace, guide_trace


def check_pair(
    model_trace: Trace, guide_trace: Trace, *, max_plate_nesting: float = float("inf")
) -> None:
    """Pyro's checks of a pair, and the range of Bernoulli observations, while validation is on.

    Raises:
        ValueError: A check failed.
    """
    if is_validation_enabled():
        _check(
            _without_subsamples(model_trace),
            _without_subsamples(guide_trace),
            max_plate_nesting,
        )


def _unchecked_traces(
    model: Callable[..., Any],
    guide: Callable[..., Any],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Trace, Trace]:
    """The traces of :func:`paired_traces`."""
    messenger = poutine.unwrap(guide)
    if isinstance(messenger, GuideMessenger):
        guide(*args, **kwargs)  # runs the model, too, and makes both traces from the one run
        return messenger.get_traces()
    guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(*args, **kwargs)
    return model_trace, guide_trace


def returned_site(model_trace: Trace) -> Site:
    """The site of generated data: the site whose value the model returned.

    Args:
        model_trace: Trace of a model that was called without data.

    Raises:
        ValueError: The model did not return the value of a site.
    """
    returned = returned_value(model_trace)
    for site in sampled_sites(model_trace).values():
        if site.value is returned:
            return site
    raise ValueError(
        "expected a model that returns the value of its observed site,"
        f" got {type(returned).__name__}"
    )


def data_of(model_trace: Trace) -> Tensor:
    """The data that the model of a trace was called with."""
    return model_trace.nodes["_INPUT"]["args"][0]


def returned_value(trace: Trace) -> Any:
    """The value that the program of a trace returned."""
    return trace.nodes["_RETURN"]["value"]


def with_sites(
    trace: Trace,
    sites: Mapping[str, Site],
    *,
    data: Tensor | None = None,
    returned: Tensor | None = None,
) -> Trace:
    """A copy of ``trace`` with some sites replaced.

    Args:
        trace: The trace.
        sites: The new sites, by name. Their plates may have other sizes, or be missing.
        data: New data that the model was called with. By default they stay.
        returned: New value that the program returned. By default it stays.
    """
    changed = trace.copy()
    for name, site in sites.items():
        changed.nodes[name] = _replaced_node(trace.nodes[name], site)
    if data is not None:
        node = trace.nodes["_INPUT"]
        changed.nodes["_INPUT"] = node | {"args": (data, *node["args"][1:])}
    if returned is not None:
        changed.nodes["_RETURN"] = trace.nodes["_RETURN"] | {"value": returned}
    return changed


def without_sites(trace: Trace, names: Iterable[str]) -> Trace:
    """A copy of ``trace`` without some of its sites."""
    changed = trace.copy()
    for name in names:
        changed.remove_node(name)
    return changed


def _replaced_node(node: dict[str, Any], site: Site) -> dict[str, Any]:
    """A node of a trace with the fields of ``site``; plates keep their order and dimensions."""
    sizes = {plate.name: plate.size for plate in site.plates}
    frames = tuple(
        frame._replace(size=sizes.get(frame.name, frame.size))
        for frame in node["cond_indep_stack"]
        if frame.name in sizes or not frame.vectorized
    )
    return node | {
        "fn": site.fn,
        "value": site.value,
        "scale": site.scale,
        "mask": site.mask,
        "cond_indep_stack": frames,
    }


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
    """Pyro's checks of a pair, and the range of Bernoulli observations."""
    for q, _ in latent_sites(model_trace, guide_trace):
        _check_source(q)
    check_model_guide_match(model_trace, guide_trace, max_plate_nesting)
    for trace in (model_trace, guide_trace):
        trace.compute_log_prob()
        for node in _sample_nodes(trace):
            check_site_shape(node, max_plate_nesting)
    for site in observed_sites(model_trace).values():
        _check_range(site)


def _check_source(q: Site) -> None:
    """Refuse a latent that is another function of its auxiliary site than the one assumed here."""
    if q.source is None or not isinstance(q.fn, TransformedDistribution):
        return
    image = q.source.value
    for transform in q.fn.transforms:
        image = transform(image)
    if image.shape != q.value.shape or not torch.allclose(image, q.value, rtol=1e-4, atol=1e-5):
        raise ValueError(
            f"latent {q.name!r} is not the image of the guide's auxiliary site {q.source.name!r} on"
            " the model's support; give the auxiliary site another name"
        )


def check_reparameterised(sites: Iterable[Site]) -> None:
    """Refuse latents that pass no gradient.

    Raises:
        ValueError: A latent is not reparameterised.
    """
    for site in sites:
        if not site.fn.has_rsample:
            raise ValueError(
                f"latent {site.name!r} is drawn from {type(site.fn).__name__}, which is not"
                " reparameterised; use a relaxed distribution, EnumeratedELBO or Pyro's own ELBOs"
            )


def _check_range(site: Site) -> None:
    """Refuse Bernoulli observations outside of [0, 1].

    Pixels between 0 and 1 are common, so Pyro's own validation is off for them.
    """
    fn = site.fn
    while isinstance(fn, Independent):
        fn = fn.base_dist
    if not isinstance(fn, Bernoulli | ContinuousBernoulli):
        return
    if not ((site.value >= 0) & (site.value <= 1)).all():
        low = site.value.min().item()
        high = site.value.max().item()
        raise ValueError(
            f"observed site {site.name!r}: {type(fn).__name__} takes values in [0, 1], got {low:g}"
            f" to {high:g}; rescale the data (from_arrays has maximum=), or use a Gaussian"
            " likelihood"
        )


def first_non_finite(model_trace: Trace, guide_trace: Trace) -> str | None:
    """Name of the first site with a value or log density that is not finite, guide first."""
    for trace in (guide_trace, model_trace):
        for node in _sample_nodes(trace):
            site = _site(node)
            if not (torch.isfinite(site.value).all() and torch.isfinite(site.log_prob()).all()):
                return site.name
    return None
