"""The categorical VAE [Jang et al., 2017; Maddison et al., 2017]: a code of classes."""

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
    r"""Learns a code of classes without labels, for factors that have no order.

    .. math:: c^k \sim \operatorname{Concrete}(1/K, T), \quad x \mid c \sim p(x \mid c)

    - Story, guide: As in :class:`~ppl_disentangle.models.GroupedVAE`, without continuous latents.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; the divergence is taken between the
      relaxed classes.
    - Data: images or vectors, without labels.
    - For: factors without an order, such as colours and shapes. Classes cannot be rotated into each
      other as normal coordinates can [3]. On sums of three objects of several kinds, the best of
      three runs by its loss named the kinds.

    Args:
        encoder: Names, sizes and posteriors of the classes.
        decoder: ``decoder(h)`` is p(x | c), for h all classes side by side.
        beta: Weight of the divergences.
        warm_up: Number of steps over which the weight rises from 0.

    Raises:
        ValueError: The encoder has groups of continuous coordinates.

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
        self.beta = beta
        self.warm_up = warm_up

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
        """Build the story for ``data``, with a fresh encoder and decoder of equal classes.

        The default sizes and temperature are not from the papers.

        Args:
            data: Observations of any kind.
            networks: Makes the encoder and the decoder.
            num_classes: Number of classes of the code.
            num_values: Number of values of each class.
            temperature: Temperature of the relaxed classes.
            **hyper: Further arguments of the story.
        """
        classes = {f"c{k}": num_values for k in range(num_classes)}
        return super().for_data(
            data, networks, groups={}, classes=classes, temperature=temperature, **hyper
        )

    def objective(self) -> BetaELBO:
        """The bound with its divergences weighted by beta."""
        return BetaELBO(self.beta, warm_up=self.warm_up)
