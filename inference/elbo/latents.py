"""The latents of a batch as matrices: a row for each datum, a column for each coordinate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor

from ppl_disentangle.sites import PARTICLES, Plate, Site, data_plate

__all__ = ["Latents", "data_mask", "innermost", "known_num_data", "plate_of_latents", "rows"]


class Latents:
    """The latents of a batch as matrices: a row for each datum, a column for each coordinate.

    Leading dimensions of the results are particles drawn at once. All plates except the plate over
    the data, and all event dimensions, are flattened into the columns.

    Args:
        sites: The guide's sites.

    Attributes:
        sites: The guide's sites.
        plate: The plate over the data.
        scale: The factor by which Pyro scales the sites.
        mask: Which data of the batch count, bool of shape ``(batch,)``; ``None`` if all do.

    Raises:
        ValueError: The sites have no plate over the data, a latent is outside of it, or the latents
            have different scales.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = list(sites)
        self.plate = plate_of_latents(sites)
        self.scale = sites[0].scale
        self.mask = data_mask(sites, self.plate)

    @property
    def count(self) -> float | Tensor:
        """Number of data that the batch stands for."""
        if self.mask is None:
            return self.scale * self.plate.size
        return self.scale * self.mask.sum().to(self.sites[0].value.dtype)

    @property
    def weights(self) -> Tensor:
        """Weight of each datum in a mean over the batch, of shape ``(batch,)``."""
        ones = self.sites[0].value.new_ones(self.plate.size)
        if self.mask is None:
            return ones / self.plate.size
        return ones.where(self.mask, 0.0) / self.mask.sum()

    def total(self, values: Tensor) -> Tensor:
        """The sum of ``values``, of shape ``(…, batch)``, on Pyro's scale."""
        return self.scale * (values if self.mask is None else values.where(self.mask, 0.0)).sum()

    def draws(self) -> Tensor:
        """The draws z, of shape ``(…, batch, dim)``."""
        return torch.cat([rows(site.value, site, self.plate) for site in self.sites], -1)

    def means(self) -> Tensor:
        """Means of the posteriors, of shape ``(…, batch, dim)``."""
        return torch.cat([self._moment(site, "mean") for site in self.sites], -1)

    def variances(self) -> Tensor:
        """Variances of the posteriors' coordinates, of shape ``(…, batch, dim)``."""
        return torch.cat([self._moment(site, "variance") for site in self.sites], -1)

    def _moment(self, site: Site, name: Literal["mean", "variance"]) -> Tensor:
        try:
            moment = getattr(site.fn, name)
        except (NotImplementedError, AttributeError) as error:
            kind = type(innermost(site.fn)).__name__
            raise ValueError(
                f"latent {site.name!r}: {kind} has no {name} in closed form"
            ) from error
        return rows(moment.expand(site.value.shape), site, self.plate)


def rows(values: Tensor, site: Site, plate: Plate) -> Tensor:
    """``values``, of the shape of the site's value, as a matrix of shape ``(…, batch, dim)``."""
    # Plate dimensions are counted from the right of the batch shape, so skip the event.
    values = values.movedim(values.dim() - site.fn.event_dim + plate.dim, 0)
    if any(p.name == PARTICLES for p in site.plates):
        values = values.movedim(1, 0)  # the particles were outermost, and stay in front
        return values.reshape(*values.shape[:2], math.prod(values.shape[2:]))
    return values.reshape(len(values), math.prod(values.shape[1:]))


def innermost(fn: TorchDistribution) -> TorchDistribution:
    """The distribution inside its :class:`Independent` wrappers."""
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return fn


def plate_of_latents(sites: Sequence[Site]) -> Plate:
    """The plate over the data, which must contain every latent.

    Raises:
        ValueError: No plate is over the data, a latent is outside of it, or data or latents have
            different scales.
    """
    plate = data_plate(sites)
    if plate is None:
        raise ValueError(
            "this objective needs a plate over the data around the latents, and the guide has none:"
            ' open pyro.plate("data", num_data, subsample_size=len(x)) in model and guide'
        )
    for site in sites:
        if plate.name not in (p.name for p in site.plates):
            raise ValueError(
                f"latent {site.name!r} is outside of the plate {plate.name!r} over the data"
            )
    _check_scales(sites)
    return plate


def _check_scales(sites: Sequence[Site]) -> None:
    """Refuse data or latents with different scales."""
    for site in sites:
        if isinstance(site.scale, Tensor) and site.scale.numel() > 1:
            shape = tuple(site.scale.shape)
            raise ValueError(
                f"latent {site.name!r}: expected one scale for all data,"
                f" got a tensor of shape {shape}"
            )
    if len({s.scale for s in sites if not isinstance(s.scale, Tensor)}) > 1:
        scales = {s.name: s.scale for s in sites}
        raise ValueError(
            f"the latents share one aggregate posterior; expected one scale for all, got {scales}"
        )


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


def data_mask(sites: Sequence[Site], plate: Plate) -> Tensor | None:
    """Which data of the batch count, bool of shape ``(plate.size,)``; ``None`` if all do."""
    combined = None
    for site in sites:
        if site.mask is None or site.mask is True:
            continue
        mask = torch.as_tensor(site.mask, device=site.value.device)
        if mask.numel() != 1 and not _is_over_data(mask, plate):
            raise ValueError(
                f"latent {site.name!r}: expected a mask over the plate {plate.name!r} of"
                f" {plate.size} data alone, got shape {tuple(mask.shape)}"
            )
        mask = mask.reshape(-1).expand(plate.size)
        combined = mask if combined is None else combined & mask
    return combined


def _is_over_data(mask: Tensor, plate: Plate) -> bool:
    """Whether a mask has one element for each datum and no other dimension."""
    if mask.dim() < -plate.dim:
        return False
    return mask.numel() == mask.shape[plate.dim] == plate.size
