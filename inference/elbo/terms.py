"""Terms that objectives share: the log likelihood, KL divergences, and sums over latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from ppl_disentangle.inference.elbo.latents import Latents, rows
from ppl_disentangle.sites import Site, latent_sites, observed_sites

__all__ = ["sum_tensors", "bound_terms", "elbo_terms", "kl", "log_likelihood", "total_and_by_datum"]


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
    divergences = [q.total(kl(q, p)) for q, p in sites] or [torch.zeros_like(likelihood)]
    return {"log_likelihood": likelihood, "kl": -sum_tensors(divergences)}


def kl(q: Site, p: Site) -> Tensor:
    """KL(q || p) of one latent, for each element of its plates.

    Exact where torch knows the closed form, else log q - log p at the draw.
    """
    try:
        return kl_divergence(q.fn, p.fn)
    except NotImplementedError:
        return q.log_prob() - p.log_prob()


def total_and_by_datum(
    latents: Latents, sites: Sequence[Site], values: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Sums of ``values`` over ``sites``: in total, on Pyro's scale, and for each datum.

    Args:
        latents: Latents of a batch.
        sites: Some of its sites.
        values: For each of these sites, one number for each element of its plates.

    Returns:
        A scalar, and a tensor of shape ``(…, batch)``.
    """
    total = sum_tensors([site.total(v) for site, v in zip(sites, values, strict=True)])
    columns = []
    for site, value in zip(sites, values, strict=True):
        # rows expects the shape of the site's value: give the event one element per dimension.
        with_event = value.reshape(*value.shape, *(1,) * site.fn.event_dim)
        columns.append(rows(with_event, site, latents.plate))
    by_datum = torch.cat(columns, -1).sum(-1)
    return total, by_datum if latents.mask is None else by_datum.where(latents.mask, 0.0)
