"""HFVAE [Esmaeili et al., 2019]."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

from torch import nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import HFELBO
from ppl_disentangle.inference.elbo.aggregate import Estimator
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.grouped import GroupedVAE
from ppl_disentangle.networks import Networks

__all__ = ["HFVAE"]

GROUPS: Mapping[str, int] = MappingProxyType({f"z{g}": 2 for g in range(1, 6)})
"""Default names and sizes of the groups; not from the paper."""

CLASSES: Mapping[str, int] = MappingProxyType({})


class HFVAE(GroupedVAE):
    r"""Learns factors of several dimensions without labels, as independent groups of coordinates.

    .. math:: \mathbb E \log p(x \mid z) - w_1 I(x; z)
       - w_2 \operatorname{KL}(q(z) \,\|\, \textstyle\prod_g q(z^g))
       - w_3 \sum_g \operatorname{KL}(q(z^g) \,\|\, \prod_d q(z^g_d))
       - w_4 \sum_{g,d} \operatorname{KL}(q(z^g_d) \,\|\, p(z^g_d))

    Groups become independent of each other, while the coordinates of a group may depend on each
    other.

    - Story, guide: As in :class:`~ppl_disentangle.models.GroupedVAE`.
    - Objective: :class:`~ppl_disentangle.inference.HFELBO`; each latent site is a group.
    - Data: images or vectors, without labels.
    - For: factors of several dimensions, such as a pose or an identity, and discrete factors.

    Args:
        encoder: Names, sizes and posteriors of the groups and classes.
        decoder: ``decoder(h)`` is p(x | z, c), for h all latents side by side, groups first.
        mutual_information: Weight :math:`w_1` of the mutual information of data and code.
        between_groups: Weight :math:`w_2` of the total correlation between groups.
        within_groups: Weight :math:`w_3` of the total correlation within groups.
        dimension_wise_kl: Weight :math:`w_4` of the divergence of each coordinate from its prior.
        estimator: Estimator of q(z) from a batch; see :class:`~ppl_disentangle.inference.HFELBO`.

    References:
        [1] Esmaeili et al., 2019. https://arxiv.org/abs/1804.02086

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> encoder = Grouped(nn.Linear(64, 14), {"place": 2, "style": 3}, {"digit": 4})
        >>> story = HFVAE(encoder, Bernoulli(nn.Linear(9, 64)))
        >>> story.model(batch_size=5).shape
        torch.Size([5, 64])
    """

    def __init__(
        self,
        encoder: Grouped,
        decoder: nn.Module,
        *,
        mutual_information: Weight = 1.0,
        between_groups: Weight = 4.0,
        within_groups: Weight = 1.0,
        dimension_wise_kl: Weight = 1.0,
        estimator: Estimator = "symmetric",
    ) -> None:
        super().__init__(encoder, decoder)
        self.mutual_information = mutual_information
        self.between_groups = between_groups
        self.within_groups = within_groups
        self.dimension_wise_kl = dimension_wise_kl
        self.estimator = estimator

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        groups: Mapping[str, int] = GROUPS,
        classes: Mapping[str, int] = CLASSES,
        **hyper: Any,
    ) -> Self:
        """Build the story for ``data``, with a fresh grouped encoder and a fresh decoder.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the decoder.
            groups: Number of coordinates of each group; by default five groups of two.
            classes: Number of values of each class; by default none.
            **hyper: Further arguments of the story, and ``temperature`` of the relaxed classes.
        """
        return super().for_data(data, networks, groups=groups, classes=classes, **hyper)

    def objective(self) -> HFELBO:
        """The bound, its total correlation split between and within groups."""
        return HFELBO(
            mutual_information=self.mutual_information,
            between_groups=self.between_groups,
            within_groups=self.within_groups,
            dimension_wise_kl=self.dimension_wise_kl,
            estimator=self.estimator,
        )
