"""The latents of a batch as matrices: a row for each datum, a column for each coordinate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from functools import cached_property
from typing import Literal

import torch
from pyro.distributions import (
    Delta,
    Independent,
    LowRankMultivariateNormal,
    MultivariateNormal,
    TorchDistribution,
    TransformedDistribution,
)
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    ComposeTransform,
    Dirichlet,
    IndependentTransform,
    OneHotCategorical,
    Transform,
)

from ppl_disentangle.sites import (
    PARTICLES,
    Plate,
    Site,
    data_plate,
    latent_sites,
    observed_sites,
)

__all__ = [
    "LatentPairs",
    "Latents",
    "common_scale",
    "innermost",
    "is_masked",
    "known_num_data",
    "pairs_by_plate",
    "plate_of_latents",
    "present_columns",
    "rows",
    "simplified",
]

Pair = tuple[Site, Site]
"""A site of the guide and the site of the model with the same name."""

CORRELATED = (MultivariateNormal, LowRankMultivariateNormal)


@dataclasses.dataclass(frozen=True)
class LatentPairs:
    """Pairs ``(site of the guide, site of the model)`` of the latents, by the plate over the data.

    Attributes:
        plate: The plate over the data.
        local: Latents inside of the plate.
        shared: Latents outside of it, which all data share.
        joint: Auxiliary sites of the guide that belong to no single latent; see
            :func:`~ppl_disentangle.sites.latent_sites`.
    """

    plate: Plate
    local: list[Pair]
    shared: list[Pair]
    joint: list[Pair]

    @property
    def all(self) -> list[Pair]:
        """All pairs, as :func:`~ppl_disentangle.sites.latent_sites` returns them."""
        return [*self.local, *self.shared, *self.joint]

    def latents(self, *, drawn_apart: bool = True) -> Latents:
        """The latents of each datum.

        Args:
            drawn_apart: Whether to refuse a guide that draws them all at once.

        Raises:
            ValueError: The guide draws the latents through an auxiliary site that they share.
        """
        if drawn_apart and self.joint:
            raise ValueError(
                f"the guide draws {[q.name for q, _ in self.local]} through the auxiliary site"
                f" {self.joint[0][0].name!r}, which has no density for each datum or latent;"
                " this objective needs one: use AutoNormal or a guide of your own, or BetaELBO"
            )
        return Latents([q for q, _ in self.local], self.plate)


def pairs_by_plate(model_trace: Trace, guide_trace: Trace, *, required: bool = True) -> LatentPairs:
    """The latents of a pair by the plate over the data.

    Args:
        model_trace: Trace of the model.
        guide_trace: Trace of the guide.
        required: Whether to refuse a pair without latents in the plate.

    Raises:
        ValueError: No plate is over the data, all latents are outside of it, or a latent is sampled
            by the model or the guide alone.
    """
    pairs = latent_sites(model_trace, guide_trace)
    latents = [q for q, _ in pairs if not q.is_auxiliary]
    around = [*latents, *(p for _, p in pairs), *observed_sites(model_trace).values()]
    plate = _required(data_plate(around))
    local = [(q, p) for q, p in pairs if not q.is_auxiliary and q.is_in(plate)]
    for q, _ in local:
        _check_inside(q, plate)
    if required and not local:
        raise ValueError(
            f"latent {latents[0].name!r} is outside of the plate {plate.name!r} over the data,"
            " as are all others; this objective needs latents of each datum: use BetaELBO"
            if latents
            else "this objective needs a latent in the plate over the data, the guide samples none"
        )
    shared = [(q, p) for q, p in pairs if not q.is_auxiliary and not q.is_in(plate)]
    joint = [(q, p) for q, p in pairs if q.is_auxiliary]
    return LatentPairs(plate, local, shared, joint)


class Latents:
    """The latents of a batch as matrices: a row for each datum, a column for each coordinate.

    Leading dimensions of the results are particles drawn at once. All plates except the plate over
    the data, and all event dimensions, are flattened into the columns. A coordinate that is masked
    for a datum is absent there: it is zero in the matrices, and statistics over the data leave it
    out.

    Args:
        sites: The guide's sites.
        plate: The plate over the data. By default it is read from the sites.

    Attributes:
        sites: The guide's sites.
        plate: The plate over the data.

    Raises:
        ValueError: The sites have no plate over the data, or a latent is outside of it.
    """

    def __init__(self, sites: Sequence[Site], plate: Plate | None = None) -> None:
        self.sites = list(sites)
        self.plate = plate_of_latents(sites) if plate is None else plate
        for site in self.sites:
            _check_inside(site, self.plate)

    @property
    def count(self) -> float:
        """Number of data that the batch stands for, whatever their scales and masks."""
        return float(self.plate.full_size)

    @cached_property
    def present(self) -> Tensor | None:
        """Which coordinates are not masked, bool of shape ``(…, batch, dim)``; ``None`` if all."""
        if not any(map(is_masked, self.sites)):
            return None
        return torch.cat([present_columns(site, self.plate) for site in self.sites], -1)

    @property
    def mask(self) -> Tensor | None:
        """Which data have a latent, bool of shape ``(…, batch)``; ``None`` if all do."""
        return None if self.present is None else self.present.any(-1)

    @property
    def weights(self) -> Tensor:
        """Weight of each datum in a mean over the batch, of shape ``(…, batch)``."""
        ones = self.sites[0].value.new_ones(self.plate.size)
        if self.mask is None:
            return ones / self.plate.size
        return ones.where(self.mask, 0.0) / self.mask.sum(-1, keepdim=True)

    def total(self, values: Tensor) -> Tensor:
        """The sum of ``values``, of shape ``(…, batch)``, over the data that the batch stands for.

        Data without a latent count as zero.
        """
        mask = self.mask
        return self.plate.scale * (values if mask is None else values.where(mask, 0.0)).sum()

    def draws(self) -> Tensor:
        """The draws z, of shape ``(…, batch, dim)``."""
        return self.matrix([(site.value, site) for site in self.sites])

    def means(self) -> Tensor:
        """Means of the posteriors, of shape ``(…, batch, dim)``."""
        return self.matrix([(_moment(site, "mean"), site) for site in self.sites])

    def variances(self) -> Tensor:
        """Variances of the posteriors' coordinates, of shape ``(…, batch, dim)``."""
        return self.matrix([(_moment(site, "variance"), site) for site in self.sites])

    def covariances(self) -> Tensor | None:
        """Covariances of the posteriors' coordinates, of shape ``(…, batch, dim, dim)``.

        Latents are independent of each other given x. ``None`` if their coordinates are, too.
        """
        if all(simplified(site.fn).event_dim == 0 for site in self.sites):
            return None
        blocks = [_covariance_rows(site, self.plate) for site in self.sites]
        dim = sum(block.shape[-1] for block in blocks)
        result = blocks[0].new_zeros((*blocks[0].shape[:-2], dim, dim))
        first = 0
        for block in blocks:
            last = first + block.shape[-1]
            result[..., first:last, first:last] = block
            first = last
        return result

    def matrix(self, values: Sequence[tuple[Tensor, Site]]) -> Tensor:
        """Values of the sites side by side, zero where they are absent: ``(…, batch, dim)``.

        Args:
            values: For each site a tensor of the shape of its value, and a site of that shape.
        """
        for site in self.sites:
            _check_complete(site, self.plate)
        columns = torch.cat([rows(value, site, self.plate) for value, site in values], -1)
        return columns if self.present is None else columns.where(self.present, 0.0)


