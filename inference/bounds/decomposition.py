"""The evidence lower bound of a fitted story, decomposed over a whole data set."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.conditions import opened, rows_of, story_batches
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference.bounds.per_datum import sites_of
from ppl_disentangle.inference.elbo.aggregate import log_mixture, pairwise_log_prob
from ppl_disentangle.inference.elbo.latents import is_masked
from ppl_disentangle.missing import for_missing
from ppl_disentangle.pairs import story_of
from ppl_disentangle.sites import Plate, Site
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["decompose"]

SCALE_TOLERANCE = 1e-9
"""Relative rounding error of a scale that a plate multiplied and that is divided by it again."""


def decompose(
    story: GenerativeStory,
    data: Any,
    *,
    num_samples: int = 16,
    seed: int = 0,
    batch_size: int = 256,
    exact_below: int = 10_000,
    num_components: int = 4096,
    **conditions: Any,
) -> xr.Dataset:
    r"""The parts of the evidence lower bound in nats per datum, with standard errors [1, 2].

    .. math:: \mathbb E \log p(x \mid z)
       - \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{\text{mutual information}}
       - \underbrace{\mathbb E \log \frac{q(z)}{\prod_d q(z_d)}}_{\text{total correlation}}
       - \underbrace{\mathbb E \log \frac{\prod_d q(z_d)}{p(z)}}_{\text{dimension-wise KL}},
       \quad q(z) = \frac1N \sum_{n=1}^N q(z \mid x_n)

    z are all latents side by side. The guide must draw them independently given x, and so the
    coordinates of each latent. A sample is one draw of the latents of every component of the
    mixture.

    Up to ``exact_below`` data, every datum is a component: q(z) is exact, and the only error is the
    Monte-Carlo error of the draws of z. Above, each sample uses ``num_components`` random data, and
    q(z) is the symmetric estimate of :class:`~ppl_disentangle.inference.AggregateELBO`. That
    estimate is unbiased, but its logarithm is too low on average: the mutual information is too
    large, the total correlation too large or too small. The standard error covers the choice of
    components but not this bias; compare two values of ``num_components`` to see it.

    Args:
        story: A story.
        data: Float observations ``(num_data, *event)``, or data in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes.
        num_samples: Number of samples to average over, at least two.
        seed: Seed of the draws and of the choice of components. The caller's random state does not
            change.
        batch_size: Number of data in each pass and in each block of the mixture. Memory grows with
            ``batch_size ** 2`` times the number of coordinates. Time grows with the square of the
            number of components, times samples and coordinates.
        exact_below: Largest number of data of which each is a component.
        num_components: Number of components above that number, at least two.
        **conditions: Conditions of all data, such as ``labels``, ``(num_data, …)`` each. They win
            over those that the data carry.

    Returns:
        ``elbo``, ``log_likelihood``, ``mutual_information``, ``total_correlation`` and
        ``dimension_wise_kl``, the last three negative, as parts of the bound; all four parts sum to
        ``elbo``. For several latent sites also ``between_groups`` and ``within_groups``, where each
        site is a group, which sum to ``total_correlation``. For each name there is a
        ``<name>_standard_error``, from the standard deviation between samples. No parameter
        changes.

    Raises:
        ValueError: Too few samples or components, no data, latents that are masked or outside of a
            plate over the data, or a posterior that does not factorise over coordinates.

    References:
        [1] Chen et al., 2018. https://arxiv.org/abs/1802.04942
        [2] Esmaeili et al., 2019. https://arxiv.org/abs/1804.02086
    """
    _check_at_least_two("num_samples", num_samples)
    _check_at_least_two("num_components", num_components)
    data = opened(data)
    num_data = len(data)
    if not num_data:
        raise ValueError("expected at least one datum, got none")
    story = for_missing(story_of(story), data)
    exact = num_data <= max(exact_below, num_components)
    samples: list[dict[str, Tensor]] = []
    with evaluating(story, seed=seed) as device:
        for _ in range(num_samples):
            components = data
            told = conditions
            if not exact:
                index = torch.randperm(num_data)[:num_components]
                components = _subset(data, index)
                told = rows_of(conditions, index)
            blocks = [
                _draw_block(story, x, given)
                for x, given in story_batches(story, components, batch_size, device, told)
            ]
            samples.append(_decomposed(blocks, num_data))
    attributes = {
        "units": "nats per datum, signed as parts of the bound: log_likelihood, mutual_information,"
        " total_correlation and dimension_wise_kl sum to elbo",
        "estimator": "exact" if exact else "symmetric",
        "num_data": num_data,
        "num_components": num_data if exact else num_components,
        "num_samples": num_samples,
        "seed": seed,
    }
    return xr.Dataset(_means_and_errors(samples), attrs=attributes)


def _check_at_least_two(name: str, number: int) -> None:
    if number < 2:
        raise ValueError(f"expected {name} >= 2, got {number}")


def _means_and_errors(samples: Sequence[dict[str, Tensor]]) -> dict[str, float]:
    """The mean over samples of each variable, and its standard error."""
    variables: dict[str, float] = {}
    for name in samples[0]:
        values = torch.stack([sample[name] for sample in samples])
        variables[name] = values.mean().item()
        variables[f"{name}_standard_error"] = values.std().item() / math.sqrt(len(samples))
    return variables


@dataclasses.dataclass(frozen=True)
class _Block:
    """Posteriors of a batch, one draw from each, and log densities at the draws.

    Attributes:
        sites: The guide's sites.
        plate: The plate over the data.
        log_likelihood: log p(x | z), of shape ``(batch,)``.
        posterior: log q(z | x), of shape ``(batch,)``.
        prior: log p(z), of shape ``(batch,)``.
    """

    sites: Sequence[Site]
    plate: Plate
    log_likelihood: Tensor
    posterior: Tensor
    prior: Tensor

    def under(self, other: _Block, log_weights: Tensor) -> Tensor:
        """Log densities of this block's draws under the mixture of another block's posteriors.

        Args:
            other: The block with the posteriors.
            log_weights: Logarithms of their weights, of shape ``(i, j)`` or a scalar.

        Returns:
            Shape ``(batch, 1 + sites + dim)``: densities of all latents together, of each site, and
            of each coordinate.
        """
        by_dim = [
            pairwise_log_prob(theirs, self.plate, ours.value)
            for ours, theirs in zip(self.sites, other.sites, strict=True)
        ]  # for each site (i, j, dim)
        by_site = [pairs.sum(-1, keepdim=True) for pairs in by_dim]
        columns = [torch.stack(by_site).sum(0), *by_site, *by_dim]
        return torch.cat([log_mixture(pairs, log_weights) for pairs in columns], -1)


def _draw_block(story: GenerativeStory, x: Tensor, conditions: dict[str, Any]) -> _Block:
    """One draw of the latents of a batch."""
    pairs, observed, plate = sites_of(story, x, conditions)
    guide = [q for q, _ in pairs.values()]
    model = [p for _, p in pairs.values()]
    _check_plain(guide, plate)
    return _Block(
        sites=guide,
        plate=plate,
        log_likelihood=_log_prob(observed, plate),
        posterior=_log_prob(guide, plate),
        prior=_log_prob(model, plate),
    )


def _check_plain(sites: Sequence[Site], plate: Plate) -> None:
    """Refuse latents that have no common aggregate posterior: masked, scaled or drawn at once."""
    for site in sites:
        if is_masked(site):
            raise ValueError(
                "expected latents without a mask:"
                " the data that q(z) is a mixture over would not be known"
            )
        if site.is_auxiliary:
            raise ValueError(
                f"the guide draws its latents through the auxiliary site {site.name!r}, which has no"
                " density for each latent: use AutoNormal or a guide of your own"
            )
        scale = site.without_scale_of(plate).scale
        if isinstance(scale, Tensor) or abs(scale - 1) > SCALE_TOLERANCE:
            raise ValueError(
                f"latent {site.name!r}: expected no scale beside the scale of the plate"
                f" {plate.name!r}, got {scale}; evaluate the pair without poutine.scale and with"
                " whole inner plates"
            )


def _log_prob(sites: Sequence[Site], plate: Plate) -> Tensor:
    """The sum of log densities of sites, of shape ``(batch,)``."""
    return torch.stack([s.per_datum(s.log_prob(), plate) for s in sites]).sum(0)


def _decomposed(blocks: Sequence[_Block], num_data: int) -> dict[str, Tensor]:
    """Means of the parts over all draws of ``blocks``, float64 scalars on the CPU."""
    columns = _log_aggregate(blocks, num_data).double().mean(0).cpu()
    num_sites = len(blocks[0].sites)
    joint = columns[0]
    by_site = columns[1 : 1 + num_sites].sum()
    factored = columns[1 + num_sites :].sum()
    likelihood = _mean([block.log_likelihood for block in blocks])
    posterior = _mean([block.posterior for block in blocks])
    prior = _mean([block.prior for block in blocks])
    terms = {
        "elbo": likelihood + prior - posterior,
        "log_likelihood": likelihood,
        "mutual_information": joint - posterior,
        "total_correlation": factored - joint,
        "dimension_wise_kl": prior - factored,
    }
    if num_sites > 1:
        terms["between_groups"] = by_site - joint
        terms["within_groups"] = factored - by_site
    return terms


def _log_aggregate(blocks: Sequence[_Block], num_data: int) -> Tensor:
    """Log densities of all draws under the aggregate posterior, with the columns of ``under``."""
    num_components = sum(len(block.prior) for block in blocks)
    own = -math.log(num_data)
    other = math.log(max(1, num_data - 1) / max(1, num_components - 1)) + own
    densities = []
    for drawn in blocks:
        size = len(drawn.prior)
        # In the block's own posteriors, the diagonal belongs to each datum's own posterior.
        within = drawn.prior.new_full((size, size), other).fill_diagonal_(own)
        between = drawn.prior.new_full((), other)
        mixtures = [
            drawn.under(components, within if components is drawn else between)
            for components in blocks
        ]
        densities.append(torch.stack(mixtures).logsumexp(0))
    return torch.cat(densities)


def _mean(values: Sequence[Tensor]) -> Tensor:
    return torch.cat(list(values)).double().mean().cpu()


def _subset(data: FactorDataset | Tensor, index: Tensor) -> FactorDataset | Tensor:
    return data[index] if isinstance(data, Tensor) else data.subset(index)
