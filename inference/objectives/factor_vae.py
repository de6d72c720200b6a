"""The objective of FactorVAE: a critic estimates the total correlation from permuted draws."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_disentangle.inference.elbo.critics import TwoPlayerELBO, critic_network
from ppl_disentangle.inference.elbo.latents import (
    Latents,
    innermost,
    pairs_by_plate,
    rows,
)
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import local_bound_terms
from ppl_disentangle.sites import Plate, Site

__all__ = ["FactorELBO", "permute_latents"]

Permuted = Literal["batch", "halves"]


class FactorELBO(TwoPlayerELBO):
    r"""The evidence lower bound minus gamma times a critic's estimate of total correlation [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \gamma\, \mathbb E_{q(z)} \ell(z), \quad \ell(z) \approx \log \frac{q(z)}{\prod_d q(z_d)}

    The critic with logit :math:`\ell` learns to distinguish draws z from permuted draws, in which
    each coordinate is permuted over the batch independently (a one-hot latent as a whole). Terms:
    ``"log_likelihood"``, ``"kl"`` (the negative divergence, in closed form where torch knows it),
    ``"density_ratio"`` (minus the estimate of the total correlation, not part of the bound) and
    ``"critic"`` (minus its cross-entropy, half for each kind of draw). With ``gamma=0`` it is
    ``pyro.infer.TraceMeanField_ELBO``.

    The estimate is only as good as the critic: an untrained critic reports 0. In a permuted draw
    from a batch of B, two coordinates are from the same datum with probability 1/B. A coordinate
    that is masked for a datum is zero in both of its draws, and is permuted among the data that have
    it.

    Other implementations: In disentangling-vae, pythae and disentangling-correlated-factors, the
    critic's cross-entropy is propagated into the encoder, which takes up to 0.5 off gamma; the
    first two have a critic of five layers. In disentanglement_lib the step counter moves by two, which halves the
    training.

    Args:
        critic: Number of coordinates of the latents, for the critic of [1] (six layers of 1000
            units, two logits); or a module from ``(batch, dim)`` to one or two logits.
        gamma: Weight of the total correlation; the study [2] tries 10 to 100.
        permute: Draws that are permuted. With ``"batch"`` [2] they are the same draws that the
            critic sees unpermuted. With ``"halves"`` the second half of the batch is permuted, and
            the critic sees the first half unpermuted; [1] uses two batches.
        critic_options: Options of the critic's optimiser. By default Adam's of [2],
            ``lr=1e-4, betas=(0.5, 0.9)``.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: ``permute`` has another value.

    References:
        [1] Kim & Mnih, 2018. https://arxiv.org/abs/1802.05983
        [2] Locatello et al., 2019. https://arxiv.org/abs/1811.12359

    Example:
        >>> from ppl_disentangle.inference.objectives.factor_vae import FactorELBO
        >>> elbo = FactorELBO(10, gamma=40.0)
        >>> optim = pyro.optim.PyroOptim(torch.optim.Adam, elbo.svi_options(lr=1e-3))
    """

    penalties: ClassVar[tuple[str, ...]] = ("density_ratio",)
    reads_data: ClassVar[bool] = False

    def __init__(
        self,
        critic: int | nn.Module,
        gamma: Weight = 10.0,
        *,
        permute: Permuted = "batch",
        critic_options: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> None:
        if permute not in get_args(Permuted):
            raise ValueError(f"expected permute 'batch' or 'halves', got {permute!r}")
        network = critic_network(critic, outputs=2) if isinstance(critic, int) else critic
        critic_options = (
            {"lr": 1e-4, "betas": (0.5, 0.9)} if critic_options is None else critic_options
        )
        super().__init__(
            {"density_ratio": gamma}, network, critic_options=critic_options, **options
        )
        self.permute: Permuted = permute

    def extra_repr(self) -> str:
        """The weights and the way of permuting, for checkpoints and tables."""
        return f"{super().extra_repr()}, permute={self.permute!r}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KL, minus the total correlation, and the critic's loss, in nats."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        latents = pairs.latents(drawn_apart=False)
        draws = latents.draws()
        ratio = self.frozen_logits(draws.flatten(0, -2)).reshape(draws.shape[:-1])
        return {
            **local_bound_terms(model_trace, pairs),
            "density_ratio": -latents.total(ratio),
            "critic": -latents.count * self._cross_entropy(draws, latents),
        }

    def _cross_entropy(self, draws: Tensor, latents: Latents) -> Tensor:
        """The critic's mean loss over the batch, summed over particles."""
        size = draws.shape[-2]
        first = last = slice(None)  # the data that are seen as they are, and permuted
        if self.permute == "halves":
            half = max(1, size // 2)
            first = slice(half)
            last = slice(-half, None)
        mask = latents.mask
        real_mask = None if mask is None else mask[..., first]
        permuted_mask = None if mask is None else mask[..., last]
        real = draws[..., first, :]
        widths: list[int] = []
        for site in latents.sites:
            widths += block_widths(site, latents.plate)
        present = None if latents.present is None else latents.present[..., last, :]
        permuted = permute_latents(draws[..., last, :], widths, mask=present)
        if present is not None:  # every datum keeps the coordinates that it has
            permuted = permuted.where(present, 0.0)
        on_real, on_permuted = self.critic_loss([real.flatten(0, -2)], [permuted.flatten(0, -2)])
        real_loss = _mean(on_real.reshape(real.shape[:-1]), real_mask)
        permuted_loss = _mean(on_permuted.reshape(permuted.shape[:-1]), permuted_mask)
        return 0.5 * (real_loss + permuted_loss)


def permute_latents(draws: Tensor, widths: Sequence[int], *, mask: Tensor | None = None) -> Tensor:
    """Draws from prod_d q(z_d): each block of columns is permuted over the batch independently.

    Args:
        draws: Draws of shape ``(…, batch, dim)``; each index of the leading dimensions is permuted
            within itself.
        widths: Numbers of columns that stay together, from the left.
        mask: Which data count, bool of shape ``(batch,)``, or for each column, of shape
            ``(…, batch, dim)``. They are permuted among themselves; the other entries of the result
            are meaningless. By default all count.
    """
    keys = torch.rand((*draws.shape[:-1], len(widths)), device=draws.device)
    if mask is None:
        order = keys.argsort(-2)  # (…, batch, block): a random permutation for each block
    else:
        by_column = mask[:, None].expand(draws.shape[-2:]) if mask.dim() == 1 else mask
        starts = list(itertools.accumulate(widths, initial=0))[:-1]
        by_block = by_column[..., starts].expand(keys.shape)  # columns of a block have one mask
        # Masked data get keys above 1 and are sorted to the end. The n-th datum that counts then
        # receives the n-th entry of the permutation, which is one that counts.
        rank = (by_block.cumsum(-2) - 1).clamp(min=0)
        order = (keys + ~by_block).argsort(-2).gather(-2, rank)
    # One column of indices for each column of the draws, equal within a block.
    columns = [
        order[..., block : block + 1].expand(*order.shape[:-1], width)
        for block, width in enumerate(widths)
    ]
    return draws.gather(-2, torch.cat(columns, -1))


def block_widths(site: Site, plate: Plate) -> list[int]:
    """Widths of the blocks of a latent: a point of a simplex is one block, else each column is."""
    columns = rows(site.value, site, plate).shape[-1]
    is_simplex = innermost(site.fn).support in (constraints.one_hot, constraints.simplex)
    width = site.value.shape[-1] if is_simplex else 1
    return columns // width * [width]


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Means over the batch of ``values`` of shape ``(…, batch)``, summed over the rest."""
    if mask is None:
        return values.mean(-1).sum()
    means = values.where(mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
    return means.sum()
