"""The bound of a fitted story, decomposed in the aggregate posterior of the whole data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import torch
import xarray as xr
from torch import Tensor

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.inference.bounds.per_datum import sites_of
from ppl_disentangle.inference.elbo.aggregate import log_mixture, pairwise_log_prob
from ppl_disentangle.inference.elbo.latents import data_mask
from ppl_disentangle.sites import Plate, Site
from ppl_disentangle.story import GenerativeStory, evaluating, story_of

__all__ = ["decompose"]


def decompose(
    story: GenerativeStory,
    data: FactorDataset | Tensor,
    *,
    num_samples: int = 16,
    seed: int = 0,
    batch_size: int = 256,
    exact_below: int = 10_000,
    num_components: int = 4096,
) -> xr.Dataset:
    r"""The parts of the evidence lower bound, in nats per datum, and their standard errors.

    .. math:: \mathbb E \log p(x \mid z)
       - \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{\text{mutual information}}
       - \underbrace{\mathbb E \log \frac{q(z)}{\prod_d q(z_d)}}_{\text{total correlation}}
       - \underbrace{\mathbb E \log \frac{\prod_d q(z_d)}{p(z)}}_{\text{dimension-wise KL}},
       \quad q(z) = \frac1N \sum_{n=1}^N q(z \mid x_n)

    z are all latents side by side; the guide must draw them independently given x, and the coordinates of a latent
    likewise. Each sample is one draw of the latents of every component of the mixture.

    Up to ``exact_below`` data every datum is a component: q(z) is exact, and the only error is that of the draws of z.
    Above, a sample has its own random ``num_components`` data, and q(z) is the symmetric estimate of
    :class:`~ppl_disentangle.inference.AggregateELBO`: unbiased, but its logarithm is too low in the mean, so
    that the mutual information is too large, and the total correlation too large or too small. The standard error
    knows of the choice of components, not of this bias; to see it, compare two values of ``num_components``.

    Args:
        story: a story.
        data: a data set, with what else the story is told of each datum; or float observations.
        num_samples: number of samples to average over, at least two.
        seed: of draws and components; the caller's random state is left alone.
        batch_size: data per pass, and per block of the mixture: memory is of the order of ``batch_size ** 2`` times
            the number of coordinates. Time is of the order of the square of the number of components, by samples and
            coordinates.
        exact_below: the largest number of data of which each is a component.
        num_components: the number of components above, at least two.

    Returns:
        ``elbo``, ``log_likelihood``, ``mutual_information``, ``total_correlation``, ``dimension_wise_kl``, the last
        three with the sign of parts of the bound, so that all four sum to ``elbo``. With several latent sites also
        ``between_groups`` and ``within_groups``, each site a group, which sum to ``total_correlation``. For each name a
        ``<name>_standard_error``, from the deviation between samples. No parameter changes.

    Raises:
        ValueError: too few samples or components, no data, latents outside of a plate over the data or masked, or a
            posterior that does not factorise over coordinates.

    References:
        [1] Chen et al., 2018. https://arxiv.org/abs/1802.04942
        [2] Esmaeili et al., 2019. https://arxiv.org/abs/1804.02086
    """
    for name, value in (("num_samples", num_samples), ("num_components", num_components)):
        if value < 2:
            raise ValueError(f"expected {name} >= 2, got {value}")
    if not len(data):
        raise ValueError("expected at least one datum, got none")
    story, num_data = story_of(story), len(data)
    exact = num_data <= max(exact_below, num_components)
    samples: list[dict[str, Tensor]] = []
    with evaluating(story, seed=seed) as device:
        for _ in range(num_samples):
            part = data if exact else _subset(data, torch.randperm(num_data)[:num_components])
            blocks = [
                _Block.of(story, x, told)
                for x, told in conditioned_batches(part, batch_size, device)
            ]
            samples.append(_decomposed(blocks, num_data))
    variables: dict[str, float] = {}
    for name in samples[0]:
        values = torch.stack([sample[name] for sample in samples])
        variables[name] = values.mean().item()
        variables[f"{name}_standard_error"] = values.std().item() / math.sqrt(num_samples)
    attributes = {
        "units": "nats per datum, signed as parts of the bound: log_likelihood, mutual_information, total_correlation"
        " and dimension_wise_kl sum to elbo",
        "estimator": "exact" if exact else "symmetric",
        "num_data": num_data,
        "num_components": num_data if exact else num_components,
        "num_samples": num_samples,
        "seed": seed,
    }
    return xr.Dataset(variables, attrs=attributes)


@dataclasses.dataclass(frozen=True)
class _Block:
    """Posteriors of a batch, a draw of each, and log densities of the draws, of shape ``(batch,)``."""

    sites: Sequence[Site]
    plate: Plate
    log_likelihood: Tensor
    given_x: Tensor
    prior: Tensor

    @classmethod
    def of(cls, story: GenerativeStory, x: Tensor, told: dict[str, Tensor]) -> _Block:
        pairs, observed, plate = sites_of(story, x, told)
        guide, model = zip(*pairs.values(), strict=True)
        if data_mask(guide, plate) is not None:
            raise ValueError(
                "expected latents without a mask: the data that q(z) is a mixture over would not be known"
            )
        densities = (
            torch.stack([s.per_datum(s.log_prob(), plate) for s in sites]).sum(0)
            for sites in (observed, guide, model)
        )
        return cls(guide, plate, *densities)

    def under(self, other: _Block, log_weights: Tensor) -> Tensor:
        """Log densities of this block's draws under the mixture of the other's posteriors.

        Of shape ``(batch, 1 + sites + dim)``: of all latents, of each site, and of each coordinate.
        """
        by_dim = [
            pairwise_log_prob(theirs, self.plate, ours.value)
            for ours, theirs in zip(self.sites, other.sites, strict=True)
        ]
        by_site = [pairs.sum(-1, keepdim=True) for pairs in by_dim]
        columns = [torch.stack(by_site).sum(0), *by_site, *by_dim]
        return torch.cat([log_mixture(pairs, log_weights) for pairs in columns], -1)


def _decomposed(blocks: Sequence[_Block], num_data: int) -> dict[str, Tensor]:
    """Means over all draws of ``blocks``, float64 scalars on the CPU."""
    num_components = sum(len(block.prior) for block in blocks)
    own = -math.log(num_data)
    other = math.log(max(1, num_data - 1) / max(1, num_components - 1)) + own
    densities = []
    for i in blocks:
        mixtures = []
        for j in blocks:
            log_weights = i.prior.new_full((len(i.prior),) * 2 if i is j else (), other)
            mixtures.append(i.under(j, log_weights.fill_diagonal_(own) if i is j else log_weights))
        densities.append(torch.stack(mixtures).logsumexp(0))
    num_sites = len(blocks[0].sites)
    columns = torch.cat(densities).double().mean(0).cpu()
    joint, groups, factored = (
        columns[0],
        columns[1 : 1 + num_sites].sum(),
        columns[1 + num_sites :].sum(),
    )
    likelihood, given_x, prior = (
        torch.cat([getattr(block, name) for block in blocks]).double().mean().cpu()
        for name in ("log_likelihood", "given_x", "prior")
    )
    parts = {
        "elbo": likelihood + prior - given_x,
        "log_likelihood": likelihood,
        "mutual_information": joint - given_x,
        "total_correlation": factored - joint,
        "dimension_wise_kl": prior - factored,
    }
    if num_sites > 1:
        parts |= {"between_groups": groups - joint, "within_groups": factored - groups}
    return parts


def _subset(data: FactorDataset | Tensor, index: Tensor) -> FactorDataset | Tensor:
    return data[index] if isinstance(data, Tensor) else data.subset(index)
