"""What the posteriors of a batch tell of the aggregate posterior q(z) = 1/N sum_n q(z | x_n)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from pyro.distributions import Normal, RelaxedOneHotCategorical, TorchDistribution
from pyro.poutine import Trace
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from ppl_disentangle._pyro_private import relaxed_value
from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents, innermost, known_num_data, rows
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.sites import PARTICLES, Plate, Site, sampled_sites

__all__ = [
    "AggregateELBO",
    "Estimator",
    "log_mixture",
    "minibatch_log_weights",
    "pairwise_log_prob",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
MAX_PAIRS = 2**24
"""Elements of ``(batch, batch, dim)`` held at once, 64 MiB of float32; above, coordinates are taken in blocks."""

Estimator = Literal["weighted", "stratified", "symmetric"]


class AggregateELBO(DecomposedELBO):
    """An objective that weighs each of a batch's draws against each of its posteriors.

    The guide must draw its latents independently given x, and the coordinates of a latent likewise; the former is
    checked in training while Pyro validates. Estimators of q(z), of the q of each group of latents and of each
    coordinate, for a batch of B = M + 1 data:

    - ``"stratified"`` [1, eq. S6]: the own posterior has weight 1/N, one other (N - M)/(NM), the rest 1/M.
      Unbiased for q(z) and for each q(z_d); their logarithms, hence the terms, are not, and a small batch can
      report a negative total correlation.
    - ``"symmetric"`` [2]: the own posterior has weight 1/N, each other (N - 1)/(NM): the mean of the former over the
      order of the batch, unbiased too and of less variance; exact where the batch is all data.
    - ``"weighted"`` [1]: every posterior has weight 1/(NB). A lower bound of q(z) in expectation; its
      total correlation is too large by about (D - 1) log N, a constant that leaves gradients alone. Do not read it
      as nats.

    A batch of one datum knows no other posterior: whatever the estimator, q(z) is then q(z | x) / N.

    Implementing one: pass the weights to ``__init__`` and build :meth:`terms` on :meth:`densities`.

    Args:
        weights: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.
        estimator: one of the above.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`; ``num_data`` is needed where the plate over
            the data does not tell how many data a batch stands for.

    References:
        [1] Chen et al., 2018. https://arxiv.org/abs/1802.04942
        [2] Esmaeili et al., 2019. https://arxiv.org/abs/1804.02086
    """

    def __init__(
        self, weights: Mapping[str, Weight], *, estimator: Estimator, **options: Any
    ) -> None:
        if estimator not in get_args(Estimator):
            raise ValueError(
                f"expected estimator {_one_of(get_args(Estimator))}, got {estimator!r}"
            )
        super().__init__(weights, **options)
        self.estimator: Estimator = estimator
        self._log_weights: tuple[tuple[Any, ...], Tensor] | None = None

    def extra_repr(self) -> str:
        """The weights and the estimator, for checkpoints and tables."""
        return f"{super().extra_repr()}, estimator={self.estimator!r}"

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Refuse a guide whose latents depend on each other."""
        check_independent(list(sampled_sites(guide_trace).values()))

    def densities(
        self, latents: Latents, groups: Sequence[Sequence[Site]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """log q(z_i), sum_group log q(z_i,group) and sum_dim log q(z_i,dim), each of shape ``(…, batch)``.

        Args:
            latents: the latents of a batch.
            groups: its sites, in groups.
        """
        log_weights = self._weights_of(latents)
        joint, by_group, by_dim = [], [], []
        for sites in groups:
            pairs, factored = zip(
                *(joint_and_factored(s, latents.plate, log_weights) for s in sites), strict=True
            )
            joint.append(sum(pairs[1:], pairs[0]))
            by_dim.append(sum(factored[1:], factored[0]))
        if len(groups) > 1:
            by_group = [
                log_mixture(pairs.unsqueeze(-1), log_weights).squeeze(-1) for pairs in joint
            ]
        log_q = log_mixture(sum(joint[1:], joint[0]).unsqueeze(-1), log_weights).squeeze(-1)
        return (
            log_q,
            sum(by_group[1:], by_group[0]) if by_group else log_q,
            sum(by_dim[1:], by_dim[0]),
        )

    def _weights_of(self, latents: Latents) -> Tensor:
        """:func:`minibatch_log_weights`, a scalar where all are equal; kept while nothing is masked."""
        plate, like = latents.plate, latents.sites[0].value
        num_data = known_num_data(plate, self.num_data)
        if latents.mask is not None:
            return minibatch_log_weights(
                plate.size, num_data, self.estimator, like=like, mask=latents.mask
            )
        key = (plate.size, num_data, like.dtype, like.device)
        if self._log_weights is None or self._log_weights[0] != key:
            weights = minibatch_log_weights(plate.size, num_data, self.estimator, like=like)
            self._log_weights = key, weights[0, 0] if self.estimator == "weighted" else weights
        return self._log_weights[1]


def check_independent(sites: Sequence[Site]) -> None:
    """Refuse latents whose posterior depends on what was drawn for another; under ``no_grad`` nothing is known of it.

    Raises:
        ValueError: there is such a latent.
    """
    for site in sites:
        others = [other for other in sites if other is not site and other.value.requires_grad]
        density = site.fn.log_prob(site.value.detach()).sum()
        if not (others and density.requires_grad):
            continue
        values = [other.value for other in others]
        gradients = torch.autograd.grad(density, values, retain_graph=True, allow_unused=True)
        above = [
            other.name
            for other, gradient in zip(others, gradients, strict=True)
            if gradient is not None
        ]
        if above:
            raise ValueError(
                f"latent {site.name!r}: its posterior depends on what was drawn for {above}, but this objective's"
                " estimate of q(z) needs a guide that draws its latents independently given x; use FactorELBO, or a"
                " structural story with posterior='noise'"
            )


def _one_of(names: Sequence[str]) -> str:
    return f"{', '.join(map(repr, names[:-1]))} or {names[-1]!r}"


def minibatch_log_weights(
    batch_size: int,
    num_data: int,
    estimator: Estimator,
    *,
    like: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Logarithms of the weights that a batch's posteriors have in q(z_i), of shape ``(i, j)`` as ``(batch, batch)``.

    On the device and of the dtype of ``like``. Masked data have weight zero and are not counted.
    """
    valid = torch.ones(batch_size, dtype=torch.bool, device=like.device) if mask is None else mask
    count = valid.sum().clamp(min=1)
    if estimator == "weighted":
        weights = (1 / (num_data * count.to(like.dtype))).expand(batch_size, batch_size)
    else:
        rank = valid.cumsum(0) - 1
        ahead = (
            rank[None, :] - rank[:, None]
        ) % count  # (i, j): 0 is the own posterior, 1 the odd one out
        others = (count - 1).to(like.dtype)
        if estimator == "symmetric":
            other = (num_data - 1) / (num_data * others)
        else:
            odd = (num_data - others) / (num_data * others)
            other = torch.where(ahead == 1, odd, 1 / others)
        weights = torch.where(ahead == 0, 1 / num_data, other)
    return weights.where(valid, 0.0).log()


def log_mixture(pairs: Tensor, log_weights: Tensor) -> Tensor:
    """log sum_j w_ij exp(pairs_ijd), of shape ``(…, i, dim)``; weights of shape ``(i, j)`` or a scalar."""
    if log_weights.dim() == 0:
        return pairs.logsumexp(-2) + log_weights
    return (pairs + log_weights[..., None]).logsumexp(-2)


def normal_pairs(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(z_i,dim; loc_j,dim, scale_j,dim) of shape ``(…, i, j, dim)`` from rows of shape ``(…, batch, dim)``.

    In memory j is innermost, the dimension that :func:`log_mixture` sums over, which is faster.
    """
    z, loc, scale = (t.mT.contiguous() for t in (z, loc, scale))
    z, loc, scale = (
        z.unsqueeze(-1),
        loc.unsqueeze(-2),
        scale.unsqueeze(-2),
    )  # (…, dim, i, 1) and (…, dim, 1, j)
    standard = (z - loc) * scale.reciprocal()
    return torch.addcmul(-scale.log() - HALF_LOG_2PI, standard, standard, value=-0.5).movedim(
        -3, -1
    )


def pairwise_log_prob(site: Site, plate: Plate, value: Tensor | None = None) -> Tensor:
    """log q(z_i,dim | x_j) of each draw under each posterior of the batch, of shape ``(…, i, j, dim)``.

    A one-hot latent is one column.

    Args:
        site: the guide's site.
        plate: the plate over the data.
        value: draws, as many as you like; by default the site's own.

    Raises:
        ValueError: the posterior of one datum does not factorise over its coordinates.
    """
    base = factor(site)
    z = site.value if value is None else value
    if isinstance(base, Normal):
        loc, scale = (rows(t.expand(site.value.shape), site, plate) for t in (base.loc, base.scale))
        return normal_pairs(rows(z, site, plate), loc, scale)
    z = relaxed_value(base, z)
    data = z.dim() - site.fn.event_dim + plate.dim  # position of the plate
    draws = z.movedim(data, 0).unsqueeze(data + 1)  # (i, …, 1, …)
    pairs = base.log_prob(draws).movedim(data + 1, 1)
    if any(p.name == PARTICLES for p in site.plates):
        pairs = pairs.movedim(2, 0)
        return pairs.reshape(*pairs.shape[:3], math.prod(pairs.shape[3:]))
    return pairs.reshape(*pairs.shape[:2], math.prod(pairs.shape[2:]))


def factor(site: Site) -> TorchDistribution:
    """The distribution of one coordinate of a latent given x."""
    base = innermost(site.fn)
    if base.event_dim and not (
        base.has_enumerate_support or isinstance(base, RelaxedOneHotCategorical)
    ):
        raise ValueError(
            f"latent {site.name!r}: the aggregate posterior needs a posterior that factorises over its coordinates,"
            f" got {type(base).__name__}"
        )
    return base


def joint_and_factored(site: Site, plate: Plate, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """log q(z_i | x_j) of shape ``(…, i, j)``, and sum_dim log q(z_i,dim) of shape ``(…, i)``, of one latent.

    Where ``batch * batch * dim`` exceeds :data:`MAX_PAIRS`, the coordinates of a normal latent are taken in blocks that
    are computed again in the backward pass, so that memory stays within a multiple of it.
    """
    base = factor(site)
    if site.value.numel() * plate.size <= MAX_PAIRS or not isinstance(base, Normal):
        return _joint_and_factored(pairwise_log_prob(site, plate), log_weights)
    z, loc, scale = (
        rows(t.expand(site.value.shape), site, plate) for t in (site.value, base.loc, base.scale)
    )
    size = max(1, MAX_PAIRS * z.shape[-1] // (z.numel() * plate.size))
    joint, factored = z.new_zeros(()), z.new_zeros(())
    for block in zip(z.split(size, -1), loc.split(size, -1), scale.split(size, -1), strict=True):
        parts = checkpoint(
            _normal_block, *block, log_weights, use_reentrant=False, preserve_rng_state=False
        )
        joint, factored = joint + parts[0], factored + parts[1]
    return joint, factored


def _normal_block(
    z: Tensor, loc: Tensor, scale: Tensor, log_weights: Tensor
) -> tuple[Tensor, Tensor]:
    return _joint_and_factored(normal_pairs(z, loc, scale), log_weights)


def _joint_and_factored(pairs: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    return pairs.sum(-1), log_mixture(pairs, log_weights).sum(-1)
