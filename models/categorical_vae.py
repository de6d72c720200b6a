"""The categorical VAE [Jang et al., 2017; Maddison et al., 2017]: a code of classes alone."""

from __future__ import annotations

from typing import Any, Self

from torch import nn

from ppl_disentangle.conditionals import Grouped
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.grouped import GroupedVAE
from ppl_disentangle.networks import Networks

__all__ = ["CategoricalVAE"]


class CategoricalVAE(GroupedVAE):
    r"""Classes c^k, each of a few values, and nothing else.

    - Story, guide: as of :class:`~ppl_disentangle.models.GroupedVAE`, without continuous latents.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; the divergence is that of the relaxed classes.
    - Data: observations alone.
    - For: factors that have no order, such as colours and shapes. Classes cannot be rotated into each other as normal
      coordinates can [3]: of three runs, that of the least loss names the kinds of three things added up.

    Args:
        encoder: as in :class:`~ppl_disentangle.models.GroupedVAE`.
        decoder: as in :class:`~ppl_disentangle.models.GroupedVAE`.
        beta: weight of the divergences.
        warm_up: steps over which it rises from 0.

    Raises:
        ValueError: an encoder with groups of continuous coordinates.

    References:
        [1] Jang et al., 2017. https://arxiv.org/abs/1611.01144
        [2] Maddison et al., 2017. https://arxiv.org/abs/1611.00712
        [3] Friede et al., 2023. https://arxiv.org/abs/2307.14151
    """

    def __init__(
        self, encoder: Grouped, decoder: nn.Module, *, beta: Weight = 1.0, warm_up: int = 0
    ) -> None:
        super().__init__(encoder, decoder)
        if encoder.groups:
            raise ValueError(
                f"expected an encoder of classes alone, got the groups {encoder.groups}"
            )
        self.beta, self.warm_up = beta, warm_up

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        num_classes: int = 10,
        num_values: int = 5,
        temperature: float = 1.0,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: of any kind.
            networks: what encoder and decoder are made by.
            num_classes: how many classes the code has; a choice of ours, as are the next two.
            num_values: values of each.
            temperature: of the relaxation, as in :class:`~ppl_disentangle.conditionals.Grouped`.
            **hyper: of the story.
        """
        classes = {f"c{k}": num_values for k in range(num_classes)}
        return super().for_data(
            data, networks, groups={}, classes=classes, temperature=temperature, **hyper
        )

    def objective(self) -> BetaELBO:
        """The bound, its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
