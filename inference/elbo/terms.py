"""Terms that objectives share: the log likelihood, KL divergences, and sums over latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.divergences import kl_total, sampled_kl_total, weighted_kl
from ppl_disentangle.inference.elbo.latents import LatentPairs, rows
from ppl_disentangle.sites import Plate, Site, latent_sites, observed_sites, scaled_and_masked

__all__ = [
    "bound_terms",
    "elbo_terms",
    "local_bound_terms",
    "log_likelihood",
    "shared_terms",
    "sum_tensors",
    "total_and_by_datum",
]


def sum_tensors(values: Sequence[Tensor]) -> Tensor:
    """The sum of one or more tensors of the same shape."""
    return sum(values[1:], values[0])


def log_likelihood(model_trace: Trace) -> Tensor:
    """log p(x | z), summed over all observed sites, on Pyro's scale."""
    sites = observed_sites(model_trace).values()
    if not sites:
        raise ValueError("the model observes nothing: pass the data to it as obs=")
    return sum_tensors([site.total(site.log_prob()) for site in sites])


def elbo_terms(model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
    """The two terms of the evidence lower bound: log likelihood and negative KL, in nats."""
    return bound_terms(model_trace, latent_sites(model_trace, guide_trace))


def bound_terms(model_trace: Trace, sites: Sequence[tuple[Site, Site]]) -> dict[str, Tensor]:
    """The terms of :func:`elbo_terms`, from pairs of sites that the caller has at hand.

    Args:
        model_trace: Trace of the model.
        sites: Pairs ``(site of the guide, site of the model)`` of the latents. Without latents the
            KL is zero.
    """
    likelihood = log_likelihood(model_trace)
    divergences = [kl_total(q, p) for q, p in sites] or [torch.zeros_like(likelihood)]
    return {"log_likelihood": likelihood, "kl": -sum_tensors(divergences)}


def local_bound_terms(model_trace: Trace, pairs: LatentPairs) -> dict[str, Tensor]:
    """The terms of :func:`elbo_terms`, and a separate term for latents that all data share.

    A weight of ``"kl"`` then acts on the latents of each datum alone; the others have weight 1. Of a
    guide that draws all latents at once, ``"kl"`` is the divergence of all of them.
    """
    if pairs.joint:
        return bound_terms(model_trace, pairs.all)
    return bound_terms(model_trace, pairs.local) | shared_terms(pairs)


def shared_terms(pairs: LatentPairs, *, sampled: bool = False) -> dict[str, Tensor]:
    """The term ``"shared_kl"``: minus the divergence of the latents that all data share.

    The result is empty if all latents belong to single data.

    Args:
        pairs: The latents of a pair.
        sampled: Whether it is log q - log p at the draw even where a closed form is known.
    """
    if not pairs.shared:
        return {}
    divergence = sampled_kl_total if sampled else kl_total
    return {"shared_kl": -sum_tensors([divergence(q, p) for q, p in pairs.shared])}


def total_and_by_datum(
    sites: Sequence[tuple[Site, Site]],
    plate: Plate,
    divergence: Callable[[Site, Site], Tensor] = weighted_kl,
) -> tuple[Tensor, Tensor]:
    """Divergences summed over latents: in total, on Pyro's scale, and for each datum.

    Scales and masks count; for each datum the scale of the plate over the data is left out.

    Args:
        sites: Pairs ``(site of the guide, site of the model)``.
        plate: The plate over the data.
        divergence: The divergence of a pair, scaled and masked, for each element of its plates.

    Returns:
        A scalar, and a tensor of shape ``(…, batch)``.
    """
    totals = []
    columns = []
    for q, p in sites:
        values = divergence(q.without_scale_of(plate), p.without_scale_of(plate))
        totals.append(scaled_and_masked(values, plate.scale, None).sum())
        columns.append(rows(values, q, plate, event_dim=0))
    return sum_tensors(totals), torch.cat(columns, -1).sum(-1)
