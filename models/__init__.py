"""The zoo: one file per published story."""

from ppl_disentangle.models.beta_tcvae import BetaTCVAE
from ppl_disentangle.models.beta_vae import BetaVAE
from ppl_disentangle.models.isotropic import IsotropicVAE

__all__ = ["BetaTCVAE", "BetaVAE", "IsotropicVAE"]
