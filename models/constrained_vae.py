"""VAEs under a constraint: beta-VAE [Higgins et al., 2017] and GECO [Rezende & Viola, 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import ConstrainedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["ConstrainedVAE"]


class ConstrainedVAE(IsotropicVAE):
    r"""Trains a VAE to a chosen KL divergence or reconstruction quality instead of a fixed weight.

    .. math:: \max \mathbb E \log p(x \mid z) \;\text{s.t.}\; \operatorname{KL} \le \epsilon
       \quad\text{or}\quad
       \min \operatorname{KL} \;\text{s.t.}\; \mathbb E \log p(x \mid z) \ge b

    - Story, guide: As in :class:`~ppl_disentangle.models.IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.ConstrainedELBO`. The first problem is the
      constraint that beta-VAE relaxes [1], the second is GECO [2].
    - Data: images or vectors, without labels.
    - For: stating the goal in nats, as the size of the code or the quality of reconstructions.

    Args:
        encoder: ``encoder(x)`` is q(z | x), with events of shape ``(latent_dim,)``.
        decoder: ``decoder(z)`` is p(x | z).
        latent_dim: Number of coordinates of z.
        kl: Upper bound epsilon on the KL divergence, in nats per datum; ignored if
            ``log_likelihood`` is given. The default is not from the papers.
        log_likelihood: Lower bound b on the log likelihood, in nats per datum. By default there is
            none, and ``kl`` is the constraint.

    References:
        [1] Higgins et al., 2017. https://openreview.net/forum?id=Sy2fzU9gl
        [2] Rezende & Viola, 2018. https://arxiv.org/abs/1810.00597
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int,
        *,
        kl: Weight = 15.0,
        log_likelihood: Weight | None = None,
    ) -> None:
        super().__init__(encoder, decoder, latent_dim)
        self.kl = kl
        self.log_likelihood = log_likelihood

    def objective(self) -> ConstrainedELBO:
        """The Lagrangian of the constrained problem, whose multiplier is learned."""
        if self.log_likelihood is not None:
            return ConstrainedELBO(log_likelihood=self.log_likelihood)
        return ConstrainedELBO(kl=self.kl)
