"""Attributes that a training step reads from our objectives, and other Pyro ELBOs lack."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pyro.infer import ELBO
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO

__all__ = ["last_terms", "optimizer_options", "restored_sizes"]


def last_terms(objective: ELBO) -> Mapping[str, Tensor]:
    """The terms of the last step by name; Pyro's own objectives have no terms."""
    return objective.last_terms if isinstance(objective, DecomposedELBO) else {}


def optimizer_options(objective: ELBO) -> Mapping[str, Any]:
    """Options of the optimiser for parameters of the objective itself, such as its critic."""
    return objective.optimizer_options if isinstance(objective, DecomposedELBO) else {}


@contextmanager
def restored_sizes(objective: ELBO) -> Iterator[None]:
    """Give the objective back the numbers of data that it had before training, at the end."""
    if not isinstance(objective, DecomposedELBO):
        yield
        return
    num_data = objective.num_data
    part_sizes = objective.part_sizes
    try:
        yield
    finally:
        objective.num_data = num_data
        objective.part_sizes = part_sizes
