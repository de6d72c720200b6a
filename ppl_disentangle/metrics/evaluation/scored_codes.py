"""Codes beside the factors that they are scored against, and what several metrics share of both."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from ppl_disentangle.metrics.downstream import downstream_accuracy
from ppl_disentangle.metrics.estimators.arrays import varying
from ppl_disentangle.metrics.estimators.mutual_information import entropies, mutual_information
from ppl_disentangle.metrics.estimators.predictors import Predictor, Probe, classifier_of, fit_trees

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["ScoredCodes", "ScoringTask"]

LABELS = (10, 100, 1000, 10_000)


@dataclasses.dataclass(frozen=True)
class ScoringTask:
    """What codes are scored against: classes of all rows, training rows first, how many those are, and the settings."""

    factors: ndarray
    num_train: int
    seed: int
    dci_predictor: Predictor
    factor_vae_votes: tuple[int, int]
    resamples: int

    def __post_init__(self) -> None:
        classifier_of(self.dci_predictor, seed=self.seed)  # fails before the codes are computed
        if self.resamples < 0 or self.resamples == 1:
            raise ValueError(f"expected resamples of 0, or 2 and more, got {self.resamples}")


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredCodes:
    """Codes of the task's rows; what is computed from them is kept for all metrics.

    Attributes:
        codes: shape ``(num_data, num_codes)``.
        task: what they are scored against.
        scales: standard deviations of the posteriors whose means the codes are, if they are.
    """

    codes: ndarray
    task: ScoringTask
    scales: ndarray | None = None

    @property
    def train(self) -> tuple[ndarray, ndarray]:
        """Codes and factors of the training rows."""
        return self.codes[: self.task.num_train], self.task.factors[: self.task.num_train]

    @property
    def split(self) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Codes and factors of the training rows, then of the test rows."""
        return (
            *self.train,
            self.codes[self.task.num_train :],
            self.task.factors[self.task.num_train :],
        )

    @cached_property
    def information(self) -> ndarray:
        """Mutual information of codes and factors that vary, of the training rows, ``(num_codes, num_factors)``."""
        codes, factors = self.train
        return mutual_information(codes, factors[:, varying(factors)])

    @cached_property
    def entropies(self) -> ndarray:
        """Entropies of the factors that vary, of the training rows, ``(num_factors,)``."""
        factors = self.train[1]
        return entropies(factors[:, varying(factors)])

    @cached_property
    def trees(self) -> tuple[ndarray, ndarray]:
        """What :func:`fit_trees` makes of the codes: importances, and predictions of the test rows."""
        task = self.task
        return fit_trees(
            self.codes, task.factors, task.num_train, predictor=task.dci_predictor, seed=task.seed
        )

    @cached_property
    def linear_probe(self) -> xr.Dataset:
        """Accuracies of a linear probe at :data:`LABELS` labels."""
        return self._downstream("linear")

    @cached_property
    def boosted_trees(self) -> xr.Dataset:
        """Accuracies of the task's trees at :data:`LABELS` labels."""
        return self._downstream(self.task.dci_predictor)

    def _downstream(self, predictor: Probe) -> xr.Dataset:
        sizes = [num for num in LABELS if num <= self.task.num_train] or [self.task.num_train]
        found = downstream_accuracy(
            *self.split, predictor=predictor, num_labels=sizes, seed=self.task.seed
        )
        return found.reindex(num_labels=list(LABELS))

    def rows(self, train: ndarray, test: ndarray, *, share: float = 1.0) -> ScoredCodes:
        """The codes of some rows, and a task of those rows with that share of the votes."""
        index = np.concatenate([train, test])
        num_train, num_eval = (max(round(share * num), 1) for num in self.task.factor_vae_votes)
        votes, factors = (num_train, num_eval), self.task.factors[index]
        task = dataclasses.replace(
            self.task, factors=factors, num_train=len(train), factor_vae_votes=votes
        )
        return ScoredCodes(
            self.codes[index], task, None if self.scales is None else self.scales[index]
        )
