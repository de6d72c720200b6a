"""Stories that are told the class of one factor: of few data, or of all."""

from __future__ import annotations

import torch
from pyro.infer import is_validation_enabled
from torch import Tensor
from torch.nn.functional import one_hot

from ppl_disentangle.data import FactorDataset, partial_labels, with_conditions
from ppl_disentangle.story import GenerativeStory

__all__ = ["PartiallyLabelled", "AuxiliaryFactor", "factor_of", "known_classes"]


class PartiallyLabelled(GenerativeStory):
    """A story of which some data are told the class of one factor. Abstract.

    Attributes:
        factor: the factor.
        fraction: the share of the data that :meth:`training_data` tells it of.
    """

    factor: str = ""
    fraction: float = 0.1

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data, with the classes of some of them."""
        return with_conditions(
            data, classes=partial_labels(data, [self.factor], fraction=self.fraction).values
        )


class AuxiliaryFactor(GenerativeStory):
    """A story that is told of each datum the class of one factor, one-hot, as auxiliary variables u. Abstract.

    Attributes:
        factor: the factor; empty where the data come with their u.
        condition_dim: number of coordinates of u.
    """

    factor: str = ""
    condition_dim: int

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data with u, the class of :attr:`factor`; those that have a u as they are."""
        if not self.factor or "u" in data.conditions(torch.zeros(1, dtype=torch.int64)):
            return data
        classes = partial_labels(data, [self.factor]).values[:, 0].long()
        return with_conditions(data, u=one_hot(classes, self.condition_dim).float())

    def held_out_data(self, data: FactorDataset) -> FactorDataset:
        """The same: there is no bound without u."""
        return self.training_data(data)


def factor_of(story: str, data: FactorDataset, factor: str) -> tuple[str, int]:
    """The factor of ``data`` with this name, or the first that varies if it is empty, and its number of classes.

    Raises:
        ValueError: the data have none, or none with this name.
    """
    sizes = data.varying
    if not sizes or factor not in (*sizes, ""):
        raise ValueError(
            f"{story} needs the classes of a factor: {data.name} has {list(sizes)}, not {factor!r}"
        )
    factor = factor or next(iter(sizes))
    return factor, sizes[factor]


def known_classes(classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Which of the ``classes``, ``(batch, 1)``, NaN where not known, are known, and all of them one-hot.

    Raises:
        ValueError: classes of another shape or, while Pyro's validation is on, that are none of them.
    """
    if classes.dim() != 2 or classes.shape[-1] != 1:
        raise ValueError(
            f"expected classes of shape (batch, 1), NaN where not known, got {tuple(classes.shape)}"
        )
    known = ~classes[:, 0].isnan()
    told = (
        classes.where(known[:, None], 0.0) == torch.arange(num_classes, device=classes.device)
    ).to(classes.dtype)
    if is_validation_enabled() and not told.any(-1).all():
        wrong = classes[~told.any(-1)].flatten().unique().tolist()
        raise ValueError(
            f"expected classes 0 to {num_classes - 1}, NaN where not known, got {wrong}"
        )
    return known, told