def _moment(site: Site, name: Literal["mean", "variance"]) -> Tensor:
    """The mean or the variance of a posterior, of the shape of the site's value."""
    fn = without_identity(site.fn)
    try:
        moment = getattr(fn, name)
    except (NotImplementedError, AttributeError) as error:
        kind = type(innermost(fn)).__name__
        raise ValueError(f"latent {site.name!r}: {kind} has no {name} in closed form") from error
    return moment.expand(site.value.shape)


def _covariance_rows(site: Site, plate: Plate) -> Tensor:
    """Covariances of the coordinates of one latent, of shape ``(…, batch, dim, dim)``."""
    base = simplified(site.fn)
    covariance = _covariance(base, site)
    size = covariance.shape[-1]
    batch_shape = site.value.shape[: site.value.dim() - base.event_dim]
    # Dimensions of the event over which the posterior is independent, then those of the matrix.
    event_dim = site.fn.event_dim - base.event_dim + 2
    columns = rows(covariance.expand(*batch_shape, size, size), site, plate, event_dim=event_dim)
    blocks = columns.unflatten(-1, (-1, size, size))  # (…, batch, block, size, size)
    number = blocks.shape[-3]
    apart = torch.eye(number, dtype=blocks.dtype, device=blocks.device)[:, None, :, None]
    return (blocks.unsqueeze(-2) * apart).flatten(-4, -3).flatten(-2)


