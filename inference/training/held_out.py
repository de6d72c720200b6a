"""The bound on held-out data, and the decision to stop when it gets no better."""

from __future__ import annotations

import torch

from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference.bounds.per_datum import elbo_per_datum
from ppl_disentangle.inference.distributed.processes import broadcast_first, rank
from ppl_disentangle.inference.training.state import TrainingState
from ppl_disentangle.pairs import Pair
from ppl_disentangle.story import GenerativeStory

__all__ = ["HeldOutBound"]


class HeldOutBound:
    """Evaluates the evidence lower bound of held-out data at regular steps, and may stop training.

    Args:
        story: The story that is trained.
        data: The held-out data.
        every: Number of steps between two evaluations.
        patience: Number of evaluations without a better bound after which training stops;
            ``None``: training does not stop early, and the best weights are not kept.
        seed: Seed of the draws of the bound.

    Raises:
        ValueError: The held-out data are empty, or the story does not take them.
    """

    def __init__(
        self,
        story: GenerativeStory,
        data: FactorDataset,
        every: int,
        patience: int | None,
        seed: int,
    ) -> None:
        if not len(data):
            raise ValueError("expected at least one held-out datum, got none")
        if isinstance(story, Pair) and story.fixed_size is not None:
            raise ValueError(
                f"the guide of {story.title} has one value for each datum that it is trained on, and"
                " none for held-out data: leave held_out away"
            )
        self.story = story
        self.data = data
        self.every = every
        self.patience = patience
        self.seed = seed
        # Data that the story does not take are refused before training, not after `every` steps.
        elbo_per_datum(story, data.subset(torch.arange(1)), seed=seed)

    def evaluate(self, state: TrainingState) -> bool:
        """Add the bound to ``state`` if its step is due; keep the best weights under patience.

        Returns:
            Whether the step was due.
        """
        if state.step % self.every:
            return False
        bounds_before = [bound for _, bound, *_ in state.held_out]
        # The first process evaluates the bound; all have the same weights.
        values = broadcast_first(self._means() if rank() == 0 else None)
        bound = values[0]
        state.held_out.append([state.step, *values])
        if self.patience is not None and bound > max(bounds_before, default=-float("inf")):
            weights = self.story.state_dict()
            state.best = {name: value.detach().clone() for name, value in weights.items()}
        return True

    def _means(self) -> list[float]:
        """Means of bound, log likelihood and KL over the held-out data, in nats per datum."""
        by_datum = elbo_per_datum(self.story, self.data, seed=self.seed)
        means = by_datum.sum("code").mean()
        return [float(means[name]) for name in ("elbo", "log_likelihood", "kl")]

    def is_out_of_patience(self, state: TrainingState) -> bool:
        """Whether the bound has not got better for as many evaluations as patience allows."""
        bounds = [bound for _, bound, *_ in state.held_out]
        if self.patience is None or not bounds:
            return False
        since_best = len(bounds) - 1 - bounds.index(max(bounds))
        return since_best >= self.patience
