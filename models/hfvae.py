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
CLASSES: Mapping[str, int] = MappingProxyType({})


class HFVAE(GroupedVAE):
    r"""Groups of latents that are independent of each other, while coordinates of one group need not be.

    .. math:: \mathbb E \log p(x \mid z) - w_1 I(x; z) - w_2 \operatorname{KL}(q(z) \,\|\, \textstyle\prod_g q(z^g))
       - w_3 \sum_g \operatorname{KL}(q(z^g) \,\|\, \prod_d q(z^g_d)) - w_4 \sum_{g,d} \operatorname{KL}(q(z^g_d)
       \,\|\, p(z^g_d))

    - Story, guide: as of :class:`~ppl_disentangle.models.GroupedVAE`.
    - Objective: :class:`~ppl_disentangle.inference.HFELBO`, the groups being the sites.
    - Data: observations alone.
    - For: factors of several dimensions, such as a pose or an identity, and factors with values apart.

    Args:
        encoder: as in :class:`~ppl_disentangle.models.GroupedVAE`.
        decoder: as in :class:`~ppl_disentangle.models.GroupedVAE`.
        mutual_information: as in :class:`~ppl_disentangle.inference.HFELBO`, as are the next four.
        between_groups: weight of the total correlation between groups.
        within_groups: weight of that within groups.
        dimension_wise_kl: weight of the divergence of each coordinate from its prior.
        estimator: how q(z) is estimated from a batch.

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
        self.mutual_information, self.between_groups = mutual_information, between_groups
        self.within_groups, self.dimension_wise_kl, self.estimator = (
            within_groups,
            dimension_wise_kl,
            estimator,
        )

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        groups: Mapping[str, int] = GROUPS,
        classes: Mapping[str, int] = CLASSES,
        **options: Any,
    ) -> Self:
        """A story with fresh networks, by default of five groups of two and no class; see :class:`GroupedVAE`."""
        return super().for_data(data, networks, groups=groups, classes=classes, **options)

    def objective(self) -> HFELBO:
        """The bound split between and within the groups."""
        return HFELBO(
            mutual_information=self.mutual_information,
            between_groups=self.between_groups,
            within_groups=self.within_groups,
            dimension_wise_kl=self.dimension_wise_kl,
            estimator=self.estimator,
        )
