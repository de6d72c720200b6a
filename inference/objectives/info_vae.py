"""The objective of InfoVAE: the maximum mean discrepancy of aggregate posterior and prior."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, get_args

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents, innermost, pairs_by_plate
from ppl_disentangle.inference.elbo.terms import local_bound_terms
from ppl_disentangle.sites import Site
from ppl_disentangle.story import fork_randomness

__all__ = ["InfoELBO", "Kernel", "maximum_mean_discrepancy"]

Kernel = Literal["gaussian", "inverse_multiquadratic"]


class InfoELBO(DecomposedELBO):
    r"""The evidence lower bound with weights on mutual information and aggregate posterior [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - (1 - \alpha) \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - (\alpha + \lambda - 1) \operatorname{MMD}^2(q(z), p(z))

    q(z) is the aggregate posterior over the data; MMD is the :func:`maximum_mean_discrepancy`
    between the draws of the batch and as many draws from the prior. Terms: ``"log_likelihood"``;
    ``"kl"``, negative, in closed form where torch knows it; ``"mmd"``, minus the discrepancy times
    the number of data, which is not part of the bound and is left out if its weight is zero.
    ``alpha=0, scaling=1`` is the evidence lower bound, ``alpha=1`` the MMD-VAE.

    A coordinate that is masked for a datum is zero in its draw and in the draw from the prior that
    is compared: the discrepancy is zero if, for all data with the same coordinates, q(z) equals p(z).
    The discrepancy per datum is at most 2, while a log likelihood is hundreds of nats: only a large
    weight has an effect.

    Other implementations: In pythae, the discrepancy is multiplied by the batch size, on which the
    meaning of the weight then depends, and lacks a constant of that order. In PyTorch-VAE, it is
    divided by the number of pairs twice.

    Args:
        alpha: Preference for mutual information, at most 1; below 0 it is penalised.
        scaling: Weight lambda of the divergence of q(z) from p(z), at least ``1 - alpha``. 1000 is
            our choice.
        kernel: Kernel of the :func:`maximum_mean_discrepancy`.
        bandwidth: Bandwidth of the kernel. By default it depends on the number of latents; see
            :func:`maximum_mean_discrepancy`.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: A weight is negative, or the kernel or its bandwidth is invalid; or, while
            Pyro's validation is on, the prior of a latent depends on another latent (draws at each
            site are then not draws from p(z)), or is learned but not reparameterised.

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
        mmd_weight = round(alpha + scaling - 1.0, 12)  # 10.7 - 9.7 - 1 is not 0 in floats
        if alpha > 1:
            raise ValueError(
                f"expected alpha <= 1, got {alpha}: the KL would have the negative weight 1 - alpha"
            )
        if mmd_weight < 0:
            raise ValueError(
                f"expected alpha + scaling >= 1, got {alpha} + {scaling}:"
                " the discrepancy would have a negative weight"
            )
        if kernel not in get_args(Kernel):
            raise ValueError(
                f"expected kernel {' or '.join(map(repr, get_args(Kernel)))}, got {kernel!r}"
            )
        if bandwidth is not None and not bandwidth > 0:
            raise ValueError(f"expected bandwidth > 0, got {bandwidth}")
        super().__init__({"kl": 1.0 - alpha, "mmd": mmd_weight}, **options)
        self.kernel = kernel
        self.bandwidth = bandwidth

    def extra_repr(self) -> str:
        """The weights and the kernel, for checkpoints and tables."""
        return f"{super().extra_repr()}, kernel={self.kernel!r}, bandwidth={self.bandwidth}"

    def check(self, model_trace: Trace, guide_trace: Trace) -> None:
        """Refuse a learned prior whose draws have no gradient, or a prior of dependent latents."""
        if self.weights["mmd"]:
            with fork_randomness():
                _check_prior(pairs_by_plate(model_trace, guide_trace).local)

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and negative KL in nats, and the negative discrepancy."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        terms = local_bound_terms(model_trace, pairs)
        if self.weights["mmd"]:
            latents = pairs.latents(drawn_apart=False)
            discrepancy = maximum_mean_discrepancy(
                latents.draws(),
                _prior_draws(pairs.local, latents),
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
    r"""An unbiased estimate of the squared maximum mean discrepancy between two samples.

    .. math:: \operatorname{MMD}^2 = \frac{1}{\sum_{i \ne j} w_i w_j}
       \sum_{i \ne j} w_i w_j \big(k(a_i, a_j) + k(b_i, b_j) - 2 k(a_i, b_j)\big)

    This is the U-statistic of [1]. It can be negative, and is unbiased also if :math:`a_i` and
    :math:`b_i` belong to the same datum. A single datum has no pairs, and discrepancy 0. Kernels, of
    bandwidth h in dim coordinates:

    - ``"gaussian"``: :math:`\exp(-|a - b|^2 / 2 h^2)`. By default :math:`2 h^2 = \text{dim}^2`, as
      in the public code of InfoVAE's authors.
    - ``"inverse_multiquadratic"``: :math:`1 / (1 + |a - b|^2 / 2 h^2)`. By default
      :math:`2 h^2 = 2 \, \text{dim}`, as in [2] for a standard normal prior.

    Args:
        a: Draws from one distribution, of shape ``(…, batch, dim)``.
        b: Draws from the other, of the same shape.
        weights: Weights w of the data, of shape ``(…, batch)``. By default all are equal.
        kernel: Name of one of the kernels above.
        bandwidth: Bandwidth h. By default as above.

    Returns:
        A tensor of shape ``(…,)``.

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
    pairs = weights.unsqueeze(-1) * weights.unsqueeze(-2)  # (…, i, j), without i = j
    pairs.diagonal(dim1=-2, dim2=-1).zero_()
    pairs = pairs / pairs.sum((-2, -1), keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
    within_a = _kernel(a, a, kernel, width)
    within_b = _kernel(b, b, kernel, width)
    between = _kernel(a, b, kernel, width)
    return (pairs * (within_a + within_b - 2 * between)).sum((-2, -1))


def _kernel(left: Tensor, right: Tensor, kernel: Kernel, width: float) -> Tensor:
    """k(left_i, right_j), of shape ``(…, i, j)``; ``width`` is 2 h ** 2."""
    # cdist's faster way, by a matrix product, loses the small distances to rounding.
    distance = torch.cdist(left, right, compute_mode="donot_use_mm_for_euclid_dist")
    scaled = distance.square() / width
    return (-scaled).exp() if kernel == "gaussian" else 1 / (1 + scaled)


def _prior_draws(sites: Sequence[tuple[Site, Site]], latents: Latents) -> Tensor:
    """One draw from the prior for each datum, of shape ``(…, batch, dim)``."""
    drawn = []
    for _, p in sites:
        draw = p.fn.rsample() if p.fn.has_rsample else p.fn.sample()
        drawn.append((draw, p))
    return latents.matrix(drawn)


def _check_prior(sites: Sequence[tuple[Site, Site]]) -> None:
    """Refuse a learned prior whose draws have no gradient, or a prior of dependent latents."""
    values = [q.value for q, _ in sites if q.value.requires_grad]
    for _, p in sites:
        if not p.fn.has_rsample:
            if p.fn.log_prob(p.fn.sample()).requires_grad:
                raise ValueError(
                    f"latent {p.name!r}: its prior is learned, but draws from"
                    f" {type(innermost(p.fn)).__name__} are not reparameterised:"
                    " the discrepancy would leave the prior as it is"
                )
            continue
        draw = p.fn.rsample()
        if values and draw.requires_grad and _depends(draw, values):
            raise ValueError(
                f"latent {p.name!r}: its prior depends on other latents, and a draw from it given"
                " theirs is no draw from p(z); InfoELBO needs latents that are independent under"
                " the model"
            )


def _depends(result: Tensor, values: Sequence[Tensor]) -> bool:
    """Whether a result was computed from one of the values."""
    gradients = torch.autograd.grad(result.sum(), values, retain_graph=True, allow_unused=True)
    return any(gradient is not None for gradient in gradients)
