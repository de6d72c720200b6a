"""What remains of data when only the first of a story's latents are kept."""

from __future__ import annotations

import torch
import xarray as xr
from pyro import poutine
from torch import Tensor

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.batches import conditioned_batches
from ppl_disentangle.inference.bounds.per_datum import sites_of
from ppl_disentangle.inference.elbo.terms import kl
from ppl_disentangle.representation import observation_dims
from ppl_disentangle.sites import returned_site
from ppl_disentangle.story import GenerativeStory, evaluating, story_of

__all__ = ["compression_curve"]


def compression_curve(
    story: GenerativeStory,
    data: FactorDataset | Tensor,
    *,
    num_samples: int = 8,
    num_images: int = 8,
    seed: int = 0,
    batch_size: int = 256,
) -> xr.Dataset:
    r"""Rate and distortion of a code of the first k latents, the others being drawn anew [1].

    .. math:: R_k = \mathbb E \sum_{l \le k} \operatorname{KL}(q(z_l \mid x, z_{<l}) \,\|\, p(z_l \mid z_{<l})), \quad
       D_k = \mathbb E \lVert x - \mathbb E[x \mid z] \rVert^2 / P, \quad z_{\le k} \sim q, \; z_{>k} \sim p

    Latents are kept in the order of ``story.latents``, which has to be that of the story: what comes later is drawn
    given what is kept. P is the number of values of an observation. R_k are the nats that bits-back coding takes for
    these latents; to restore x takes the likelihood's as well.

    Args:
        story: a story with latents in an order, such as :class:`~ppl_disentangle.models.ConvDRAW` and
            :class:`~ppl_disentangle.models.LadderVAE`.
        data: a data set, with what else the story is told of each datum; or float observations.
        num_samples: draws of all latents to average over.
        num_images: data to show.
        seed: of the draws; the caller's random state is left alone.
        batch_size: data per pass.

    Returns:
        ``rate`` in nats per datum and ``distortion`` over ``kept``, 0 to the number of latents, and ``image``, the mean
        of p(x | z) of one draw of the first data, over ``kept``, ``data`` and the observation's own dimensions.

    Raises:
        ValueError: no plate over the data, or a site outside of it.

    References:
        [1] Gregor et al., 2016. Towards conceptual compression. https://arxiv.org/abs/1604.08772
    """
    story = story_of(story)
    nats: list[Tensor] = []
    errors: list[Tensor] = []
    images: list[Tensor] = []
    with evaluating(story, seed=seed) as device:
        for x, told in conditioned_batches(data, batch_size, device):
            for sample in range(num_samples):
                sites, _, plate = sites_of(story, x, told)
                kept = {name: sites[name] for name in story.latents}
                held = {name: q.value for name, (q, _) in kept.items()}
                drawn = torch.stack([_drawn(story, held, k, x, told) for k in range(len(kept) + 1)])
                nats.append(
                    torch.stack([q.per_datum(kl(q, p), plate) for q, p in kept.values()], -1).cpu()
                )
                errors.append((drawn - x).square().flatten(2).mean(-1).T.cpu())
                if not sample and sum(i.shape[1] for i in images) < num_images:
                    images.append(drawn.cpu())
    rate = torch.cat(nats).mean(0).cumsum(0)
    shown = torch.cat(images, 1)[:, :num_images]
    return xr.Dataset(
        {
            "rate": ("kept", torch.cat([rate.new_zeros(1), rate]).numpy()),
            "distortion": ("kept", torch.cat(errors).mean(0).numpy()),
            "image": (("kept", "data", *observation_dims(shown.dim() - 2)), shown.numpy()),
        },
        {"kept": range(len(rate) + 1)},
        {
            "units": "nats per datum, squared error per value",
            "num_samples": num_samples,
            "seed": seed,
        },
    )


def _drawn(
    story: GenerativeStory, values: dict[str, Tensor], kept: int, x: Tensor, told: dict[str, Tensor]
) -> Tensor:
    """The mean of p(x | z) at the first latents' values, and at draws of the others."""
    held = dict(list(values.items())[:kept])
    trace = poutine.trace(poutine.condition(story.model, data=held)).get_trace(
        batch_size=len(x), **told
    )
    return returned_site(trace).fn.mean
