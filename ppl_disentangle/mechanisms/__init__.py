"""Structural equations for the nodes of a causal graph, peers of one abstract class."""

from ppl_disentangle.mechanisms.affine import AdditiveNoise, AffineMechanism, LinearGaussian, LocationScale
from ppl_disentangle.mechanisms.base import InvertibleMechanism, Mechanism

__all__ = ["AdditiveNoise", "AffineMechanism", "InvertibleMechanism", "LinearGaussian", "LocationScale", "Mechanism"]
