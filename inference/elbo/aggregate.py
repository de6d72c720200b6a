"""Estimates of the aggregate posterior q(z) = 1/N sum_n q(z | x_n) from a batch."""

from __future__ import annotations

import dataclasses
import itertools
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
from ppl_disentangle.inference.elbo.latents import (
    Latents,
    common_scale,
    known_num_data,
    pairs_by_plate,
    present_columns,
    rows,
    simplified,
)
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import sum_tensors
from ppl_disentangle.sites import PARTICLES, Plate, Site

__all__ = [
    "AggregateELBO",
    "Estimator",
    "check_independent",
    "coordinate_distribution",
    "joint_and_factored",
    "log_mixture",
    "minibatch_log_weights",
    "pairwise_log_prob",
]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)
MAX_PAIRS = 2**24
"""Elements of ``(batch, batch, dim)`` held at once: 64 MiB of float32. More are split in blocks."""

Estimator = Literal["weighted", "stratified", "symmetric"]


class AggregateELBO(DecomposedELBO):
    """An objective that scores each draw of a batch under each of its posteriors. Abstract.

    The guide must draw its latents independently given x, and so the coordinates of each latent.
    The former is checked during training while Pyro's validation is on. Estimators of q(z), also
    for groups of latents and for single coordinates, for a batch of B = M + 1 data:

    - ``"stratified"`` [1, eq. S6]: the datum's own posterior has weight 1/N, one other
      (N - M)/(NM), the rest 1/M. Unbiased for q(z) and for each q(z_d). Their logarithms, and
      therefore the terms, are biased; a small batch can report a negative total correlation.
    - ``"symmetric"`` [2]: the datum's own posterior has weight 1/N, each other (N - 1)/(NM). This
      is the mean of the stratified estimate over the order of the batch: also unbiased, with less
      variance, and exact if the batch is the whole data set.
    - ``"weighted"`` [1]: every posterior has weight 1/(NB). In expectation a lower bound on q(z).
      The total correlation is too large by about (D - 1) log N, a constant that does not affect
      gradients. Do not read it as nats.

    A batch of one datum has one posterior: every estimate of q(z) is then q(z | x) / N.

    Implementing one: pass the weights to ``__init__``, and define :meth:`terms` with
    :meth:`densities`.

    Args:
        weights: Weights of the terms, as for :class:`~ppl_disentangle.inference.DecomposedELBO`.
        estimator: Name of one of the estimators above.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.
            ``num_data`` is required if the plate over the data has only the size of the batch.

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
        self._cached_log_weights: tuple[tuple[Any, ...], Tensor] | None = None

    def extra_repr(self) -> str:
        """The weights and the estimator, for checkpoints and tables."""
        return f"{super().extra_repr()}, estimator={self.estimator!r}"

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Refuse a guide whose latents depend on each other."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        check_independent([q for q, _ in pairs.local])

    def densities(
        self, latents: Latents, groups: Sequence[Sequence[Site]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Estimates of log q(z_i), sum_group log q(z_i,group) and sum_dim log q(z_i,dim).

        A coordinate that is masked for datum i has no density there; the estimates of q for datum i
        are then over the data that have all of its coordinates.

        Args:
            latents: Latents of a batch.
            groups: Its sites, in groups.

        Returns:
            Three totals on Pyro's scale.
        """
        values = self._masked_densities if latents.mask is not None else self._plain_densities
        scale = common_scale(latents)
        joint, by_group, by_dim = map(latents.total, values(latents, groups))
        if isinstance(scale, float) and scale == 1:
            return joint, by_group, by_dim
        return scale * joint, scale * by_group, scale * by_dim

    def _plain_densities(
        self, latents: Latents, groups: Sequence[Sequence[Site]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The estimates for each datum, of shape ``(…, batch)``, where no coordinate is masked."""
        log_weights = self._weights_of(latents)
        pairs_by_group: list[Tensor] = []  # (…, i, j): log q(z_i,group | x_j)
        by_dim: list[Tensor] = []
        for sites in groups:
            densities = [joint_and_factored(s, latents.plate, log_weights) for s in sites]
            pairs_by_group.append(sum_tensors([pairs for pairs, _ in densities]))
            by_dim.append(sum_tensors([factored for _, factored in densities]))
        by_group = []
        if len(groups) > 1:
            by_group = [_log_mixture_of_pairs(pairs, log_weights) for pairs in pairs_by_group]
        log_q = _log_mixture_of_pairs(sum_tensors(pairs_by_group), log_weights)
        # One group is the joint density: no need to compute it twice.
        return log_q, sum_tensors(by_group) if by_group else log_q, sum_tensors(by_dim)

    def _masked_densities(
        self, latents: Latents, groups: Sequence[Sequence[Site]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The estimates for each datum, of shape ``(…, batch)``, where coordinates are masked."""
        num_data = known_num_data(latents.plate, self.num_data)
        columns: list[list[MaskedColumns]] = []
        for sites in groups:
            columns.append([masked_columns(site, latents.plate) for site in sites])

        def log_mixture_of(chosen: Sequence[MaskedColumns]) -> Tensor:
            return _masked_log_mixture(chosen, num_data, self.estimator)

        by_group = [log_mixture_of(group) for group in columns]
        every = list(itertools.chain(*columns))
        log_q = log_mixture_of(every)
        by_dim = [log_mixture_of([single]) for one in every for single in one.split()]
        return log_q, sum_tensors(by_group), sum_tensors(by_dim)

    def _weights_of(self, latents: Latents) -> Tensor:
        """Logarithms of the weights, a scalar if all are equal; cached."""
        plate = latents.plate
        like = latents.sites[0].value
        num_data = known_num_data(plate, self.num_data)
        key = (plate.size, num_data, like.dtype, like.device)
        if self._cached_log_weights is None or self._cached_log_weights[0] != key:
            weights = minibatch_log_weights(plate.size, num_data, self.estimator, like=like)
            if self.estimator == "weighted":
                weights = weights[0, 0]
            self._cached_log_weights = (key, weights)
        return self._cached_log_weights[1]


def check_independent(sites: Sequence[Site]) -> None:
    """Refuse latents whose posterior depends on the draw of another latent.

    The dependence is read from autograd's graph, so nothing is checked under ``no_grad``.

    Raises:
        ValueError: A latent depends on another one.
    """
    for site in sites:
        others = [other for other in sites if other is not site and other.value.requires_grad]
        density = site.fn.log_prob(site.value.detach()).sum()
        if not (others and density.requires_grad):
            continue
        values = [other.value for other in others]
        gradients = torch.autograd.grad(density, values, retain_graph=True, allow_unused=True)
        parents = [
            other.name
            for other, gradient in zip(others, gradients, strict=True)
            if gradient is not None
        ]
        if parents:
            raise ValueError(
                f"latent {site.name!r}: its posterior depends on the draws of {parents}, but this"
                " objective's estimate of q(z) needs a guide that draws its latents independently"
                " given x; use FactorELBO, or a structural story with posterior='noise'"
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
    """Logarithms of the weights of a batch's posteriors in the estimate of q(z_i).

    Args:
        batch_size: Number of data in the batch.
        num_data: Number of data that the batch was drawn from.
        estimator: Name of an estimator of :class:`AggregateELBO`.
        like: A tensor with the device and the dtype of the result.
        mask: Which data count, bool of shape ``(batch,)``, or ``(…, i, j)`` where other data count
            for each i; the others have weight zero. By default all count. If the batch is the whole
            data set, the data that count are known, and the weights are of a mixture over them.

    Returns:
        A tensor of shape ``(…, i, j)``: the weight of the posterior of x_j in q(z_i).
    """
    valid = torch.ones(batch_size, dtype=torch.bool, device=like.device) if mask is None else mask
    valid = valid.expand(*valid.shape[:-2], batch_size, batch_size)
    count = valid.sum(-1, keepdim=True).clamp(min=1)  # (…, i, 1)
    total = count.to(like.dtype) if mask is not None and num_data == batch_size else num_data
    if estimator == "weighted":
        weights = (1 / (total * count.to(like.dtype))).expand(valid.shape)
        return weights.where(valid, 0.0).log()
    ahead = _steps_ahead(valid, count)
    num_others = (count - 1).to(like.dtype)
    other = _weights_of_others(ahead, num_others, total, estimator)
    weights = torch.where(ahead == 0, 1 / total, other)
    return weights.where(valid, 0.0).log()


def _steps_ahead(valid: Tensor, count: Tensor) -> Tensor:
    """How far j comes after i in the batch, in a circle, of shape ``(…, i, j)``; 0 for i itself."""
    rank = valid.cumsum(-1) - 1
    return (rank - rank.diagonal(dim1=-2, dim2=-1).unsqueeze(-1)) % count


def _weights_of_others(
    ahead: Tensor, num_others: Tensor, num_data: float | Tensor, estimator: Estimator
) -> Tensor:
    """Weights of the posteriors of other data, of shape ``(i, j)`` or a scalar."""
    if estimator == "symmetric":
        return (num_data - 1) / (num_data * num_others)
    # The next datum of the batch stands for all data that are not in the batch.
    successor = (num_data - num_others) / (num_data * num_others)
    return torch.where(ahead == 1, successor, 1 / num_others)


@dataclasses.dataclass(frozen=True)
class MaskedColumns:
    """Coordinates of latents that may be masked.

    Attributes:
        pairs: log q(z_i,dim | x_j), of shape ``(…, i, j, dim)``.
        present: Which coordinates are not masked, bool of shape ``(…, batch, dim)``.
    """

    pairs: Tensor
    present: Tensor

    def split(self) -> list[MaskedColumns]:
        """Each coordinate alone."""
        pairs = self.pairs.split(1, -1)
        present = self.present.split(1, -1)
        return [MaskedColumns(*column) for column in zip(pairs, present, strict=True)]


def masked_columns(site: Site, plate: Plate) -> MaskedColumns:
    """The coordinates of one latent."""
    event_dim = coordinate_distribution(site).event_dim
    present = present_columns(site, plate, event_dim=event_dim)
    return MaskedColumns(pairwise_log_prob(site, plate), present)


def _masked_log_mixture(
    columns: Sequence[MaskedColumns], num_data: int, estimator: Estimator
) -> Tensor:
    """log q of the coordinates that a datum has, over the data that have all of them.

    Returns:
        A tensor of shape ``(…, batch)``; zero for data without any of the coordinates.
    """
    pairs = torch.cat([one.pairs for one in columns], -1)
    present = torch.cat([one.present for one in columns], -1)
    mine = present.unsqueeze(-2)  # (…, i, 1, dim)
    theirs = present.unsqueeze(-3)  # (…, 1, j, dim)
    valid = (theirs | ~mine).all(-1)  # (…, i, j): x_j has all coordinates of x_i
    log_weights = minibatch_log_weights(
        valid.shape[-1], num_data, estimator, like=pairs, mask=valid
    )
    density = pairs.where(mine & theirs, 0.0).sum(-1)
    log_q = (density + log_weights).logsumexp(-1)
    return log_q.where(present.any(-1), 0.0)


def log_mixture(pairs: Tensor, log_weights: Tensor) -> Tensor:
    """log sum_j w_ij exp(pairs_ijd), of shape ``(…, i, dim)``.

    Args:
        pairs: Log densities, of shape ``(…, i, j, dim)``.
        log_weights: Logarithms of the weights, of shape ``(i, j)`` or a scalar.
    """
    if log_weights.dim() == 0:
        return pairs.logsumexp(-2) + log_weights
    return (pairs + log_weights[..., None]).logsumexp(-2)


def _log_mixture_of_pairs(pairs: Tensor, log_weights: Tensor) -> Tensor:
    """:func:`log_mixture` of pairs of shape ``(…, i, j)``, of shape ``(…, i)``."""
    return log_mixture(pairs.unsqueeze(-1), log_weights).squeeze(-1)


def normal_pairs(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(z_i,dim; loc_j,dim, scale_j,dim), of shape ``(…, i, j, dim)``.

    In memory j is innermost, the dimension that :func:`log_mixture` sums over, which is faster.

    Args:
        z: Draws, of shape ``(…, batch, dim)``.
        loc: Means of the posteriors, of the same shape.
        scale: Standard deviations of the posteriors, of the same shape.
    """
    z, loc, scale = (t.mT.contiguous() for t in (z, loc, scale))  # (…, dim, batch)
    z = z.unsqueeze(-1)  # (…, dim, i, 1)
    loc = loc.unsqueeze(-2)  # (…, dim, 1, j)
    scale = scale.unsqueeze(-2)  # (…, dim, 1, j)
    standard = (z - loc) * scale.reciprocal()
    log_normaliser = -scale.log() - HALF_LOG_2PI
    return torch.addcmul(log_normaliser, standard, standard, value=-0.5).movedim(-3, -1)


def pairwise_log_prob(site: Site, plate: Plate, value: Tensor | None = None) -> Tensor:
    """log q(z_i,dim | x_j) of each draw under each posterior of the batch.

    Args:
        site: The guide's site.
        plate: The plate over the data.
        value: Draws, of any number. By default the site's own draws.

    Returns:
        A tensor of shape ``(…, i, j, dim)``. A one-hot latent is one column.

    Raises:
        ValueError: The posterior of a datum does not factorise over the coordinates.
    """
    base = coordinate_distribution(site)
    z = site.value if value is None else value
    if isinstance(base, Normal):
        loc, scale = _normal_rows(site, plate, base)
        return normal_pairs(rows(z, site, plate), loc, scale)
    # A straight-through draw is one-hot; its density is a density of the relaxed draw behind it.
    return _other_pairs(site, plate, base, relaxed_value(base, z))


def _other_pairs(site: Site, plate: Plate, base: TorchDistribution, z: Tensor) -> Tensor:
    """:func:`pairwise_log_prob` of a latent that is not normal."""
    data_dim = z.dim() - site.fn.event_dim + plate.dim  # position of the plate in z
    draws = z.movedim(data_dim, 0).unsqueeze(data_dim + 1)  # (i, …, 1, …)
    pairs = base.log_prob(draws)
    size = site.value.shape[data_dim]
    if pairs.shape[data_dim + 1] != size:  # a posterior that is the same for all data
        shape = pairs.shape[: data_dim + 1] + (size,) + pairs.shape[data_dim + 2 :]
        pairs = pairs.expand(shape)
    pairs = pairs.movedim(data_dim + 1, 1)  # (i, j, …)
    if any(p.name == PARTICLES for p in site.plates):
        pairs = pairs.movedim(2, 0)  # (particle, i, j, …)
        return pairs.reshape(*pairs.shape[:3], math.prod(pairs.shape[3:]))
    return pairs.reshape(*pairs.shape[:2], math.prod(pairs.shape[2:]))


def _normal_rows(site: Site, plate: Plate, base: Normal) -> tuple[Tensor, Tensor]:
    """Means and standard deviations of a normal latent, each of shape ``(…, batch, dim)``."""
    loc = rows(base.loc.expand(site.value.shape), site, plate)
    scale = rows(base.scale.expand(site.value.shape), site, plate)
    return loc, scale


def coordinate_distribution(site: Site) -> TorchDistribution:
    """The distribution of one coordinate of a latent given x.

    Raises:
        ValueError: The posterior does not factorise over the coordinates.
    """
    base = simplified(site.fn)
    if base.event_dim and not (
        base.has_enumerate_support or isinstance(base, RelaxedOneHotCategorical)
    ):
        raise ValueError(
            f"latent {site.name!r}: the aggregate posterior needs a posterior that factorises over"
            f" its coordinates, got {type(base).__name__}"
        )
    return base


def joint_and_factored(site: Site, plate: Plate, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log densities of one latent: for each pair of data, and under each marginal mixture.

    If ``batch * batch * dim`` exceeds :data:`MAX_PAIRS`, the coordinates of a normal latent are
    split into blocks that are recomputed in the backward pass, so that memory stays within a
    multiple of it.

    Returns:
        log q(z_i | x_j) of shape ``(…, i, j)``, and sum_dim log q(z_i,dim) of shape ``(…, i)``.
    """
    base = coordinate_distribution(site)
    if site.value.numel() * plate.size <= MAX_PAIRS or not isinstance(base, Normal):
        return _joint_and_factored(pairwise_log_prob(site, plate), log_weights)
    return _normal_in_blocks(site, plate, base, log_weights)


def _normal_in_blocks(
    site: Site, plate: Plate, base: Normal, log_weights: Tensor
) -> tuple[Tensor, Tensor]:
    """:func:`joint_and_factored` of a normal latent, some coordinates at a time."""
    z = rows(site.value, site, plate)
    loc, scale = _normal_rows(site, plate, base)
    size = max(1, MAX_PAIRS * z.shape[-1] // (z.numel() * plate.size))
    joint = z.new_zeros(())
    factored = z.new_zeros(())
    for block in zip(z.split(size, -1), loc.split(size, -1), scale.split(size, -1), strict=True):
        block_joint, block_factored = checkpoint(
            _normal_block, *block, log_weights, use_reentrant=False, preserve_rng_state=False
        )
        joint = joint + block_joint
        factored = factored + block_factored
    return joint, factored


def _normal_block(
    z: Tensor, loc: Tensor, scale: Tensor, log_weights: Tensor
) -> tuple[Tensor, Tensor]:
    return _joint_and_factored(normal_pairs(z, loc, scale), log_weights)


def _joint_and_factored(pairs: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """The two results of :func:`joint_and_factored` from pairs of shape ``(…, i, j, dim)``."""
    return pairs.sum(-1), log_mixture(pairs, log_weights).sum(-1)
