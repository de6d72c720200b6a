"""Codes with the factors that they are scored against, and results that several metrics need."""

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

NUM_LABELS = (10, 100, 1000, 10_000)


@dataclasses.dataclass(frozen=True)
class ScoringTask:
    """The factors that codes are scored against, and the settings of the scores.

    Attributes:
        factors: Factor classes of all rows, training rows first, ``(num_data, num_factors)``.
        num_train: Number of training rows; the other rows are test rows.
        seed: Seed of all random draws.
        dci_predictor: Predictor of DCI, of unfairness and of the scores ``boosted_trees_*``.
        factor_vae_votes: Numbers of votes that train and that score the FactorVAE and beta-VAE
            classifiers.
        resamples: Number of bootstrap resamples; 0 for no standard errors.
        numbers: Numbers of continuous factors and classes of the others, of the shape of
            ``factors``; by default ``factors``.
    """

    factors: ndarray
    num_train: int
    seed: int
    dci_predictor: Predictor
    factor_vae_votes: tuple[int, int]
    resamples: int
    numbers: ndarray | None = None

    @property
    def factor_numbers(self) -> ndarray:
        """Numbers of continuous factors and classes of the others, ``(num_data, num_factors)``."""
        return self.factors if self.numbers is None else self.numbers

    def __post_init__(self) -> None:
        classifier_of(self.dci_predictor, seed=self.seed)  # fails before the codes are computed
        if self.resamples < 0 or self.resamples == 1:
            raise ValueError(f"expected resamples of 0, or 2 and more, got {self.resamples}")


@dataclasses.dataclass(frozen=True, eq=False)
class ScoredCodes:
    """Codes of the task's rows. Intermediate results are computed once and shared by all metrics.

    Attributes:
        codes: Codes of shape ``(num_data, num_codes)``.
        task: The factors and settings of the scores.
        scales: Standard deviations of the posteriors whose means are the codes; ``None`` without
            posteriors.
    """

    codes: ndarray
    task: ScoringTask
    scales: ndarray | None = None

    @property
    def train(self) -> tuple[ndarray, ndarray]:
        """Codes and factors of the training rows."""
        num_train = self.task.num_train
        return self.codes[:num_train], self.task.factors[:num_train]

    @property
    def test(self) -> tuple[ndarray, ndarray]:
        """Codes and factors of the test rows."""
        num_train = self.task.num_train
        return self.codes[num_train:], self.task.factors[num_train:]

    @property
    def numbers(self) -> tuple[ndarray, ndarray]:
        """Codes of the training rows, with numbers of continuous factors and classes of others."""
        num_train = self.task.num_train
        return self.codes[:num_train], self.task.factor_numbers[:num_train]

    @property
    def split(self) -> tuple[ndarray, ndarray, ndarray, ndarray]:
        """Codes and factors of the training rows, then of the test rows."""
        return *self.train, *self.test

    @cached_property
    def information(self) -> ndarray:
        """Mutual information of codes and varying factors, training rows, ``(num_codes, num_factors)``."""
        codes, factors = self.train
        return mutual_information(codes, factors[:, varying(factors)])

    @cached_property
    def entropies(self) -> ndarray:
        """Entropies of the varying factors in the training rows, ``(num_factors,)``."""
        factors = self.train[1]
        return entropies(factors[:, varying(factors)])

    @cached_property
    def trees(self) -> tuple[ndarray, ndarray]:
        """Importances of the codes, and predictions for the test rows; see :func:`fit_trees`."""
        task = self.task
        return fit_trees(
            self.codes, task.factors, task.num_train, predictor=task.dci_predictor, seed=task.seed
        )

    @cached_property
    def linear_probe(self) -> xr.Dataset:
        """Accuracies of a linear probe with :data:`NUM_LABELS` labels."""
        return self._downstream("linear")

    @cached_property
    def boosted_trees(self) -> xr.Dataset:
        """Accuracies of the task's trees with :data:`NUM_LABELS` labels."""
        return self._downstream(self.task.dci_predictor)

    def _downstream(self, predictor: Probe) -> xr.Dataset:
        available = [num for num in NUM_LABELS if num <= self.task.num_train]
        accuracies = downstream_accuracy(
            *self.split,
            predictor=predictor,
            num_labels=available or [self.task.num_train],
            seed=self.task.seed,
        )
        # Numbers of labels that exceed the training rows become NaN.
        return accuracies.reindex(num_labels=list(NUM_LABELS))

    def rows(self, train: ndarray, test: ndarray, *, share: float = 1.0) -> ScoredCodes:
        """The codes of a selection of rows, with a task of those rows.

        Args:
            train: Indices of the training rows.
            test: Indices of the test rows.
            share: Share of the votes that the new task casts.
        """
        index = np.concatenate([train, test])
        train_votes, eval_votes = self.task.factor_vae_votes
        task = dataclasses.replace(
            self.task,
            factors=self.task.factors[index],
            numbers=self.task.factor_numbers[index],
            num_train=len(train),
            factor_vae_votes=(
                max(round(share * train_votes), 1),
                max(round(share * eval_votes), 1),
            ),
        )
        scales = None if self.scales is None else self.scales[index]
        return ScoredCodes(self.codes[index], task, scales)
