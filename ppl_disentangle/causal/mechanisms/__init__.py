"""Structural equations for the nodes of a causal graph, peers of one abstract class."""

from ppl_disentangle.mechanisms.affine import AdditiveNoise, AffineMechanism, LinearGaussian, LocationScale
from ppl_disentangle.mechanisms.base import InvertibleMechanism, Mechanism
from ppl_disentangle.mechanisms.categorical import Categorical
from ppl_disentangle.mechanisms.root import GivenRoot
from ppl_disentangle.mechanisms.spline import MonotoneSpline

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
