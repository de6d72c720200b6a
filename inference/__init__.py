"""Objectives, and the loop that minimises them."""

from ppl_disentangle.inference.acyclic import AcyclicELBO, GraphELBO
from ppl_disentangle.inference.adversarial import AdversarialMI
from ppl_disentangle.inference.aggregate import AggregateELBO
from ppl_disentangle.inference.augmented_lagrangian import AugmentedLagrangian
from ppl_disentangle.inference.batches import BatchStream
from ppl_disentangle.inference.beta import BetaELBO, beta_from_mean_reduction
from ppl_disentangle.inference.bidirectional import BidirectionalELBO
from ppl_disentangle.inference.bounds import evidence, log_marginal
from ppl_disentangle.inference.capacity import CapacityELBO
from ppl_disentangle.inference.causal_vae import CausalVAEELBO
from ppl_disentangle.inference.compression import compression_curve
from ppl_disentangle.inference.constrained import ConstrainedELBO, ControlELBO
from ppl_disentangle.inference.critics import JointCritic, critic_network
from ppl_disentangle.inference.decomposed import DecomposedELBO
from ppl_disentangle.inference.decomposition import decompose
from ppl_disentangle.inference.density_ratio import FactorELBO
from ppl_disentangle.inference.dip import DIPELBO
from ppl_disentangle.inference.domains import DomainELBO
from ppl_disentangle.inference.enumerated import EnumeratedELBO
from ppl_disentangle.inference.errors import NonFiniteError, TrainingInterrupted
from ppl_disentangle.inference.hausdorff import HausdorffELBO
from ppl_disentangle.inference.hierarchical import HFELBO
from ppl_disentangle.inference.info import InfoELBO
from ppl_disentangle.inference.joint import JointELBO
from ppl_disentangle.inference.quantised import QuantisedELBO
from ppl_disentangle.inference.schedules import Cyclical, Linear, Piecewise
from ppl_disentangle.inference.sparsity import SparsityELBO, shrink_columns
from ppl_disentangle.inference.structured import StructuredGame
from ppl_disentangle.inference.svi import fit
from ppl_disentangle.inference.swapped import SwapELBO
from ppl_disentangle.inference.total_correlation import TCELBO

__all__ = [
    # objectives
    "BetaELBO",
    "CapacityELBO",
    "ConstrainedELBO",
    "ControlELBO",
    "TCELBO",
    "HFELBO",
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
    # what they are made of
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
    "evidence",
    "fit",
    "log_marginal",
]
