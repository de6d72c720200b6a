"""Abstract stories that learn with the class of one factor: known for some data, or for all."""

from __future__ import annotations

import torch
from pyro.infer import is_validation_enabled
from torch import Tensor
from torch.nn.functional import one_hot

from ppl_disentangle.data import FactorDataset, partial_labels, with_conditions
from ppl_disentangle.story import GenerativeStory

__all__ = [
    "AuxiliaryFactor",
    "PartiallyLabelled",
    "check_labels",
    "factor_of",
    "has_condition",
    "known_classes",
]


class PartiallyLabelled(GenerativeStory):
    """Abstract: the class of one factor is known for some of the data.

    Implementing one: define ``model`` and ``guide``, which take ``classes`` of shape
    ``(batch, 1)``, NaN where unknown; :func:`known_classes` reads them.

    Args:
        factor: Name of the factor whose classes :meth:`training_data` takes from the data.
        fraction: Share of the data for which :meth:`training_data` gives the class.
    """

    def __init__(self, *, factor: str = "", fraction: float = 0.1) -> None:
        super().__init__()
        self.factor = factor
        self.fraction = fraction

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data with the classes of a random share of them."""
        classes = partial_labels(data, [self.factor], fraction=self.fraction).values
        return with_conditions(data, classes=classes)


class AuxiliaryFactor(GenerativeStory):
    """Abstract: auxiliary variables u come with each datum, such as the class of one factor.

    Implementing one: set the attributes in ``__init__``, and define ``model`` and ``guide``, which
    take ``u`` of shape ``(batch, condition_dim)``.

    Attributes:
        factor: Name of the factor whose class, one-hot, :meth:`training_data` adds to the data as
            u. Empty if the data come with their own u.
        condition_dim: Number of coordinates of u.
    """

    factor: str
    condition_dim: int

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """The data with the class of :attr:`factor` as u; data that have a u are returned as is."""
        if not self.factor or has_condition(data, "u"):
            return data
        classes = partial_labels(data, [self.factor]).values[:, 0].long()
        return with_conditions(data, u=one_hot(classes, self.condition_dim).float())

    def held_out_data(self, data: FactorDataset) -> FactorDataset:
        """The same as :meth:`training_data`: the bound needs u."""
        return self.training_data(data)


def has_condition(data: FactorDataset, name: str) -> bool:
    """Whether the data come with the condition ``name``, such as ``labels``."""
    first = torch.zeros(1, dtype=torch.int64)
    return name in data.conditions(first)


def factor_of(story: str, data: FactorDataset, factor: str) -> tuple[str, int]:
    """Name and number of classes of a factor of the data.

    Args:
        story: Name of the story, for the message of an error.
        data: The data.
        factor: Name of the factor; if empty, the first factor that varies.

    Raises:
        ValueError: The data have no factor that varies, or none with this name.
    """
    sizes = data.varying
    if not sizes or factor not in (*sizes, ""):
        raise ValueError(
            f"{story} needs the classes of a factor: {data.name} has {list(sizes)}, not {factor!r}"
        )
    factor = factor or next(iter(sizes))
    return factor, sizes[factor]


def known_classes(classes: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """Read the classes of a batch, of shape ``(batch, 1)``, NaN where unknown.

    Returns:
        Whether the class is known, of shape ``(batch,)``, and the classes one-hot, of shape
        ``(batch, num_classes)``. The class 0 stands in for an unknown class.

    Raises:
        ValueError: The classes have another shape or, while Pyro's validation is on, a value that
            is not a class.
    """
    if classes.dim() != 2 or classes.shape[-1] != 1:
        raise ValueError(
            f"expected classes of shape (batch, 1), NaN where not known, got {tuple(classes.shape)}"
        )
    known = ~classes[:, 0].isnan()
    filled = classes.where(known[:, None], 0.0)
    values = torch.arange(num_classes, device=classes.device)
    labels = (filled == values).to(classes.dtype)  # (batch, num_classes), one-hot
    # reads the values, which would wait for the device: only under validation
    if is_validation_enabled() and not labels.any(-1).all():
        wrong = classes[~labels.any(-1)].flatten().unique().tolist()
        raise ValueError(
            f"expected classes 0 to {num_classes - 1}, NaN where not known, got {wrong}"
        )
    return known, labels


def check_labels(labels: Tensor, columns: tuple[str, ...]) -> Tensor:
    """Return ``labels`` if they have shape ``(batch, columns)``.

    Raises:
        ValueError: The labels have another shape.
    """
    if labels.dim() != 2 or labels.shape[-1] != len(columns):
        raise ValueError(
            f"expected labels of {list(columns)}, (batch, {len(columns)}),"
            f" got shape {tuple(labels.shape)}"
        )
    return labels
