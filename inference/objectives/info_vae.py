"""InfoVAE's objective: the aggregate posterior is held to the prior by the maximum mean discrepancy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents, innermost, rows
from ppl_disentangle.inference.elbo.terms import bound_terms
from ppl_disentangle.sites import Site, latent_sites
from ppl_disentangle.story import fork_randomness

__all__ = ["InfoELBO", "Kernel", "maximum_mean_discrepancy"]

Kernel = Literal["gaussian", "inverse_multiquadratic"]


class InfoELBO(DecomposedELBO):
    r"""The evidence lower bound with a weight on its mutual information and on its aggregate posterior [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - (1 - \alpha) \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - (\alpha + \lambda - 1) \operatorname{MMD}^2(q(z), p(z))

    q(z) is the aggregate posterior over the data; MMD is the :func:`maximum_mean_discrepancy` of the batch's draws from
    as many draws from the prior. Terms: ``"log_likelihood"``; ``"kl"``, negative, in closed form where torch knows it;
    ``"mmd"``, minus the discrepancy times the number of data, which is no part of the bound, and is left out where its
    weight is zero. ``alpha=0, scaling=1`` is the evidence lower bound, ``alpha=1`` the MMD-VAE.

    The discrepancy of a datum is at most 2, where a likelihood is hundreds of nats: a weight that tells is large.

    Avoids: a discrepancy multiplied by the size of the batch, so that the weight means another thing at each, and less
    a constant of the order of that size (pythae); one divided twice by the number of pairs (PyTorch-VAE).

    Args:
        alpha: how much mutual information is preferred, at most 1; below 0 it is penalised.
        scaling: lambda, the weight of the divergence of q(z) from p(z); at least ``1 - alpha``. 1000 is a choice of
            ours.
        kernel: as in :func:`maximum_mean_discrepancy`.
        bandwidth: as in :func:`maximum_mean_discrepancy`.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: a weight is negative, the kernel or its bandwidth is none; or, while Pyro validates, the prior of a
            latent depends on another latent (a draw from p(z) is then more than draws at each site), or is learned
            but has no reparameterised draws.

    References:
        [1] Zhao et al., 2017. https://arxiv.org/abs/1706.02262

    Example:
        >>> InfoELBO(alpha=0.5, scaling=10.0)
        InfoELBO(kl=0.5, mmd=9.5, warm_up=0, kernel='gaussian', bandwidth=None)
    """

    penalties: ClassVar[tuple[str, ...]] = ("mmd",)

    def __init__(
        self,
        alpha: float = 1.0,
        scaling: float = 1000.0,
        *,
        kernel: Kernel = "gaussian",
        bandwidth: float | None = None,
        **options: Any,
    ) -> None:
        divergence = round(alpha + scaling - 1.0, 12)  # 10.7 - 9.7 is one
        if alpha > 1:
            raise ValueError(
                f"expected alpha <= 1, got {alpha}: the KL would have the negative weight 1 - alpha"
            )
        if divergence < 0:
            raise ValueError(
                f"expected alpha + scaling >= 1, got {alpha} + {scaling}: the discrepancy would have a negative weight"
            )
        if kernel not in get_args(Kernel):
            raise ValueError(
                f"expected kernel {' or '.join(map(repr, get_args(Kernel)))}, got {kernel!r}"
            )
        if bandwidth is not None and not bandwidth > 0:
            raise ValueError(f"expected bandwidth > 0, got {bandwidth}")
        super().__init__({"kl": 1.0 - alpha, "mmd": divergence}, **options)
        self.kernel, self.bandwidth = kernel, bandwidth

    def extra_repr(self) -> str:
        """The weights and the kernel, for checkpoints and tables."""
        return f"{super().extra_repr()}, kernel={self.kernel!r}, bandwidth={self.bandwidth}"

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Refuse a prior that is learned by draws without gradients, or that depends on other latents."""
        if self.weights["mmd"]:
            with fork_randomness():
                _check_prior(latent_sites(model_trace, guide_trace))

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KL and negative discrepancy, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        terms = bound_terms(model_trace, sites)
        if self.weights["mmd"]:
            discrepancy = maximum_mean_discrepancy(
                latents.draws(),
                _prior_draws(sites, latents),
                weights=latents.weights,
                kernel=self.kernel,
                bandwidth=self.bandwidth,
            )
            terms["mmd"] = -latents.count * discrepancy.sum()
        return terms


def maximum_mean_discrepancy(
    a: Tensor,
    b: Tensor,
    *,
    weights: Tensor | None = None,
    kernel: Kernel = "gaussian",
    bandwidth: float | None = None,
) -> Tensor:
    r"""The squared maximum mean discrepancy of two samples, of shape ``(…,)``.

    .. math:: \operatorname{MMD}^2 = \frac{1}{\sum_{i \ne j} w_i w_j}
       \sum_{i \ne j} w_i w_j \big(k(a_i, a_j) + k(b_i, b_j) - 2 k(a_i, b_j)\big)

    The U-statistic of [1]: unbiased, hence below zero now and then, also where :math:`a_i` and :math:`b_i` share a
    datum. One datum has no pair, and discrepancy 0. Kernels, of bandwidth h in dim coordinates:

    - ``"gaussian"``: :math:`\exp(-|a - b|^2 / 2 h^2)`. By default :math:`2 h^2 = \text{dim}^2`, the public code of
      InfoVAE's authors.
    - ``"inverse_multiquadratic"``: :math:`1 / (1 + |a - b|^2 / 2 h^2)`. By default :math:`2 h^2 = 2 \, \text{dim}`, as
      in [2] for a standard normal prior.

    Args:
        a: draws from one distribution, of shape ``(…, batch, dim)``.
        b: draws from the other, likewise.
        weights: of the data, of shape ``(batch,)``; equal if not given.
        kernel: one of the above.
        bandwidth: h.

    References:
        [1] Gretton et al., 2012. A kernel two-sample test. https://jmlr.org/papers/v13/gretton12a.html
        [2] Tolstikhin et al., 2018. https://arxiv.org/abs/1711.01558

    Example:
        >>> maximum_mean_discrepancy(torch.zeros(5, 2), torch.full((5, 2), 9.0))
        tensor(2.)
    """
    weights = a.new_ones(a.shape[-2]) if weights is None else weights.to(a)
    default = a.shape[-1] ** 2 if kernel == "gaussian" else 2 * a.shape[-1]
    width = default if bandwidth is None else 2 * bandwidth**2

    def k(left: Tensor, right: Tensor) -> Tensor:
        distance = (
            torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist").square() / width
        )
        return (-distance).exp() if kernel == "gaussian" else 1 / (1 + distance)

    pairs = (weights[:, None] * weights).fill_diagonal_(0.0)
    pairs = pairs / pairs.sum().clamp(min=torch.finfo(a.dtype).tiny)
    return (pairs * (k(a, a) + k(b, b) - 2 * k(a, b))).sum((-2, -1))


def _prior_draws(sites: Sequence[tuple[Site, Site]], latents: Latents) -> Tensor:
    """One draw from the prior for each datum, of shape ``(…, batch, dim)``."""
    draws = [p.fn.rsample() if p.fn.has_rsample else p.fn.sample() for _, p in sites]
    return torch.cat(
        [rows(draw, p, latents.plate) for (_, p), draw in zip(sites, draws, strict=True)], -1
    )


def _check_prior(sites: Sequence[tuple[Site, Site]]) -> None:
    values = [q.value for q, _ in sites if q.value.requires_grad]
    for _, p in sites:
        if not p.fn.has_rsample:
            if p.fn.log_prob(p.fn.sample()).requires_grad:
                raise ValueError(
                    f"latent {p.name!r}: its prior is learned, but draws from {type(innermost(p.fn)).__name__} are not"
                    " reparameterised: the discrepancy would leave the prior as it is"
                )
            continue
        draw = p.fn.rsample()
        if values and draw.requires_grad and _depends(draw, values):
            raise ValueError(
                f"latent {p.name!r}: its prior depends on other latents, and a draw from it given theirs is no draw"
                " from p(z); InfoELBO needs latents that are independent under the model"
            )


def _depends(result: Tensor, values: Sequence[Tensor]) -> bool:
    gradients = torch.autograd.grad(result.sum(), values, retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in gradients)