def _covariance(base: TorchDistribution, site: Site) -> Tensor:
    """Covariances of one draw, of shape ``(*batch, size, size)``.

    Raises:
        ValueError: The covariance has no closed form.
    """
    if base.event_dim == 0:
        return _moment(site, "variance")[..., None, None]
    if isinstance(base, CORRELATED):
        return base.covariance_matrix
    if isinstance(base, Delta) and base.event_dim == 1:
        return torch.diag_embed(torch.zeros_like(base.v))
    if isinstance(base, Dirichlet | OneHotCategorical):
        # Both are diag(m) - m m' for the mean m, up to a factor.
        outer = base.mean[..., :, None] * base.mean[..., None, :]
        matrix = torch.diag_embed(base.mean) - outer
        if isinstance(base, OneHotCategorical):
            return matrix
        return matrix / (base.concentration.sum(-1) + 1)[..., None, None]
    raise ValueError(
        f"latent {site.name!r}: {type(base).__name__} has no covariance in closed form"
    )


def rows(values: Tensor, site: Site, plate: Plate, *, event_dim: int | None = None) -> Tensor:
    """``values``, of the shape of the site's value, as a matrix of shape ``(…, batch, dim)``.

    Args:
        values: The values.
        site: A site with the plates of the values.
        plate: The plate over the data.
        event_dim: Number of dimensions to the right of the plates. By default the
            dimensions of an event.
    """
    # Plate dimensions are counted from the right of the batch shape, so skip the event.
    event_dim = site.fn.event_dim if event_dim is None else event_dim
    values = values.movedim(values.dim() - event_dim + plate.dim, 0)
    if any(p.name == PARTICLES for p in site.plates):
        values = values.movedim(1, 0)  # the particles were outermost, and stay in front
        return values.reshape(*values.shape[:2], math.prod(values.shape[2:]))
    return values.reshape(len(values), math.prod(values.shape[1:]))


def is_masked(site: Site) -> bool:
    """Whether a latent may be absent for some data or in some coordinates."""
    return isinstance(site.mask, Tensor) or site.mask is False


def present_columns(site: Site, plate: Plate, *, event_dim: int = 0) -> Tensor:
    """Which coordinates of a latent are not masked, bool of shape ``(…, batch, dim)``.

    Args:
        site: The guide's site.
        plate: The plate over the data.
        event_dim: Number of dimensions of one coordinate: 1 if a vector is one, such as a class.
    """
    independent = site.fn.event_dim - event_dim
    shape = site.value.shape[: site.value.dim() - event_dim]
    mask = site.mask
    if not isinstance(mask, Tensor):
        mask = torch.full((), mask is not False, device=site.value.device)
    mask = mask.reshape(mask.shape + (1,) * independent).expand(shape)
    return rows(mask, site, plate, event_dim=independent)


def innermost(fn: TorchDistribution) -> TorchDistribution:
    """The distribution inside its wrappers: ``Independent``, ``mask`` and ``expand``."""
    while isinstance(fn, Independent | MaskedDistribution | ExpandedDistribution):
        fn = fn.base_dist
    return fn


def without_identity(fn: TorchDistribution) -> TorchDistribution:
    """The distribution that a :class:`TransformedDistribution` without any effect transforms."""
    while _is_transformed(fn) and _elementwise(fn.transforms) == []:
        fn = fn.base_dist
    return fn


def _is_transformed(fn: TorchDistribution) -> bool:
    """Whether a distribution is given by transforms alone: no ``LogNormal``, no relaxed classes."""
    return type(fn) in (TransformedDistribution, torch.distributions.TransformedDistribution)


def simplified(fn: TorchDistribution) -> TorchDistribution:
    """The distribution of one coordinate of a latent, if its coordinates are independent.

    Transforms of single coordinates, such as an exponential, stay. A distribution whose coordinates
    are not independent is returned as it is, without the wrappers around it.
    """
    base = innermost(without_identity(innermost(fn)))
    if not (_is_transformed(base) and base.event_dim):
        return base
    transforms = _elementwise(base.transforms)
    inner = simplified(base.base_dist)
    if transforms is None or inner.event_dim:
        return base
    return TransformedDistribution(inner, transforms)


