"""Objectives, and the loop that minimises them."""

from ppl_disentangle.inference.beta import BetaELBO
from ppl_disentangle.inference.bounds import evidence
from ppl_disentangle.inference.decomposed import DecomposedELBO
from ppl_disentangle.inference.errors import NonFiniteError, TrainingInterrupted
from ppl_disentangle.inference.schedules import Linear
from ppl_disentangle.inference.svi import fit
from ppl_disentangle.inference.total_correlation import TCELBO

__all__ = [
    "BetaELBO",
    "DecomposedELBO",
    "Linear",
    "NonFiniteError",
    "TCELBO",
    "TrainingInterrupted",
    "evidence",
    "fit",
]
