"""The latents of a batch side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor

from ppl_disentangle.sites import PARTICLES, Plate, Site, data_plate

__all__ = ["Latents", "data_mask", "innermost", "known_num_data", "plate_of_latents", "rows"]


class Latents:
    """The latents of a batch: a row a datum, a column a coordinate.

    Leading dimensions of what the methods return are particles drawn at once; every plate but the data's and every
    event dimension is flattened into the columns.

    Attributes:
        sites: the guide's sites.
        plate: the plate over the data.
        scale: what the sites are scaled by.
        mask: which data of the batch count, bool of shape ``(batch,)``; ``None`` if all do.

    Raises:
        ValueError: there is no plate over the data, a latent is outside of it, or the latents are scaled apart.
    """

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites, self.plate = list(sites), plate_of_latents(sites)
        self.scale, self.mask = sites[0].scale, data_mask(sites, self.plate)

    @property
    def count(self) -> float | Tensor:
        """How many data the batch stands for."""
        if self.mask is None:
            return self.scale * self.plate.size
        return self.scale * self.mask.sum().to(self.sites[0].value.dtype)

    @property
    def weights(self) -> Tensor:
        """The weight of each datum in a mean over the batch, of shape ``(batch,)``."""
        ones = self.sites[0].value.new_ones(self.plate.size)
        return (
            ones / self.plate.size
            if self.mask is None
            else ones.where(self.mask, 0.0) / self.mask.sum()
        )

    def total(self, values: Tensor) -> Tensor:
        """The sum of ``values`` of shape ``(…, batch)`` on Pyro's scale."""
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

    def _moment(self, site: Site, name: str) -> Tensor:
        try:
            moment = getattr(site.fn, name)
        except (NotImplementedError, AttributeError) as error:
            kind = type(innermost(site.fn)).__name__
            raise ValueError(
                f"latent {site.name!r}: {kind} has no {name} in closed form"
            ) from error
        return rows(moment.expand(site.value.shape), site, self.plate)


def rows(values: Tensor, site: Site, plate: Plate) -> Tensor:
    """``values``, shaped as the value of ``site``, as ``(…, batch, dim)``."""
    values = values.movedim(values.dim() - site.fn.event_dim + plate.dim, 0)
    if any(p.name == PARTICLES for p in site.plates):
        values = values.movedim(1, 0)
        return values.reshape(*values.shape[:2], math.prod(values.shape[2:]))
    return values.reshape(len(values), math.prod(values.shape[1:]))


def innermost(fn: TorchDistribution) -> TorchDistribution:
    """``fn`` without its :class:`Independent` wrappings."""
    while isinstance(fn, Independent):
        fn = fn.base_dist
    return fn


def plate_of_latents(sites: Sequence[Site]) -> Plate:
    """The plate over the data, around every latent.

    Raises:
        ValueError: there is no such plate, a latent is outside of it, or data or latents are scaled apart.
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
    for site in sites:
        if isinstance(site.scale, Tensor) and site.scale.numel() > 1:
            shape = tuple(site.scale.shape)
            raise ValueError(
                f"latent {site.name!r}: expected one scale for all data, got a tensor of shape {shape}"
            )
    if len({s.scale for s in sites if not isinstance(s.scale, Tensor)}) > 1:
        scales = {s.name: s.scale for s in sites}
        raise ValueError(
            f"the latents share one aggregate posterior; expected one scale for all, got {scales}"
        )
    return plate


def known_num_data(plate: Plate, num_data: int | None) -> int:
    """The number of data behind a batch, from the plate or as given.

    Raises:
        ValueError: neither tells, both tell differently, or it is less than the batch.
    """
    if plate.full_size > plate.size:
        if num_data is not None and num_data != plate.full_size:
            raise ValueError(
                f"num_data={num_data}, but the plate {plate.name!r} stands for {plate.full_size} data"
            )
        return plate.full_size
    if num_data is None:
        raise ValueError(
            f"the number of data is unknown: the plate {plate.name!r} is just the batch of {plate.size}. Pass num_data="
            f' to the objective, or open pyro.plate("{plate.name}", num_data, subsample_size=len(x))'
        )
    if num_data < plate.size:
        raise ValueError(f"num_data={num_data} is less than the batch of {plate.size}")
    return num_data


def data_mask(sites: Sequence[Site], plate: Plate) -> Tensor | None:
    """Which data of the batch count, bool of shape ``(plate.size,)``; ``None`` if all do."""
    mask = None
    for site in sites:
        if site.mask is None or site.mask is True:
            continue
        own = torch.as_tensor(site.mask, device=site.value.device)
        if own.numel() != 1 and (
            own.dim() < -plate.dim or not own.numel() == own.shape[plate.dim] == plate.size
        ):
            raise ValueError(
                f"latent {site.name!r}: expected a mask over the plate {plate.name!r} of {plate.size} data alone,"
                f" got shape {tuple(own.shape)}"
            )
        own = own.reshape(-1).expand(plate.size)
        mask = own if mask is None else mask & own
    return mask
