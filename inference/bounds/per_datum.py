"""Bounds on log p(x) of a fitted story, for each datum."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
import xarray as xr
from pyro.distributions import Independent
from torch import Tensor

from ppl_disentangle.conditions import opened, programs, row_labels, story_batches
from ppl_disentangle.inference.elbo.divergences import kl, same_weights
from ppl_disentangle.inference.elbo.terms import total_and_by_datum
from ppl_disentangle.missing import for_missing
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import all_code_names
from ppl_disentangle.sites import (
    Plate,
    Site,
    data_plate,
    latent_sites,
    observed_sites,
    paired_traces,
)
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["elbo_per_datum", "log_marginal"]


def elbo_per_datum(
    story: GenerativeStory,
    data: Any,
    *,
    num_samples: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    **conditions: Any,
) -> xr.Dataset:
    r"""The evidence lower bound on log p(x) of every datum, unweighted, in nats.

    .. math:: \log p(x) \ge \mathbb E_{q(z \mid x)} \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    Args:
        story: A story.
        data: Float observations ``(num_data, *event)``, or data in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes.
        num_samples: Number of draws from the guide to average over.
        seed: Seed of the random draws. The caller's random state does not change.
        batch_size: Number of data in each pass.
        **conditions: Conditions of all data, such as ``labels``, ``(num_data, …)`` each. They win
            over those that the data carry.

    Returns:
        ``elbo`` and ``log_likelihood`` over ``data``, and ``kl`` over ``data`` and ``code``. A
        latent whose divergence does not split over coordinates is one code. No parameter changes.

    Raises:
        TypeError: Neither the model nor the guide takes a condition.
        ValueError: A condition is missing, the pair has no plate over the data, or a site is
            outside of it: a latent that all data share has no bound for each datum.
    """
    data = opened(data)
    story = for_missing(story_of(story), data)
    with evaluating(story, seed=seed) as device:
        batches = [
            _averaged_draws(story, x, given, num_samples)
            for x, given in story_batches(story, data, batch_size, device, conditions)
        ]
    likelihoods, divergences, names = zip(*batches, strict=True)
    likelihood = torch.cat(likelihoods)
    divergence = torch.cat(divergences)
    return xr.Dataset(
        {
            "elbo": ("data", (likelihood - divergence.sum(-1)).numpy()),
            "log_likelihood": ("data", likelihood.numpy()),
            "kl": (("data", "code"), divergence.numpy()),
        },
        {"code": list(names[-1]), "data": row_labels(data)},
        {"units": "nats per datum", "num_samples": num_samples, "seed": seed},
    )


def log_marginal(
    story: GenerativeStory,
    data: Any,
    *,
    num_samples: int = 64,
    alpha: float = 0.0,
    seed: int = 0,
    batch_size: int = 256,
    **conditions: Any,
) -> xr.Dataset:
    r"""An importance-weighted estimate of log p(x) of every datum, in nats.

    .. math:: \frac{1}{1 - \alpha} \log \frac1K \sum_{k=1}^K w_k^{1 - \alpha}, \quad
       w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    With ``alpha=0`` it is the importance-weighted bound [1]: in expectation below log p(x), never
    lower for more draws, and log p(x) in the limit; with ``num_samples=1`` the evidence lower
    bound. With another ``alpha`` it is the Monte-Carlo estimate of the variational Rényi bound [2],
    which does not rise with alpha. ``alpha=1``, the limit, is the evidence lower bound for any number of draws.
    For ``alpha < 0`` the Rényi bound is above log p(x), but its estimate rises with the number of
    draws and can be below: it is not a bound.

    Args:
        story: A story.
        data: Float observations ``(num_data, *event)``, or data in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes.
        num_samples: Number K of draws from the guide. They are made one after another; memory holds
            one number for each draw of each datum of a pass.
        alpha: Order of the Rényi bound.
        seed: Seed of the random draws. The caller's random state does not change.
        batch_size: Number of data in each pass.
        **conditions: Conditions of all data, such as ``labels``, ``(num_data, …)`` each. They win
            over those that the data carry.

    Returns:
        ``log_marginal`` and ``effective_sample_size`` over ``data``, ``mean`` and
        ``standard_error``. The effective sample size of the weights w is between 1 and K: for
        ``alpha=0`` the Monte-Carlo error of ``log_marginal`` is about
        ``sqrt(1 / effective_sample_size - 1 / K)``; near 1 the estimate is far below log p(x).
        ``mean`` is the mean of ``log_marginal`` over the data. ``standard_error`` is its error as
        an estimate for the population of the data: the standard deviation over the data divided by
        the square root of their number (NaN for a single datum). No parameter changes.

    Raises:
        ValueError: Fewer than one draw, an order that is not finite, a pair without a plate over
            the data, or a site outside of it.

    References:
        [1] Burda et al., 2016. https://arxiv.org/abs/1509.00519
        [2] Li & Turner, 2016. https://arxiv.org/abs/1602.02311
    """
    if num_samples < 1:
        raise ValueError(f"expected num_samples >= 1, got {num_samples}")
    if not math.isfinite(alpha):
        raise ValueError(f"expected a finite alpha, got {alpha}")
    data = opened(data)
    story = for_missing(story_of(story), data)
    bounds: list[Tensor] = []
    sample_sizes: list[Tensor] = []
    with evaluating(story, seed=seed) as device:
        for x, given in story_batches(story, data, batch_size, device, conditions):
            log_weights = _log_weights(story, x, given, num_samples)
            bounds.append(_renyi(log_weights, alpha))
            sample_sizes.append(_effective_sample_size(log_weights))
    bound = torch.cat(bounds)
    return xr.Dataset(
        {
            "log_marginal": ("data", bound.numpy()),
            "effective_sample_size": ("data", torch.cat(sample_sizes).numpy()),
            "mean": bound.mean().item(),
            "standard_error": _standard_error(bound),
        },
        {"data": row_labels(data)},
        {"units": "nats per datum", "num_samples": num_samples, "alpha": alpha, "seed": seed},
    )


def _standard_error(values: Tensor) -> float:
    """The standard error of a mean; NaN for a single value."""
    return (values.std() / math.sqrt(len(values))).item() if len(values) > 1 else math.nan


def _renyi(log_weights: Tensor, alpha: float) -> Tensor:
    """The estimate from log weights of shape ``(sample, batch)``, of shape ``(batch,)``."""
    if alpha == 1:
        return log_weights.mean(0)
    return (((1 - alpha) * log_weights).logsumexp(0) - math.log(len(log_weights))) / (1 - alpha)


def _effective_sample_size(log_weights: Tensor) -> Tensor:
    """(sum w) ** 2 / sum w ** 2 for log weights of shape ``(sample, batch)``."""
    return (2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp()


def _log_weights(
    story: GenerativeStory, x: Tensor, conditions: dict[str, Any], num_samples: int
) -> Tensor:
    """Log weights of several draws, of shape ``(sample, batch)``, float64 on the CPU."""
    draws = [_log_weight(story, x, conditions) for _ in range(num_samples)]
    return torch.stack(draws).cpu().double()


def _log_weight(story: GenerativeStory, x: Tensor, conditions: dict[str, Any]) -> Tensor:
    """log p(x, z) - log q(z | x) for one draw of each datum, of shape ``(batch,)``."""
    pairs, observed, plate = sites_of(story, x, conditions)
    model = [*observed, *(p for _, p in pairs.values())]
    guide = [q for q, _ in pairs.values()]
    log_p = torch.stack([site.per_datum(site.log_prob(), plate) for site in model]).sum(0)
    log_q = torch.stack([site.per_datum(site.log_prob(), plate) for site in guide]).sum(0)
    return log_p - log_q


def sites_of(
    story: GenerativeStory, x: Tensor, conditions: dict[str, Any]
) -> tuple[dict[str, tuple[Site, Site]], list[Site], Plate]:
    """The sites of one draw from the guide.

    Returns:
        Pairs ``(site of the guide, site of the model)`` of the latents by name, the observed sites,
        and the plate over the data.

    Raises:
        ValueError: The pair has no plate over the data, or a site is outside of it.
    """
    model_trace, guide_trace = paired_traces(
        *programs(story, conditions), (x,), conditions, reparameterised=False
    )
    pairs = {q.name: (q, p) for q, p in latent_sites(model_trace, guide_trace)}
    latents = [q for q, _ in pairs.values()]
    observed = list(observed_sites(model_trace).values())
    sites = [*observed, *latents]
    plate = data_plate(sites)
    if plate is None:
        raise ValueError("the bound of each datum needs a plate over the data in model and guide")
    for site in sites:
        if plate.name not in (p.name for p in site.plates):
            kind = "latent" if site.name in pairs else "observed site"
            raise ValueError(
                f"{kind} {site.name!r} is outside of the plate {plate.name!r} over the data; the"
                " bound of each datum is given such a site: fix it with poutine.condition in the"
                " model and hide it with poutine.block in the guide"
            )
    return pairs, observed, plate


def _averaged_draws(
    story: GenerativeStory, x: Tensor, conditions: dict[str, Any], num_samples: int
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """The results of :func:`_one_draw`, averaged over draws, on the CPU."""
    draws = [_one_draw(story, x, conditions) for _ in range(num_samples)]
    likelihoods, divergences, names = zip(*draws, strict=True)
    likelihood = torch.stack(likelihoods).mean(0).cpu()
    divergence = torch.stack(divergences).mean(0).cpu()
    return likelihood, divergence, names[-1]


def _one_draw(
    story: GenerativeStory, x: Tensor, conditions: dict[str, Any]
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Log likelihood and divergences for one draw from the guide.

    Returns:
        log p(x | z) of shape ``(batch,)``, KL of shape ``(batch, code)``, and names of the codes.
    """
    pairs, observed, plate = sites_of(story, x, conditions)
    likelihood = torch.stack([s.per_datum(s.log_prob(), plate) for s in observed]).sum(0)
    columns: list[Tensor] = []
    names: list[str] = []
    # Deterministic latents, such as the noise of a measured node, are not among the pairs.
    named = [latent for latent in story.latents if latent in pairs]
    for latent in dict.fromkeys([*named, *pairs]):
        q, p = pairs[latent]
        divergence = _kl_per_code(q, p, plate)
        columns.append(divergence)
        codes = all_code_names(story, {latent: q.fn})
        names += codes if len(codes) == divergence.shape[1] else [latent]
    return likelihood, torch.cat(columns, -1), tuple(names)


def _kl_per_code(q: Site, p: Site, plate: Plate) -> Tensor:
    """KL(q || p) of one latent, by coordinate where it splits, of shape ``(batch, code)``."""
    posterior = q.fn
    prior = p.fn
    while isinstance(posterior, Independent) and isinstance(prior, Independent):
        posterior = posterior.base_dist
        prior = prior.base_dist
    splits = q.fn.event_shape and not posterior.event_shape and not prior.event_shape
    if not splits or len(q.plates) > 1 or not same_weights(q, p):
        return total_and_by_datum([(q, p)], plate)[1][:, None]
    by_coordinate = kl(dataclasses.replace(q, fn=posterior), dataclasses.replace(p, fn=prior))
    weights = q.per_datum(by_coordinate.new_ones(q.fn.batch_shape), plate)[:, None]
    return (weights * by_coordinate.flatten(1)).where(weights != 0, 0.0)
