"""VAEs whose weight is found: the constraint of beta-VAE [Higgins et al., 2017], GECO [Rezende & Viola, 2018]."""

from __future__ import annotations

from torch import nn

from ppl_disentangle.inference import ConstrainedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE

__all__ = ["ConstrainedVAE"]


class ConstrainedVAE(IsotropicVAE):
    r"""The isotropic story under a constraint in nats, on its KL or on its log likelihood.

    .. math:: \max \mathbb E \log p(x \mid z) \;\text{s.t.}\; \operatorname{KL} \le \epsilon \quad\text{or}\quad
       \min \operatorname{KL} \;\text{s.t.}\; \mathbb E \log p(x \mid z) \ge b

    - Story, guide: as of :class:`IsotropicVAE`.
    - Objective: :class:`~ppl_disentangle.inference.ConstrainedELBO`, the second problem is GECO.
    - Data: observations alone.
    - For: stating what is wanted, so many nats of code or so good a reconstruction, in place of a weight.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        latent_dim: as in :class:`IsotropicVAE`.
        kl: the most that the KL may be, in nats per datum; a choice of ours. Not where ``log_likelihood`` is given.
        log_likelihood: the least that the log likelihood may be, in nats per datum.

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
        self.kl, self.log_likelihood = kl, log_likelihood

    def objective(self) -> ConstrainedELBO:
        """The Lagrangian, its multiplier found by training."""
        if self.log_likelihood is not None:
            return ConstrainedELBO(log_likelihood=self.log_likelihood)
        return ConstrainedELBO(kl=self.kl)
