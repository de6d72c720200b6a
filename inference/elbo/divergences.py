"""Divergences of latents: closed forms where there are any, and the scales and masks of both sides."""

from __future__ import annotations

import torch
from pyro.distributions import Delta, Independent
from pyro.distributions.torch_distribution import ExpandedDistribution, MaskedDistribution
from torch import Tensor
from torch.distributions import Categorical, Distribution, OneHotCategorical, kl_divergence

from ppl_disentangle.sites import Site, scaled_and_masked, sum_rightmost

__all__ = ["closed_form_kl", "kl", "kl_total", "same_weights", "sampled_kl_total", "weighted_kl"]


def kl(q: Site, p: Site) -> Tensor:
    """KL(q || p) of one latent, for each element of its plates, unscaled and unmasked.

    Exact where there is a closed form, else log q - log p at the draw.
    """
    if isinstance(q.fn, Delta):
        return q.fn.log_density - p.log_prob()
    if q.is_auxiliary or q.source is not None or not _closed_form_applies(q.fn, p.fn):
        return q.log_prob() - p.log_prob()
    try:
        return closed_form_kl(q.fn, p.fn)
    except NotImplementedError:
        return q.log_prob() - p.log_prob()


def kl_total(q: Site, p: Site) -> Tensor:
    """The divergence of one latent, summed on Pyro's scale with the scale and mask of each side."""
    are_numbers = not (isinstance(q.scale, Tensor) or isinstance(p.scale, Tensor))
    if are_numbers and q.scale != p.scale:
        return sampled_kl_total(q, p)
    return weighted_kl(q, p).sum()


def sampled_kl_total(q: Site, p: Site) -> Tensor:
    """log q - log p at the draw, summed on Pyro's scale with the scale and mask of each side."""
    return q.total(q.log_prob()) - p.total(p.log_prob())


def weighted_kl(q: Site, p: Site) -> Tensor:
    """The divergence of one latent, scaled and masked, for each element of its plates.

    Where guide and model have equal scales and masks, it is :func:`kl` with them. Elsewhere it is
    log q - log p at the draw, each with its own, as in ``Trace_ELBO``: the model may count a latent
    more often than the guide, or not at all.
    """
    if same_weights(q, p):
        return q.weighted(kl(q, p))
    sampled = q.weighted(q.log_prob()) - p.weighted(p.log_prob())
    if not (_same_scale(q, p) or isinstance(q.scale, Tensor) or isinstance(p.scale, Tensor)):
        return sampled
    # Equal values in different tensors: a branch in Python would wait for the device.
    agree = _weights(q, sampled) == _weights(p, sampled)
    return torch.where(agree, q.weighted(kl(q, p)), sampled)


def same_weights(q: Site, p: Site) -> bool:
    """Whether two sites have one scale and one mask, without a look at the values of tensors."""
    return _same_scale(q, p) and _same_mask(q, p)


def _weights(site: Site, like: Tensor) -> Tensor:
    return site.weighted(torch.ones_like(like))


def _same_scale(q: Site, p: Site) -> bool:
    """Whether two sites have one scale, without a look at the values of tensors."""
    if isinstance(q.scale, Tensor) or isinstance(p.scale, Tensor):
        return q.scale is p.scale
    return q.scale == p.scale


def _same_mask(q: Site, p: Site) -> bool:
    """Whether two sites have one mask, without a look at the values of tensors."""
    masks = [None if site.mask is True else site.mask for site in (q, p)]
    return masks[0] is masks[1]


def _closed_form_applies(q: Distribution, p: Distribution) -> bool:
    """Whether :func:`closed_form_kl` is right: the same elements count, and q is not a point mass."""
    ours, base = _unwrapped(q)
    theirs, _ = _unwrapped(p)
    same = len(ours) == len(theirs) and all(a is b for a, b in zip(ours, theirs, strict=True))
    return same and not isinstance(base, Delta)


def _unwrapped(fn: Distribution) -> tuple[list[bool | Tensor], Distribution]:
    """The masks of the wrappers around a distribution, and the distribution inside."""
    masks: list[bool | Tensor] = []
    while isinstance(fn, Independent | MaskedDistribution | ExpandedDistribution):
        if isinstance(fn, MaskedDistribution):
            masks.append(fn._mask)
        fn = fn.base_dist
    return masks, fn


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor:
    """KL(q || p), for each element of the batch; it takes the wrappers of Pyro's distributions.

    A class without probability under both contributes nothing, neither to the value nor to the
    gradient.

    Raises:
        NotImplementedError: The divergence has no closed form.
    """
    if isinstance(q, ExpandedDistribution) or isinstance(p, ExpandedDistribution):
        shape = torch.broadcast_shapes(q.batch_shape, p.batch_shape)
        return closed_form_kl(_unexpanded(q), _unexpanded(p)).expand(shape)
    if isinstance(q, Independent) and isinstance(p, Independent):
        dims = q.reinterpreted_batch_ndims
        if dims == p.reinterpreted_batch_ndims:
            return sum_rightmost(closed_form_kl(q.base_dist, p.base_dist), dims)
    if isinstance(q, MaskedDistribution) and isinstance(p, MaskedDistribution):
        # Both leave out the same elements: see _closed_form_applies.
        return scaled_and_masked(closed_form_kl(q.base_dist, p.base_dist), 1.0, q._mask)
    classes = Categorical | OneHotCategorical
    if isinstance(q, classes) and isinstance(p, classes) and q.event_shape == p.event_shape:
        return _kl_of_classes(q.logits, q.probs, p.logits, p.probs)
    return kl_divergence(q, p)


def _unexpanded(fn: Distribution) -> Distribution:
    return fn.base_dist if isinstance(fn, ExpandedDistribution) else fn


def _kl_of_classes(q_logits: Tensor, q: Tensor, p_logits: Tensor, p: Tensor) -> Tensor:
    """KL between two sets of class probabilities, given as normalised logits and probabilities."""
    # The logarithm of a class that q excludes is -inf: leave it out before the product.
    ratio = (q_logits - p_logits).where(q > 0, 0.0)
    values = (q * ratio).masked_fill((p == 0) & (q > 0), torch.inf)
    return values.sum(-1)
