"""beta-TCVAE's objective: the KL split in mutual information, total correlation and dimension-wise KL."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from pyro.distributions import Independent, Normal
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.decomposed import DecomposedELBO, log_likelihood
from ppl_disentangle.inference.schedules import Weight
from ppl_disentangle.sites import PARTICLES, Plate, Site, data_plate, latent_sites

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)

__all__ = ["TCELBO", "minibatch_log_weights", "pairwise_log_prob"]


class TCELBO(DecomposedELBO):
    r"""The evidence lower bound with its KL decomposed and each part weighted [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - \alpha \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{\text{mutual information}}
       - \beta \underbrace{\mathbb E \log \frac{q(z)}{\prod_d q(z_d)}}_{\text{total correlation}}
       - \gamma \underbrace{\mathbb E \sum_d \log \frac{q(z_d)}{p(z_d)}}_{\text{dimension-wise KL}}

    z are all latents of the pair side by side; q(z) = 1/N sum_n q(z | x_n) is the aggregate posterior over the N
    data, each of the batch's draws being weighed against each of its posteriors. Terms: ``"log_likelihood"``,
    ``"mutual_information"``, ``"total_correlation"``, ``"dimension_wise_kl"``, the last three with the sign of
    parts of the bound. Their sum is the bound of ``Trace_ELBO`` at the same draw, whatever the estimator.

    Estimators of q(z) and of its marginals, for a batch of B = M + 1 data:

    - ``"stratified"`` [1, eq. S6]: the own posterior has weight 1/N, one other (N - M)/(NM), the rest 1/M.
      Unbiased for q(z) and for each q(z_d); their logarithms, hence the terms, are not, and a small batch can
      report a negative total correlation.
    - ``"weighted"`` [1]: every posterior has weight 1/(NB). A lower bound of q(z) in expectation; its
      total correlation is too large by about (D - 1) log N, a constant that leaves gradients alone. Do not read it
      as nats.

    The guide must draw its latents independently given x, and the coordinates of a latent likewise.

    Args:
        alpha: weight of the mutual information.
        beta: weight of the total correlation; [1] uses 6 on dSprites.
        gamma: weight of the dimension-wise KL.
        estimator: ``"stratified"`` or ``"weighted"``.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`; ``num_data`` is needed where the plate over
            the data does not tell how many data a batch stands for.

    References:
        [1] Chen et al., 2018. https://arxiv.org/abs/1802.04942
    """

    def __init__(
        self,
        alpha: Weight = 1.0,
        beta: Weight = 6.0,
        gamma: Weight = 1.0,
        *,
        estimator: Literal["weighted", "stratified"] = "stratified",
        **options: Any,
    ) -> None:
        if estimator not in ("weighted", "stratified"):
            raise ValueError(f"expected estimator 'weighted' or 'stratified', got {estimator!r}")
        weights = {"mutual_information": alpha, "total_correlation": beta, "dimension_wise_kl": gamma}
        super().__init__(weights, **options)
        self.estimator: Literal["weighted", "stratified"] = estimator
        self._log_weights: tuple[tuple[Any, ...], Tensor] | None = None

    def extra_repr(self) -> str:
        """The weights and the estimator, for checkpoints and tables."""
        return f"{super().extra_repr()}, estimator={self.estimator!r}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and the three parts of the negative KL, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        guide_sites = [q for q, _ in sites]
        plate = plate_of_latents(guide_sites)
        num_data = known_num_data(plate, self.num_data)
        mask = data_mask(guide_sites, plate)
        log_weights = self.log_weights(plate.size, num_data, guide_sites[0].value, mask)
        pairs = torch.cat(
            [pairwise_log_prob(q, plate) for q in guide_sites], -1
        )  # (…, i, j, dim): log q(z_i,dim | x_j)
        log_q = log_mixture(pairs.sum(-1, keepdim=True), log_weights).sum(-1)  # (…, i): log q(z_i)
        log_q_factored = log_mixture(pairs, log_weights).sum(-1)  # (…, i): sum_dim log q(z_i,dim)
        scale = guide_sites[0].scale

        def total(values: Tensor) -> Tensor:
            return scale * (values if mask is None else values.where(mask, 0.0)).sum()

        given_x = torch.stack([q.total(q.log_prob()) for q in guide_sites]).sum()
        prior = torch.stack([p.total(p.log_prob()) for _, p in sites]).sum()
        joint, factored = total(log_q), total(log_q_factored)
        return {
            "log_likelihood": log_likelihood(model_trace),
            "mutual_information": joint - given_x,
            "total_correlation": factored - joint,
            "dimension_wise_kl": prior - factored,
        }

    def log_weights(self, batch_size: int, num_data: int, like: Tensor, mask: Tensor | None) -> Tensor:
        """:func:`minibatch_log_weights`, a scalar where all are equal; kept while nothing is masked."""
        if mask is not None:
            return minibatch_log_weights(batch_size, num_data, self.estimator, like=like, mask=mask)
        key = (batch_size, num_data, like.dtype, like.device)
        if self._log_weights is None or self._log_weights[0] != key:
            weights = minibatch_log_weights(batch_size, num_data, self.estimator, like=like)
            self._log_weights = key, weights[0, 0] if self.estimator == "weighted" else weights
        return self._log_weights[1]


def plate_of_latents(sites: Sequence[Site]) -> Plate:
    """The plate over the data, around every latent.

    Raises:
        ValueError: there is no such plate, a latent is outside of it, or the latents are scaled apart.
    """
    plate = data_plate(sites)
    if plate is None:
        raise ValueError(
            "the aggregate posterior needs a plate over the data around the latents, and the guide has none:"
            ' open pyro.plate("data", num_data, subsample_size=len(x)) in model and guide'
        )
    for site in sites:
        if plate.name not in (p.name for p in site.plates):
            raise ValueError(f"latent {site.name!r} is outside of the plate {plate.name!r} over the data")
    if len({s.scale for s in sites if not isinstance(s.scale, Tensor)}) > 1:
        scales = {s.name: s.scale for s in sites}
        raise ValueError(f"the latents share one aggregate posterior; expected one scale for all, got {scales}")
    return plate


def known_num_data(plate: Plate, num_data: int | None) -> int:
    """The number of data behind a batch, from the plate or as given.

    Raises:
        ValueError: neither tells, both tell differently, or it is less than the batch.
    """
    if plate.full_size > plate.size:
        if num_data is not None and num_data != plate.full_size:
            raise ValueError(f"num_data={num_data}, but the plate {plate.name!r} stands for {plate.full_size} data")
        return plate.full_size
    if num_data is None:
        raise ValueError(
            f"the number of data is unknown: the plate {plate.name!r} is just the batch of {plate.size}. Pass num_data="
            f' to the objective, or open pyro.plate("{plate.name}", num_data, subsample_size=len(x))'
        )
    if num_data < plate.size:
        raise ValueError(f"num_data={num_data} is less than the batch of {plate.size}")
    return num_data


def data_mask(sites: Sequence[Site], plate: Plate) -> Tensor | None:
    """Which data of the batch count, bool of shape ``(plate.size,)``; ``None`` if all do."""
    mask = None
    for site in sites:
        if site.mask is None or site.mask is True:
            continue
        own = torch.as_tensor(site.mask, device=site.value.device)
        if own.numel() not in (1, plate.size):
            raise ValueError(
                f"latent {site.name!r}: expected a mask over the plate {plate.name!r} of {plate.size} data alone,"
                f" got shape {tuple(own.shape)}"
            )
        own = own.reshape(-1).expand(plate.size)
        mask = own if mask is None else mask & own
    return mask


def minibatch_log_weights(
    batch_size: int,
    num_data: int,
    estimator: Literal["weighted", "stratified"],
    *,
    like: Tensor,
    mask: Tensor | None = None,
) -> Tensor:
    """Logarithms of the weights that a batch's posteriors have in q(z_i), of shape ``(i, j)`` as ``(batch, batch)``.

    On the device and of the dtype of ``like``. Masked data have weight zero and are not counted.
    """
    valid = torch.ones(batch_size, dtype=torch.bool, device=like.device) if mask is None else mask
    count = valid.sum().to(like.dtype)
    if estimator == "weighted":
        weights = (1 / (num_data * count)).expand(batch_size, batch_size)
    else:
        rank = valid.cumsum(0) - 1
        ahead = (rank[None, :] - rank[:, None]) % count  # (i, j): 0 is the own posterior, 1 the odd one out
        others = (count - 1).clamp(min=1)
        odd = (num_data - others) / (num_data * others)
        weights = torch.where(ahead == 0, 1 / num_data, torch.where(ahead == 1, odd, 1 / others))
    return weights.where(valid, 0.0).log()


def log_mixture(pairs: Tensor, log_weights: Tensor) -> Tensor:
    """log sum_j w_ij exp(pairs_ijd), of shape ``(…, i, dim)``; weights of shape ``(i, j)`` or a scalar."""
    if log_weights.dim() == 0:
        return pairs.logsumexp(-2) + log_weights
    return (pairs + log_weights[..., None]).logsumexp(-2)


def normal_log_prob(normal: Normal, value: Tensor) -> Tensor:
    """``normal.log_prob(value)`` where the value is much larger than the parameters: three passes over it, not six."""
    standard = (value - normal.loc) * normal.scale.reciprocal()
    return torch.addcmul(-normal.scale.log() - HALF_LOG_2PI, standard, standard, value=-0.5)


def pairwise_log_prob(site: Site, plate: Plate) -> Tensor:
    """log q(z_i,dim | x_j) of each draw under each posterior of the batch, of shape ``(…, i, j, dim)``.

    Leading dimensions are particles; every other plate and event dimension is flattened into ``dim``.

    Raises:
        ValueError: the posterior of one datum does not factorise over its coordinates.
    """
    base, event_dim = site.fn, site.fn.event_dim
    while isinstance(base, Independent):
        base = base.base_dist
    if base.event_dim and not base.has_enumerate_support:
        raise ValueError(
            f"latent {site.name!r}: total correlation needs a posterior that factorises over its coordinates,"
            f" got {type(base).__name__}"
        )
    z = site.value
    data = z.dim() - event_dim + plate.dim  # position of the plate
    rows = z.movedim(data, 0).unsqueeze(data + 1)  # (i, …, 1, …)
    pairs = (normal_log_prob(base, rows) if isinstance(base, Normal) else base.log_prob(rows)).movedim(data + 1, 1)
    if any(p.name == PARTICLES for p in site.plates):
        pairs = pairs.movedim(2, 0)
        return pairs.reshape(*pairs.shape[:3], math.prod(pairs.shape[3:]))
    return pairs.reshape(*pairs.shape[:2], math.prod(pairs.shape[2:]))
