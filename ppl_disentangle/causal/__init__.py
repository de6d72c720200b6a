"""Interventions, worlds, counterfactuals and effects of stories, and priors with a causal graph."""

from ppl_disentangle.causal.action_text import from_text, to_text
from ppl_disentangle.causal.actions import Action, shift
from ppl_disentangle.causal.counterfactuals import counterfactual
from ppl_disentangle.causal.data_range import DataRange, OutsideDataWarning, data_range
from ppl_disentangle.causal.effects import (
    average_effect,
    conditional_effects,
    individual_effects,
    mediated_effects,
)
from ppl_disentangle.causal.interventions import do
from ppl_disentangle.causal.learned_adjacency import LearnedAdjacency, learned_dag
from ppl_disentangle.causal.population import Population, Units
from ppl_disentangle.causal.smallest_intervention import smallest_intervention
from ppl_disentangle.causal.structural import StructuralPrior
from ppl_disentangle.causal.worlds import worlds

__all__ = [
    "Action",
    "DataRange",
    "LearnedAdjacency",
    "OutsideDataWarning",
    "Population",
    "StructuralPrior",
    "Units",
    "average_effect",
    "conditional_effects",
    "counterfactual",
    "data_range",
    "do",
    "from_text",
    "individual_effects",
    "learned_dag",
    "mediated_effects",
    "shift",
    "smallest_intervention",
    "to_text",
    "worlds",
]
