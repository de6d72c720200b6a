"""Bounds on log p(x) of a fitted story, datum by datum."""

from __future__ import annotations

import math

import torch
import xarray as xr
from pyro.distributions import Independent
from torch import Tensor
from torch.distributions import kl_divergence

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.inference.elbo.terms import kl
from ppl_disentangle.representation import all_code_names
from ppl_disentangle.sites import (
    Plate,
    Site,
    data_plate,
    latent_sites,
    observed_sites,
    paired_traces,
)
from ppl_disentangle.story import GenerativeStory, evaluating, story_of

__all__ = ["elbo_per_datum", "log_marginal"]


def elbo_per_datum(
    story: GenerativeStory,
    data: FactorDataset | Tensor,
    *,
    num_samples: int = 1,
    seed: int = 0,
    batch_size: int = 256,
) -> xr.Dataset:
    r"""The unweighted bound on log p(x), in nats, of every datum.

    .. math:: \log p(x) \ge \mathbb E_{q(z \mid x)} \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    Args:
        story: a story.
        data: a data set, with what else the story is told of each datum; or float observations.
        num_samples: draws from the guide to average over.
        seed: of the draws; the caller's random state is left alone.
        batch_size: data per pass.

    Returns:
        ``elbo`` and ``log_likelihood`` over ``data``, and ``kl`` over ``data`` and ``code``, a latent whose
        divergence does not split over coordinates being one code. No parameter changes.

    Raises:
        ValueError: no plate over the data, or a site outside of it: a latent of all data has no bound of each.
    """
    story = story_of(story)
    parts: list[tuple[Tensor, Tensor]] = []
    names: tuple[str, ...] = ()
    with evaluating(story, seed=seed) as device:
        for x, told in conditioned_batches(data, batch_size, device):
            draws = []
            for _ in range(num_samples):
                likelihood, divergence, names = _parts(story, x, told)
                draws.append((likelihood, divergence))
            parts.append(tuple(torch.stack(d).mean(0).cpu() for d in zip(*draws, strict=True)))  # type: ignore[arg-type]
    likelihood, divergence = (torch.cat(p) for p in zip(*parts, strict=True))
    return xr.Dataset(
        {
            "elbo": ("data", (likelihood - divergence.sum(-1)).numpy()),
            "log_likelihood": ("data", likelihood.numpy()),
            "kl": (("data", "code"), divergence.numpy()),
        },
        {"code": list(names)},
        {"units": "nats per datum", "num_samples": num_samples, "seed": seed},
    )


def log_marginal(
    story: GenerativeStory,
    data: FactorDataset | Tensor,
    *,
    num_samples: int = 64,
    alpha: float = 0.0,
    seed: int = 0,
    batch_size: int = 256,
) -> xr.Dataset:
    r"""An estimate of log p(x), in nats, of every datum, by importance weights.

    .. math:: \frac{1}{1 - \alpha} \log \frac1K \sum_{k=1}^K w_k^{1 - \alpha}, \quad
       w_k = \frac{p(x, z_k)}{q(z_k \mid x)}, \quad z_k \sim q(z \mid x)

    With ``alpha=0`` it is the importance-weighted bound [1]: in expectation below log p(x), not less for more draws,
    and log p(x) in the limit; at ``num_samples=1`` the evidence lower bound. With another ``alpha`` it is the
    Monte-Carlo estimate of the variational Rényi bound [2], which does not rise with alpha: ``alpha=1``, the limit, is
    the evidence lower bound for any number of draws. For ``alpha < 0`` the Rényi bound is above log p(x), but the
    estimate of it rises with the number of draws and can be below: it bounds nothing.

    Args:
        story: a story.
        data: a data set, with what else the story is told of each datum; or float observations.
        num_samples: draws from the guide, K. They are made one after another; memory holds one number of each draw of
            each datum of a pass.
        alpha: the order.
        seed: of the draws; the caller's random state is left alone.
        batch_size: data per pass.

    Returns:
        ``log_marginal`` over ``data``; ``effective_sample_size`` over ``data``, of the weights w, between 1 and K: for
        ``alpha=0`` the Monte-Carlo error of ``log_marginal`` is about ``sqrt(1 / effective_sample_size - 1 / K)``, and
        a size near 1 says that the estimate is far below log p(x). ``mean`` of ``log_marginal`` over the data, and
        its ``standard_error`` as an estimate for what the data are a sample of: the deviation over the data, by the
        square root of their number (NaN for a single datum). No parameter changes.

    Raises:
        ValueError: fewer than one draw, an order that is not finite, no plate over the data, or a site outside of it.

    References:
        [1] Burda et al., 2016. https://arxiv.org/abs/1509.00519
        [2] Li & Turner, 2016. https://arxiv.org/abs/1602.02311
    """
    if num_samples < 1:
        raise ValueError(f"expected num_samples >= 1, got {num_samples}")
    if not math.isfinite(alpha):
        raise ValueError(f"expected a finite alpha, got {alpha}")
    story = story_of(story)
    bounds, sizes = [], []
    with evaluating(story, seed=seed) as device:
        for x, told in conditioned_batches(data, batch_size, device):
            log_weights = (
                torch.stack([_log_weight(story, x, told) for _ in range(num_samples)])
                .cpu()
                .double()
            )
            bounds.append(_renyi(log_weights, alpha))
            sizes.append((2 * log_weights.logsumexp(0) - (2 * log_weights).logsumexp(0)).exp())
    bound = torch.cat(bounds)
    error = bound.std() / math.sqrt(len(bound)) if len(bound) > 1 else bound.new_tensor(math.nan)
    return xr.Dataset(
        {
            "log_marginal": ("data", bound.numpy()),
            "effective_sample_size": ("data", torch.cat(sizes).numpy()),
            "mean": bound.mean().item(),
            "standard_error": error.item(),
        },
        attrs={"units": "nats per datum", "num_samples": num_samples, "alpha": alpha, "seed": seed},
    )


