"""Compression curves: how much of the data the first latents of a story preserve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.conditions import conditions_of_model, opened, row_labels, story_batches
from ppl_disentangle.decoding import drawn_layout
from ppl_disentangle.inference.bounds.per_datum import sites_of
from ppl_disentangle.inference.elbo.terms import total_and_by_datum
from ppl_disentangle.missing import for_missing
from ppl_disentangle.observed import mean_of
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import observation_dims
from ppl_disentangle.sites import sampled_sites
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["compression_curve"]


def compression_curve(
    story: GenerativeStory,
    data: Any,
    *,
    num_samples: int = 8,
    num_images: int = 8,
    seed: int = 0,
    batch_size: int = 256,
    **conditions: Any,
) -> xr.Dataset:
    r"""Rate and distortion of a code of the first k latents, the others drawn from the prior [1].

    .. math:: R_k = \mathbb E \sum_{l \le k} \operatorname{KL}(q(z_l \mid x, z_{<l}) \,\|\, p(z_l \mid z_{<l})), \quad
       D_k = \mathbb E \lVert x - \mathbb E[x \mid z] \rVert^2 / P, \quad z_{\le k} \sim q, \; z_{>k} \sim p

    Latents are kept in the order of ``story.latents``. The model must sample them in that order,
    because later latents are drawn given the kept ones. P is the number of values of an
    observation. R_k is the number of nats that bits-back coding needs for these latents; to restore
    x exactly, it also needs the nats of the likelihood.

    Args:
        story: A story with ordered latents, such as :class:`~ppl_disentangle.models.ConvDRAW` or
            :class:`~ppl_disentangle.models.LadderVAE`.
        data: Float observations ``(num_data, *event)``, or data in any form that
            :func:`~ppl_disentangle.data.as_dataset` takes.
        num_samples: Number of draws of all latents to average over.
        num_images: Number of data to show.
        seed: Seed of the random draws. The caller's random state does not change.
        batch_size: Number of data in each pass.
        **conditions: Conditions of all data, such as ``labels``, ``(num_data, …)`` each. They win
            over those that the data carry.

    Returns:
        ``rate`` in nats per datum and ``distortion`` over ``kept``, from 0 to the number of
        latents; and ``image``, the mean of p(x | z) for one draw of the first data, over ``kept``,
        ``data`` and the dimensions of an observation.

    Raises:
        ValueError: The pair has no plate over the data, or a site is outside of it.

    References:
        [1] Gregor et al., 2016. Towards conceptual compression. https://arxiv.org/abs/1604.08772
    """
    data = opened(data)
    story = for_missing(story_of(story), data)
    nats: list[Tensor] = []
    errors: list[Tensor] = []
    images: list[Tensor] = []
    num_shown = 0
    with evaluating(story, seed=seed) as device:
        for x, given in story_batches(story, data, batch_size, device, conditions):
            for sample in range(num_samples):
                divergences, means = _one_draw(story, x, given)
                nats.append(divergences.cpu())
                errors.append((means - x).square().flatten(2).nanmean(-1).T.cpu())
                if sample == 0 and num_shown < num_images:
                    images.append(means.cpu())
                    num_shown += len(x)
    curve = _curve(torch.cat(nats), torch.cat(errors), torch.cat(images, 1)[:, :num_images])
    shown = row_labels(data)[: curve.sizes["data"]]
    return curve.assign_coords(data=shown).assign_attrs(num_samples=num_samples, seed=seed)


def _curve(nats: Tensor, errors: Tensor, images: Tensor) -> xr.Dataset:
    """Means over draws and data.

    Args:
        nats: KL of each latent, of shape ``(draw, latent)``.
        errors: Squared errors, of shape ``(draw, latent + 1)``.
        images: Observations, of shape ``(latent + 1, data, *event)``.
    """
    rate = nats.mean(0).cumsum(0)
    return xr.Dataset(
        {
            "rate": ("kept", torch.cat([rate.new_zeros(1), rate]).numpy()),
            "distortion": ("kept", errors.mean(0).numpy()),
            "image": (("kept", "data", *observation_dims(images.dim() - 2)), images.numpy()),
        },
        {"kept": range(len(rate) + 1)},
        {"units": "nats per datum, squared error per value"},
    )


def _one_draw(
    story: GenerativeStory, x: Tensor, conditions: dict[str, Any]
) -> tuple[Tensor, Tensor]:
    """The divergences and the observations for one draw from the guide.

    Returns:
        KL of each latent, of shape ``(batch, latent)``; and means of p(x | z) with the first k
        latents kept, k from 0, of shape ``(latent + 1, batch, *event)``.
    """
    sites, _, plate = sites_of(story, x, conditions)
    pairs = [sites[name] for name in story.latents]
    drawn = {q.name: q.value for q, _ in pairs}
    means = [
        _mean_given(story, drawn, num_kept, len(x), conditions)
        for num_kept in range(len(pairs) + 1)
    ]
    divergences = [total_and_by_datum([pair], plate)[1] for pair in pairs]
    return torch.stack(divergences, -1), torch.stack(means)


def _mean_given(
    story: GenerativeStory,
    values: Mapping[str, Tensor],
    num_kept: int,
    batch_size: int,
    conditions: Mapping[str, Any],
) -> Tensor:
    """The mean of p(x | z) at the first latents' values, and at draws of the others."""
    kept = dict(list(values.items())[:num_kept])
    conditioned = poutine.condition(story.model, data=kept)
    given = conditions_of_model(story, conditions)
    trace = poutine.trace(conditioned).get_trace(batch_size=batch_size, **given)
    x, layout = drawn_layout(story, trace, given)
    sites = sampled_sites(trace)
    return layout.assemble(x, {name: mean_of(sites[name]) for name in layout.names})
