"""Terms that objectives share: the log likelihood, KL divergences, and sums over latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from ppl_disentangle.inference.elbo.latents import Latents, rows
from ppl_disentangle.sites import Site, latent_sites, observed_sites


def added(values: Sequence[Tensor]) -> Tensor:
    """The sum of at least one scalar."""
    return sum(values[1:], values[0])


def log_likelihood(model_trace: Trace) -> Tensor:
    """log p(x | z) of all observed sites, on Pyro's scale."""
    sites = observed_sites(model_trace).values()
    if not sites:
        raise ValueError("the model observes nothing: pass the data to it as obs=")
    return added([site.total(site.log_prob()) for site in sites])


def elbo_terms(model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
    """Log likelihood and negative KL of all latents, the terms of the evidence lower bound, in nats."""
    return bound_terms(model_trace, latent_sites(model_trace, guide_trace))


def bound_terms(model_trace: Trace, sites: Sequence[tuple[Site, Site]]) -> dict[str, Tensor]:
    """:func:`elbo_terms` of given pairs of sites; none have no divergence."""
    likelihood = log_likelihood(model_trace)
    divergences = [q.total(kl(q, p)) for q, p in sites] or [torch.zeros_like(likelihood)]
    return {"log_likelihood": likelihood, "kl": -added(divergences)}


def kl(q: Site, p: Site) -> Tensor:
    """KL(q || p) of one latent for each element of its plates: exact, or log q - log p at the draw."""
    try:
        return kl_divergence(q.fn, p.fn)
    except NotImplementedError:
        return q.log_prob() - p.log_prob()


def total_and_by_datum(
    latents: Latents, sites: Sequence[Site], values: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """The sum of ``values`` over ``sites`` on Pyro's scale, and for each datum, of shape ``(…, batch)``.

    Args:
        latents: the latents of a batch.
        sites: some of its sites.
        values: for each of them one number for each element of its plates.
    """
    total = added([site.total(v) for site, v in zip(sites, values, strict=True)])
    with_event = (
        v.reshape(*v.shape, *(1,) * site.fn.event_dim)
        for site, v in zip(sites, values, strict=True)
    )
    columns = [rows(v, site, latents.plate) for site, v in zip(sites, with_event, strict=True)]
    by_datum = torch.cat(columns, -1).sum(-1)
    return total, by_datum if latents.mask is None else by_datum.where(latents.mask, 0.0)