def _elementwise(transforms: Sequence[Transform]) -> list[Transform] | None:
    """The same map as transforms of single numbers; ``None`` if a transform mixes coordinates."""
    found: list[Transform] = []
    for transform in transforms:
        parts = _parts(transform)
        if isinstance(transform, AffineTransform):  # whatever number of dims it calls one event
            found.append(AffineTransform(transform.loc, transform.scale))
            continue
        if parts is None:
            if transform.domain.event_dim or transform.codomain.event_dim:
                return None
            found.append(transform)
            continue
        inside = _elementwise(parts)
        if inside is None:
            return None
        found += inside
    return found


def _parts(transform: Transform) -> list[Transform] | None:
    """The transforms that a transform is made of; ``None`` if it is made of no others."""
    if isinstance(transform, IndependentTransform):
        return [transform.base_transform]
    return transform.parts if isinstance(transform, ComposeTransform) else None


def plate_of_latents(sites: Sequence[Site]) -> Plate:
    """The plate over the data, which must contain every latent.

    Raises:
        ValueError: No plate is over the data, or a latent is outside of it.
    """
    plate = _required(data_plate(sites))
    for site in sites:
        _check_inside(site, plate)
    return plate


def _required(plate: Plate | None) -> Plate:
    if plate is None:
        raise ValueError(
            "this objective needs a plate over the data around the latents, and the guide has none:"
            ' open pyro.plate("data", num_data, subsample_size=len(x)) in model and guide'
        )
    return plate


def _check_inside(site: Site, plate: Plate) -> None:
    """Refuse a latent outside of the plate, or with a different scale for each datum."""
    if not site.is_in(plate):
        raise ValueError(
            f"latent {site.name!r} is outside of the plate {plate.name!r} over the data"
        )
    if isinstance(site.scale, Tensor) and site.scale.numel() > 1:
        shape = tuple(site.scale.shape)
        raise ValueError(
            f"latent {site.name!r}: expected one scale for all data, got a tensor of shape {shape}"
        )


def _check_complete(site: Site, plate: Plate) -> None:
    """Refuse a latent of which a subsampled inner plate shows some coordinates only."""
    for inner in site.plates:
        if inner.name not in (plate.name, PARTICLES) and inner.full_size > inner.size:
            raise ValueError(
                f"latent {site.name!r}: the plate {inner.name!r} shows {inner.size} of its"
                f" {inner.full_size} elements, but this objective compares all coordinates of a"
                " datum: open that plate without subsampling, or use BetaELBO"
            )


def common_scale(latents: Latents) -> float | Tensor:
    """The scale that all latents have beside the scale of the plate over the data.

    Raises:
        ValueError: The latents have different scales.
    """
    sites = latents.sites
    for site in sites:
        _check_complete(site, latents.plate)
    numbers = [s.scale for s in sites if not isinstance(s.scale, Tensor)]
    if numbers and not math.isclose(min(numbers), max(numbers)):
        scales = {s.name: s.scale for s in sites}
        raise ValueError(
            f"the latents share one aggregate posterior; expected one scale for all, got {scales}"
        )
    return sites[0].without_scale_of(latents.plate).scale


def known_num_data(plate: Plate, num_data: int | None) -> int:
    """The number of data that a batch was drawn from: the size of the plate, or ``num_data``.

    Raises:
        ValueError: Neither is known, they differ, or the number is less than the batch.
    """
    if plate.full_size > plate.size:
        if num_data is not None and num_data != plate.full_size:
            raise ValueError(
                f"num_data={num_data}, but the plate {plate.name!r} stands for"
                f" {plate.full_size} data"
            )
        return plate.full_size
    if num_data is None:
        raise ValueError(
            f"the number of data is unknown: the plate {plate.name!r} is just the batch of"
            f" {plate.size}. Pass num_data= to the objective, or open"
            f' pyro.plate("{plate.name}", num_data, subsample_size=len(x))'
        )
    if num_data < plate.size:
        raise ValueError(f"num_data={num_data} is less than the batch of {plate.size}")
    return num_data
