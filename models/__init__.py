"""The zoo: one file for each published story, and the abstract stories that they complete."""

from ppl_disentangle.models.ada_gvae import AdaGVAE
from ppl_disentangle.models.ali import ALI
from ppl_disentangle.models.annealed_vae import AnnealedVAE
from ppl_disentangle.models.bases.content_style import ContentStyleVAE
from ppl_disentangle.models.bases.grouped import GroupedCodes, GroupedVAE
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.models.bases.normal_code import NormalCode
from ppl_disentangle.models.bases.pairs import PairVAE
from ppl_disentangle.models.bases.quantised import QuantisedVAE
from ppl_disentangle.models.bases.structural import StructuralVAE
from ppl_disentangle.models.beta_tcvae import BetaTCVAE
from ppl_disentangle.models.beta_vae import BetaVAE
from ppl_disentangle.models.categorical_vae import CategoricalVAE
from ppl_disentangle.models.causal_vae import CausalVAE
from ppl_disentangle.models.causal_vae_paper import CausalVAEPaper
from ppl_disentangle.models.constrained_vae import ConstrainedVAE
from ppl_disentangle.models.control_vae import ControlVAE
from ppl_disentangle.models.conv_draw import ConvDRAW
from ppl_disentangle.models.cycle_consistent_vae import CycleConsistentVAE
from ppl_disentangle.models.darla import DARLA
from ppl_disentangle.models.dc_ign import DCIGN
from ppl_disentangle.models.dear import DEAR
from ppl_disentangle.models.deep_scm import DeepSCM
from ppl_disentangle.models.denoising_autoencoder import DenoisingAutoencoder
from ppl_disentangle.models.dip_vae import DIPVAE
from ppl_disentangle.models.factor_vae import FactorVAE
from ppl_disentangle.models.fsq_vae import FSQVAE
from ppl_disentangle.models.graph_learning import GraphStory, LinearGraphStory, NonlinearGraphStory
from ppl_disentangle.models.graph_vae import GraphVAE
from ppl_disentangle.models.hfvae import HFVAE
from ppl_disentangle.models.info_gan import InfoGAN
from ppl_disentangle.models.info_vae import InfoVAE
from ppl_disentangle.models.ivae import IVAE, StructuralIVAE
from ppl_disentangle.models.joint_vae import JointVAE
from ppl_disentangle.models.ladder_vae import LadderVAE
from ppl_disentangle.models.linear_gaussian import FactorAnalysis, LinearGaussian, ProbabilisticPCA
from ppl_disentangle.models.m2 import M2
from ppl_disentangle.models.mathieu_vae import MathieuVAE
from ppl_disentangle.models.ml_vae import MLVAE
from ppl_disentangle.models.oi_vae import OIVAE
from ppl_disentangle.models.qlae import QLAE
from ppl_disentangle.models.slow_vae import SlowVAE
from ppl_disentangle.models.sparse_autoencoder import SparseAutoencoder
from ppl_disentangle.models.structured_gan import StructuredGAN
from ppl_disentangle.models.supervised_vae import SupervisedVAE
from ppl_disentangle.models.two_domain_vae import TwoDomainVAE
from ppl_disentangle.models.vade import VaDE
from ppl_disentangle.models.vae import VAE
from ppl_disentangle.models.video_vae import VideoVAE

__all__ = [
    "ALI",
    "DARLA",
    "DCIGN",
    "DEAR",
    "DIPVAE",
    "FSQVAE",
    "HFVAE",
    "IVAE",
    "M2",
    "MLVAE",
    "OIVAE",
    "QLAE",
    "VAE",
    "AdaGVAE",
    "AnnealedVAE",
    "BetaTCVAE",
    "BetaVAE",
    "CategoricalVAE",
    "CausalVAE",
    "CausalVAEPaper",
    "ConstrainedVAE",
    "ContentStyleVAE",
    "ControlVAE",
    "ConvDRAW",
    "CycleConsistentVAE",
    "DeepSCM",
    "DenoisingAutoencoder",
    "FactorAnalysis",
    "FactorVAE",
    "GraphStory",
    "GraphVAE",
    "GroupedCodes",
    "GroupedVAE",
    "InfoGAN",
    "InfoVAE",
    "IsotropicVAE",
    "JointVAE",
    "LadderVAE",
    "LinearGaussian",
    "LinearGraphStory",
    "MathieuVAE",
    "NonlinearGraphStory",
    "NormalCode",
    "PairVAE",
    "ProbabilisticPCA",
    "QuantisedVAE",
    "SlowVAE",
    "SparseAutoencoder",
    "StructuralIVAE",
    "StructuralVAE",
    "StructuredGAN",
    "SupervisedVAE",
    "TwoDomainVAE",
    "VaDE",
    "VideoVAE",
]
