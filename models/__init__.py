"""The zoo: one file per published story."""

from ppl_disentangle.models.beta_tcvae import BetaTCVAE
from ppl_disentangle.models.beta_vae import BetaVAE
from ppl_disentangle.models.causal_vae import CausalVAE
from ppl_disentangle.models.causal_vae_paper import CausalVAEPaper
from ppl_disentangle.models.dear import DEAR
from ppl_disentangle.models.deep_scm import DeepSCM
from ppl_disentangle.models.isotropic import IsotropicVAE
from ppl_disentangle.models.ivae import IVAE, StructuralIVAE
from ppl_disentangle.models.structural_vae import StructuralVAE

__all__ = [
    "DEAR",
    "IVAE",
    "BetaTCVAE",
    "BetaVAE",
    "CausalVAE",
    "CausalVAEPaper",
    "DeepSCM",
    "IsotropicVAE",
    "StructuralIVAE",
    "StructuralVAE",
]
