"""beta-VAE's objective."""

from __future__ import annotations

from typing import Any

import torch
from pyro.poutine import Trace
from torch import Tensor
from torch.distributions import kl_divergence

from ppl_disentangle.inference.decomposed import DecomposedELBO, log_likelihood
from ppl_disentangle.inference.schedules import Weight
from ppl_disentangle.sites import Site, latent_sites

__all__ = ["BetaELBO"]


class BetaELBO(DecomposedELBO):
    r"""The evidence lower bound with its KL weighted by beta [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))

    Terms: ``"log_likelihood"`` and ``"kl"`` (the negative divergence, summed over all latents; in closed form where
        torch
    knows it, else from the draw). ``beta=1`` is ``pyro.infer.TraceMeanField_ELBO``; beta is equivalent to
    ``poutine.scale(scale=beta)`` around the latents of model and guide.

    Nats per datum: a weight for a likelihood averaged over pixels is another number, the mean's beta times the
    number of pixels over the number of latents in the convention of [1].

    Args:
        beta: a number or a schedule; [1] uses 4 on dSprites.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
    """

    def __init__(self, beta: Weight = 4.0, **options: Any) -> None:
        super().__init__({"kl": beta}, **options)

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and negative KL, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        divergence = torch.stack([q.total(kl(q, p)) for q, p in sites]).sum() if sites else guide_trace.log_prob_sum()
        return {"log_likelihood": log_likelihood(model_trace), "kl": -divergence}


def kl(q: Site, p: Site) -> Tensor:
    """KL(q || p) of one latent for each element of its plates: exact, or log q - log p at the draw."""
    try:
        return kl_divergence(q.fn, p.fn)
    except NotImplementedError:
        return q.log_prob() - p.log_prob()
