"""FactorVAE's objective: the total correlation by a critic that tells draws from permuted draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from pyro.poutine import Trace
from torch import Tensor, nn
from torch.distributions import constraints

from ppl_disentangle.inference.elbo.critics import TwoPlayerELBO, critic_network
from ppl_disentangle.inference.elbo.latents import Latents, innermost, rows
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import bound_terms
from ppl_disentangle.sites import Plate, Site, latent_sites

__all__ = ["FactorELBO", "permute_latents"]

Permuted = Literal["batch", "halves"]


class FactorELBO(TwoPlayerELBO):
    r"""The evidence lower bound less gamma times the total correlation, as a critic estimates it [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \gamma\, \mathbb E_{q(z)} \ell(z), \quad \ell(z) \approx \log \frac{q(z)}{\prod_d q(z_d)}

    The critic's logit :math:`\ell` is learned by telling draws z from permuted draws, each coordinate permuted over the
    batch by itself; a one-hot latent is permuted as one. Terms: ``"log_likelihood"``, ``"kl"`` (the negative
    divergence, in closed form where torch knows it), ``"density_ratio"`` (minus the critic's estimate of the total
    correlation, no part of the bound) and ``"critic"`` (minus its cross-entropy, half for each kind of draw).
    With ``gamma=0`` it is ``pyro.infer.TraceMeanField_ELBO``.

    The estimate is as good as the critic: one that has learned nothing reports 0. A permuted draw of a batch of B
    keeps two coordinates of one datum together with probability 1/B.

    Avoids: the critic's cross-entropy propagated into the encoder, which takes up to 0.5 off gamma (disentangling-vae,
    pythae, disentangling-correlated-factors); a critic of five layers (the first two); a step counter that moves by
    two, hence half the training (disentanglement_lib).

    Args:
        critic: the number of coordinates of the latents for the critic of [1] (six layers of 1000, two logits), or a
            module from ``(batch, dim)`` to one or two logits.
        gamma: weight of the total correlation; the study [2] tries 10 to 100.
        permute: what is permuted, ``"batch"``: the draws that the critic also sees as they are [2]; ``"halves"``: the
            second half of the batch, the critic seeing the first half as it is; [1] takes two batches.
        critic_options: options of the critic's optimiser; by default Adam's of [2], ``lr=1e-4, betas=(0.5, 0.9)``.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: another way to permute.

    Example:
        >>> from ppl_disentangle.inference.objectives.factor_vae import FactorELBO
        >>> elbo = FactorELBO(10, gamma=40.0)
        >>> optim = pyro.optim.PyroOptim(torch.optim.Adam, elbo.svi_options(lr=1e-3))

    References:
        [1] Kim & Mnih, 2018. https://arxiv.org/abs/1802.05983
        [2] Locatello et al., 2019. https://arxiv.org/abs/1811.12359
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
        """The weights and what is permuted, for checkpoints and tables."""
        return f"{super().extra_repr()}, permute={self.permute!r}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KL, minus the total correlation, and what the critic learns by, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        draws = latents.draws()
        ratio = self.judge(draws.flatten(0, -2)).reshape(draws.shape[:-1])
        return {
            **bound_terms(model_trace, sites),
            "density_ratio": -latents.total(ratio),
            "critic": -latents.count * self._cross_entropy(draws, latents),
        }

    def _cross_entropy(self, draws: Tensor, latents: Latents) -> Tensor:
        """The critic's mean loss, summed over particles."""
        mask, others = latents.mask, latents.mask
        real = pool = draws
        if self.permute == "halves":
            half = max(1, draws.shape[-2] // 2)
            real, pool = draws[..., :half, :], draws[..., -half:, :]
            mask, others = (None, None) if mask is None else (mask[:half], mask[-half:])
        widths = [w for site in latents.sites for w in blocks(site, latents.plate)]
        permuted = permute_latents(pool, widths, mask=others)
        by_real, by_permuted = self.critic_loss([real.flatten(0, -2)], [permuted.flatten(0, -2)])
        return 0.5 * (
            _mean(by_real.reshape(real.shape[:-1]), mask)
            + _mean(by_permuted.reshape(pool.shape[:-1]), others)
        )


def permute_latents(draws: Tensor, widths: Sequence[int], *, mask: Tensor | None = None) -> Tensor:
    """Draws of prod_d q(z_d): each block of columns permuted over the batch by itself.

    Args:
        draws: of shape ``(…, batch, dim)``; each of ``…`` is permuted within itself.
        widths: numbers of columns that stay together, from the left.
        mask: which data count, of shape ``(batch,)``: they are permuted among themselves. The other rows of the result
            mean nothing.
    """
    keys = torch.rand((*draws.shape[:-1], len(widths)), device=draws.device)
    if mask is None:
        order = keys.argsort(-2)
    else:
        rank = (mask.cumsum(0) - 1).clamp(min=0)
        order = (
            (keys + ~mask[:, None]).argsort(-2).index_select(-2, rank)
        )  # the data that count come first
    columns = [
        order[..., d : d + 1].expand(*order.shape[:-1], width) for d, width in enumerate(widths)
    ]
    return draws.gather(-2, torch.cat(columns, -1))


def blocks(site: Site, plate: Plate) -> list[int]:
    """The widths of what a latent consists of: a point of a simplex (one-hot or relaxed) is one, else a column."""
    columns = rows(site.value, site, plate).shape[-1]
    atomic = innermost(site.fn).support in (constraints.one_hot, constraints.simplex)
    width = site.value.shape[-1] if atomic else 1
    return columns // width * [width]


def _mean(values: Tensor, mask: Tensor | None) -> Tensor:
    """Means over the batch of ``values`` of shape ``(…, batch)``, summed over ``…``."""
    return (
        values.mean(-1).sum()
        if mask is None
        else (values.where(mask, 0.0).sum(-1) / mask.sum().clamp(min=1)).sum()
    )