def _renyi(log_weights: Tensor, alpha: float) -> Tensor:
    """The estimate from log weights of shape ``(sample, batch)``, of shape ``(batch,)``."""
    if alpha == 1:
        return log_weights.mean(0)
    return (((1 - alpha) * log_weights).logsumexp(0) - math.log(len(log_weights))) / (1 - alpha)


def _log_weight(story: GenerativeStory, x: Tensor, told: dict[str, Tensor]) -> Tensor:
    """log p(x, z) - log q(z | x) of one draw of each datum, of shape ``(batch,)``."""
    sites, observed, plate = sites_of(story, x, told)
    joint = [s.per_datum(s.log_prob(), plate) for s in (*observed, *(p for _, p in sites.values()))]
    return torch.stack(joint).sum(0) - torch.stack(
        [q.per_datum(q.log_prob(), plate) for q, _ in sites.values()]
    ).sum(0)


def sites_of(
    story: GenerativeStory, x: Tensor, told: dict[str, Tensor]
) -> tuple[dict[str, tuple[Site, Site]], list[Site], Plate]:
    """Latents by name, of guide and model, what is observed, and the plate over the data, of one draw."""
    model_trace, guide_trace = paired_traces(
        story.model, story.guide, (x,), told, reparameterised=False
    )
    sites = {q.name: (q, p) for q, p in latent_sites(model_trace, guide_trace)}
    observed = list(observed_sites(model_trace).values())
    plate = data_plate([*observed, *(q for q, _ in sites.values())])
    if plate is None:
        raise ValueError("the bound of each datum needs a plate over the data in model and guide")
    for site in (*(q for q, _ in sites.values()), *observed):
        if plate.name not in (p.name for p in site.plates):
            kind = "latent" if site.name in sites else "observed site"
            raise ValueError(
                f"{kind} {site.name!r} is outside of the plate {plate.name!r} over the data"
            )
    return sites, observed, plate


def _parts(
    story: GenerativeStory, x: Tensor, told: dict[str, Tensor]
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """log p(x | z) of shape ``(batch,)``, KL of shape ``(batch, code)``, and names of the codes."""
    sites, observed, plate = sites_of(story, x, told)
    likelihood = torch.stack([s.per_datum(s.log_prob(), plate) for s in observed]).sum(0)
    columns: list[Tensor] = []
    names: list[str] = []
    for name in (
        latent for latent in story.latents if latent in sites
    ):  # the noise of a measured node follows from it
        column = _kl_per_code(*sites[name], plate)
        columns.append(column)
        split = all_code_names(story, {name: sites[name][0].fn})
        names += split if len(split) == column.shape[1] else [name]
    return likelihood, torch.cat(columns, -1), tuple(names)


def _kl_per_code(q: Site, p: Site, plate: Plate) -> Tensor:
    """KL(q || p) of one latent, coordinate by coordinate where it splits, of shape ``(batch, code)``."""
    left, right = q.fn, p.fn
    while isinstance(left, Independent) and isinstance(right, Independent):
        left, right = left.base_dist, right.base_dist
    if left.event_shape or len(q.plates) > 1 or q.mask is not None or not q.fn.event_shape:
        return q.per_datum(kl(q, p), plate)[:, None]
    try:
        return kl_divergence(left, right).flatten(1)
    except NotImplementedError:
        return (left.log_prob(q.value) - right.log_prob(q.value)).flatten(1)
