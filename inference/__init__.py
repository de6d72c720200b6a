"""Objectives, the training loop, and bounds of fitted stories."""

from typing import Any

from ppl_disentangle.inference.bounds.compression import compression_curve
from ppl_disentangle.inference.bounds.decomposition import decompose
from ppl_disentangle.inference.bounds.per_datum import elbo_per_datum, log_marginal
from ppl_disentangle.inference.elbo.aggregate import AggregateELBO
from ppl_disentangle.inference.elbo.augmented_lagrangian import AugmentedLagrangian
from ppl_disentangle.inference.elbo.critics import JointCritic, critic_network
from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.learned_graph import GraphELBO
from ppl_disentangle.inference.elbo.schedules import Cyclical, Linear, Piecewise
from ppl_disentangle.inference.objectives.ali import BidirectionalELBO
from ppl_disentangle.inference.objectives.annealed_vae import CapacityELBO
from ppl_disentangle.inference.objectives.beta_tcvae import TCELBO
from ppl_disentangle.inference.objectives.beta_vae import BetaELBO, beta_from_mean_reduction
from ppl_disentangle.inference.objectives.causal_vae import CausalVAEELBO
from ppl_disentangle.inference.objectives.constrained import ConstrainedELBO
from ppl_disentangle.inference.objectives.control_vae import ControlELBO
from ppl_disentangle.inference.objectives.dip_vae import DIPELBO
from ppl_disentangle.inference.objectives.enumerated import EnumeratedELBO
from ppl_disentangle.inference.objectives.factor_vae import FactorELBO
from ppl_disentangle.inference.objectives.factorised_support import HausdorffELBO
from ppl_disentangle.inference.objectives.hfvae import HFELBO
from ppl_disentangle.inference.objectives.importance_weighted import ImportanceWeightedELBO
from ppl_disentangle.inference.objectives.info_gan import AdversarialMI
from ppl_disentangle.inference.objectives.info_vae import InfoELBO
from ppl_disentangle.inference.objectives.joint_vae import JointELBO
from ppl_disentangle.inference.objectives.mathieu_vae import SwapELBO
from ppl_disentangle.inference.objectives.notears import AcyclicELBO
from ppl_disentangle.inference.objectives.qlae import QuantisedELBO
from ppl_disentangle.inference.objectives.sparsity import SparsityELBO, shrink_columns
from ppl_disentangle.inference.objectives.structured_gan import StructuredGame
from ppl_disentangle.inference.objectives.two_domain_vae import DomainELBO
from ppl_disentangle.inference.training.batches import BatchStream
from ppl_disentangle.inference.training.errors import NonFiniteError, TrainingInterrupted
from ppl_disentangle.inference.training.fit import fit

__all__ = [
    # objectives
    "BetaELBO",
    "CapacityELBO",
    "ConstrainedELBO",
    "ControlELBO",
    "TCELBO",
    "HFELBO",
    "ImportanceWeightedELBO",
    "InfoELBO",
    "DIPELBO",
    "JointELBO",
    "QuantisedELBO",
    "SparsityELBO",
    "HausdorffELBO",
    "FactorELBO",
    "AdversarialMI",
    "BidirectionalELBO",
    "StructuredGame",
    "SwapELBO",
    "DomainELBO",
    "EnumeratedELBO",
    "AcyclicELBO",
    "CausalVAEELBO",
    "AggregateELBO",
    "DecomposedELBO",
    "GraphELBO",
    # parts of objectives
    "AugmentedLagrangian",
    "Cyclical",
    "JointCritic",
    "Linear",
    "Piecewise",
    "beta_from_mean_reduction",
    "critic_network",
    "shrink_columns",
    # training and evaluation
    "BatchStream",
    "NonFiniteError",
    "TrainingInterrupted",
    "decompose",
    "compression_curve",
    "elbo_per_datum",
    "fit",
    "log_marginal",
]


def __getattr__(name: str) -> Any:
    """``evidence``, the name that ``elbo_per_datum`` had until version 0.1, for one more release."""
    if name == "evidence":
        return elbo_per_datum
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
