"""The importance-weighted bound of IWAE [Burda et al., 2016] and MIWAE [Mattei & Frellsen, 2019]."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import ELBO
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.sites import Site, data_plate, latent_sites, observed_sites, paired_traces

__all__ = ["ImportanceWeightedELBO"]


class ImportanceWeightedELBO(ELBO):
    r"""A tighter bound from several draws for each datum; with missing values it is MIWAE [2].

    .. math:: \sum_i \mathbb E \log \frac1K \sum_{k=1}^K
       \frac{p(x_i \mid z_{ik}) \, p(z_{ik})}{q(z_{ik} \mid x_i)}, \quad z_{ik} \sim q(z \mid x_i)

    For data with missing values, p(x | z) is over the observed elements of each datum. With
    ``num_particles=1`` it is the evidence lower bound; it rises with K, towards log p(x). The weights
    are of each datum; ``pyro.infer.RenyiELBO`` weights whole batches.

    - For: data with missing values, and posteriors that the guide cannot represent. Many draws make
      the gradient of the guide noisy.

    Args:
        num_particles: Number K of draws of each datum; 50 in [1].
        max_plate_nesting: Largest number of nested plates, as for Pyro's ELBOs.

    Raises:
        ValueError: Calls raise it if a latent or an observed site is outside of the plate over the
            data.

    References:
        [1] Burda et al., 2016. https://arxiv.org/abs/1509.00519
        [2] Mattei & Frellsen, 2019. MIWAE. https://arxiv.org/abs/1812.02633

    Example:
        >>> ImportanceWeightedELBO(20).num_particles
        20
    """

    def __init__(self, num_particles: int = 50, *, max_plate_nesting: float = float("inf")) -> None:
        if num_particles < 1:
            raise ValueError(f"expected num_particles >= 1, got {num_particles}")
        super().__init__(num_particles=num_particles, max_plate_nesting=max_plate_nesting)

    def differentiable_loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Minus the bound as a scalar, summed over the plate of the data."""
        weights = []
        scale = 1.0
        for model_trace, guide_trace in self._get_traces(model, guide, args, kwargs):
            log_weight, scale = _log_weight(model_trace, guide_trace)
            weights.append(log_weight)
        log_weights = torch.stack(weights)  # (draw, batch)
        bounds = log_weights.logsumexp(0) - math.log(self.num_particles)
        return -scale * bounds.sum()

    def loss(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> float:
        """Minus the bound as a number, without gradients."""
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(
        self, model: Callable[..., Any], guide: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> float:
        """Back-propagate minus the bound; called by ``SVI.step``."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()

    def _get_trace(
        self,
        model: Callable[..., Any],
        guide: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> tuple[Trace, Trace]:
        return paired_traces(model, guide, args, kwargs, max_plate_nesting=self.max_plate_nesting)


def _log_weight(model_trace: Trace, guide_trace: Trace) -> tuple[Tensor, float]:
    """log p(x, z) - log q(z | x) of each datum ``(batch,)``, and data for which one stands."""
    pairs = latent_sites(model_trace, guide_trace)
    model = [*observed_sites(model_trace).values(), *(p for _, p in pairs)]
    guide = [q for q, _ in pairs]
    sites = [*model, *guide]
    plate = data_plate(sites)
    _check_inside(sites, None if plate is None else plate.name)
    assert plate is not None
    log_p = torch.stack([site.per_datum(site.log_prob(), plate) for site in model]).sum(0)
    log_q = torch.stack([site.per_datum(site.log_prob(), plate) for site in guide]).sum(0)
    return log_p - log_q, plate.full_size / plate.size


def _check_inside(sites: list[Site], plate: str | None) -> None:
    for site in sites:
        if plate is None or plate not in [p.name for p in site.plates]:
            raise ValueError(
                f"site {site.name!r} is outside of a plate over the data, and has no weight of each"
                " datum; open the plate around it, or train with the evidence lower bound"
            )
