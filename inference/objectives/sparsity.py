"""Sparse latents and sparse decoders: the bound with an L1 norm or with a group lasso."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import pairs_by_plate
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import bound_terms, sum_tensors
from ppl_disentangle.sites import latent_sites, sum_rightmost

__all__ = ["Columns", "SparsityELBO", "shrink_columns"]

Columns = Tensor | Sequence[Tensor]
"""Weights whose last dimension is the latents: one tensor, or one for each group of outputs."""


class SparsityELBO(DecomposedELBO):
    r"""The beta-weighted bound with sparse latents, or with a decoder that uses few of them [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z) - \beta \operatorname{KL}(q(z \mid x) \,\|\, p(z))
       - \lambda_1 \mathbb E \sum_d |z_d| - \lambda_2 \sum_g \sum_d \|W^g_{\cdot d}\|_2

    :math:`W^g_{\cdot d}` is the column of weights from latent d to the outputs of group g. Terms:
    ``"log_likelihood"``; ``"kl"``, negative, in closed form where torch knows it; ``"l1"``, minus
    the absolute values of the draw; ``"group_lasso"``, minus the norms times the number of data. The
    last two are not part of the bound, and are left out if their weight is zero. Gradient descent
    brings columns near zero; :func:`shrink_columns` sets them to zero.

    Other implementations: Variational-Sparse-Coding keeps some layers where its optimiser does not
    see them.

    Args:
        beta: Weight of the KL.
        l1: Weight lambda_1, in nats per unit of the latents.
        group_lasso: Weight lambda_2, in nats per datum and per unit of the decoder's weights.
        columns: The weights W, or a function that returns them, such as
            ``lambda: decoder.net[0].weight``: one tensor for all outputs, or one for each group.
            The last dimension is the latents, as in the weight of ``nn.Linear(latent, hidden)``;
            norms are over the other dimensions. Required for the group lasso.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: A weight is negative, ``group_lasso`` has no ``columns``, or these have fewer
            than two dimensions.

    References:
        [1] Ainsworth et al., 2018. https://arxiv.org/abs/1802.06765

    Example:
        >>> decoder = nn.Linear(4, 6)
        >>> SparsityELBO(l1=0.1, group_lasso=2.0, columns=decoder.weight)
        SparsityELBO(kl=1.0, l1=0.1, group_lasso=2.0, warm_up=0)
    """

    penalties: ClassVar[tuple[str, ...]] = ("l1", "group_lasso")

    def __init__(
        self,
        beta: Weight = 1.0,
        *,
        l1: Weight = 0.0,
        group_lasso: Weight = 0.0,
        columns: Columns | Callable[[], Columns] | None = None,
        **options: Any,
    ) -> None:
        super().__init__({"kl": beta, "l1": l1, "group_lasso": group_lasso}, **options)
        if group_lasso != 0 and columns is None:
            raise ValueError(
                "group_lasso needs columns=, the weights by which the decoder reads the latents"
            )
        # The story owns the weights. As an attribute, a parameter would belong to the objective
        # too, and would be trained twice; a function hides it from nn.Module.
        columns = () if columns is None else columns
        self._columns = columns if callable(columns) else lambda: columns

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KL and the negative penalties in use, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        terms = bound_terms(model_trace, sites)
        if self.weights["l1"] != 0:
            latents = [q for q, _ in sites if not q.is_auxiliary]
            norms = [q.total(sum_rightmost(q.value.abs(), q.fn.event_dim)) for q in latents]
            terms["l1"] = -sum_tensors(norms)
        if self.weights["group_lasso"] != 0:
            particles = self.num_particles if self.vectorize_particles else 1
            count = (
                particles * pairs_by_plate(model_trace, guide_trace, required=False).plate.full_size
            )
            terms["group_lasso"] = -count * self._norms().sum()
        return terms

    def _norms(self) -> Tensor:
        """Norms of all columns of all groups, side by side."""
        columns = self._columns()
        groups = [columns] if isinstance(columns, Tensor) else list(columns)
        return torch.cat([_column_norms(weight).flatten() for weight in groups])


def shrink_columns(weight: Tensor, amount: float) -> None:
    r"""Shorten each column of ``weight`` in place, shorter ones to exactly zero.

    .. math:: W_{\cdot d} \leftarrow \max\Big(0, 1 - \frac{\text{amount}}{\|W_{\cdot d}\|_2}\Big) W_{\cdot d}

    This is the proximal step of the group lasso [1]. Take it after each step of gradient descent on
    an objective without that penalty. The amount is the learning rate times the weight of the
    penalty, in nats per datum if the loss is.

    Args:
        weight: Weights of shape ``(…, latent)``; a column runs over all dimensions but the last.
        amount: Length by which each column is shortened.

    References:
        [1] Ainsworth et al., 2018. https://arxiv.org/abs/1802.06765

    Example:
        >>> weight = torch.tensor([[3.0, 0.1], [4.0, 0.1]])
        >>> shrink_columns(weight, 1.0)
        >>> weight
        tensor([[2.4000, 0.0000],
                [3.2000, 0.0000]])
    """
    if amount < 0:
        raise ValueError(f"expected amount >= 0, got {amount}")
    with torch.no_grad():
        norms = _column_norms(weight)
        weight.mul_((norms - amount).clamp(min=0) / norms.where(norms > 0, 1.0))


def _column_norms(weight: Tensor) -> Tensor:
    """Norms over all dimensions but the last, of shape ``(latent,)``."""
    if weight.dim() < 2:
        raise ValueError(
            f"expected columns of shape (…, latent), such as a matrix, got {tuple(weight.shape)}"
        )
    return torch.linalg.vector_norm(weight, dim=tuple(range(weight.dim() - 1)))
