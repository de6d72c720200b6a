"""The evidence lower bound of a fitted story, datum by datum."""

from __future__ import annotations

import torch
import xarray as xr
from pyro.distributions import Independent
from torch import Tensor
from torch.distributions import kl_divergence

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference.beta import kl
from ppl_disentangle.representation import evaluating, float_batches, site_codes
from ppl_disentangle.sites import Plate, Site, data_plate, latent_sites, observed_sites, paired_traces
from ppl_disentangle.story import GenerativeStory, story_of

__all__ = ["evidence"]


def evidence(
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
        data: a data set, or float observations.
        num_samples: draws from the guide to average over.
        seed: of the draws; the caller's random state is left alone.
        batch_size: data per pass.

    Returns:
        ``elbo`` and ``log_likelihood`` over ``data``, and ``kl`` over ``data`` and ``code``, a latent whose
        divergence does not split over coordinates being one code. No parameter changes.
    """
    story = story_of(story)
    parts: list[tuple[Tensor, Tensor]] = []
    names: tuple[str, ...] = ()
    with evaluating(story, seed=seed) as device:
        for x in float_batches(data, batch_size, device):
            draws = []
            for _ in range(num_samples):
                likelihood, divergence, names = _parts(story, x)
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


def _parts(story: GenerativeStory, x: Tensor) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """log p(x | z) of shape ``(batch,)``, KL of shape ``(batch, code)``, and names of the codes."""
    model_trace, guide_trace = paired_traces(story.model, story.guide, (x,), {})
    sites = {q.name: (q, p) for q, p in latent_sites(model_trace, guide_trace)}
    observed = observed_sites(model_trace).values()
    plate = data_plate([*observed, *(q for q, _ in sites.values())])
    if plate is None:
        raise ValueError("the bound of each datum needs a plate over the data in model and guide")
    likelihood = torch.stack([s.per_datum(s.log_prob(), plate) for s in observed]).sum(0)
    columns: list[Tensor] = []
    names: list[str] = []
    for name in story.latents:
        column = _kl_per_code(*sites[name], plate)
        columns.append(column)
        split = site_codes(story, {name: sites[name][0]})
        names += split if len(split) == column.shape[1] else [name]
    return likelihood, torch.cat(columns, -1), tuple(names)


def _kl_per_code(q: Site, p: Site, plate: Plate) -> Tensor:
    """KL(q || p) of one latent, coordinate by coordinate where it splits, of shape ``(batch, code)``."""
    left, right = q.fn, p.fn
    while isinstance(left, Independent) and isinstance(right, Independent):
        left, right = left.base_dist, right.base_dist
    if left.event_shape or len(q.plates) > 1 or q.mask not in (None, True) or not q.fn.event_shape:
        return q.per_datum(kl(q, p), plate)[:, None]
    try:
        return kl_divergence(left, right).flatten(1)
    except NotImplementedError:
        return (left.log_prob(q.value) - right.log_prob(q.value)).flatten(1)
