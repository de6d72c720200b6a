"""Mechanisms: structural equations for the nodes of a causal graph."""

from ppl_disentangle.causal.mechanisms.affine import (
    AdditiveNoise,
    AffineMechanism,
    LinearGaussian,
    LocationScale,
)
from ppl_disentangle.causal.mechanisms.base import InvertibleMechanism, Mechanism
from ppl_disentangle.causal.mechanisms.categorical import Categorical
from ppl_disentangle.causal.mechanisms.root import GivenRoot
from ppl_disentangle.causal.mechanisms.spline import MonotoneSpline

__all__ = [
    "AdditiveNoise",
    "AffineMechanism",
    "Categorical",
    "GivenRoot",
    "InvertibleMechanism",
    "LinearGaussian",
    "LocationScale",
    "Mechanism",
    "MonotoneSpline",
]
