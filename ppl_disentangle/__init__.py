"""Disentangled and causal representations as probabilistic programs."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ppl_disentangle.causal.actions import shift
    from ppl_disentangle.causal.counterfactuals import counterfactual
    from ppl_disentangle.causal.interventions import do
    from ppl_disentangle.causal.structural import StructuralPrior
    from ppl_disentangle.pairs import as_story
    from ppl_disentangle.representation import decode, encode, reconstruct
    from ppl_disentangle.results import to_arviz, to_datatree
    from ppl_disentangle.story import GenerativeStory
    from ppl_disentangle.traversal import traverse

__version__ = "0.1.0"
__all__ = [
    "GenerativeStory",
    "StructuralPrior",
    "as_story",
    "counterfactual",
    "decode",
    "do",
    "encode",
    "reconstruct",
    "shift",
    "to_arviz",
    "to_datatree",
    "traverse",
]

_HOMES = {
    "GenerativeStory": "story",
    "StructuralPrior": "causal.structural",
    "as_story": "pairs",
    "counterfactual": "causal.counterfactuals",
    "decode": "representation",
    "do": "causal.interventions",
    "encode": "representation",
    "reconstruct": "representation",
    "shift": "causal.actions",
    "to_arviz": "results",
    "to_datatree": "results",
    "traverse": "traversal",
}


def __getattr__(name: str) -> Any:
    """Import a public name where it is first used, so that ``--help`` need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
