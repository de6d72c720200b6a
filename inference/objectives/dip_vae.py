"""DIP-VAE's objective: the covariance of the aggregate posterior is held to the identity."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import bound_terms
from ppl_disentangle.sites import latent_sites

__all__ = ["DIPELBO", "Variant", "covariance"]

Variant = Literal["I", "II"]


class DIPELBO(DecomposedELBO):
    r"""The evidence lower bound with the latents decorrelated over the data [1].

    .. math:: \text{ELBO} - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2

    C is a covariance over the data of the batch, of shape ``(dim, dim)``: for variant ``"I"`` that of the posteriors'
    means, for ``"II"`` that of the aggregate posterior, whose diagonal has the mean variances too. Terms:
    ``"log_likelihood"``; ``"kl"``, negative, in closed form where torch knows it; ``"off_diagonal"`` and
    ``"diagonal"``, minus the two sums times the number of data, which are no part of the bound.

    Avoids: a scalar mean of variances added to every entry of C in place of a diagonal matrix (disent).

    Args:
        off_diagonal: weight of the covariances; [2] searches 1 to 50, 10 is a choice of ours.
        diagonal: weight of the variances; by default as in [2]: 10 times ``off_diagonal`` for variant ``"I"``, the same
            for ``"II"``.
        variant: ``"I"`` or ``"II"``.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: a weight is negative, or ``diagonal`` is left open while ``off_diagonal`` is a schedule; or a
            posterior's moments have no closed form.

    References:
        [1] Kumar et al., 2018. https://arxiv.org/abs/1711.00848
        [2] Locatello et al., 2019. https://arxiv.org/abs/1811.12359

    Example:
        >>> DIPELBO(5.0)
        DIPELBO(off_diagonal=5.0, diagonal=50.0, warm_up=0, variant='I')
    """

    penalties: ClassVar[tuple[str, ...]] = ("off_diagonal", "diagonal")

    def __init__(
        self,
        off_diagonal: Weight = 10.0,
        diagonal: Weight | None = None,
        *,
        variant: Variant = "I",
        **options: Any,
    ) -> None:
        if variant not in get_args(Variant):
            raise ValueError(
                f"expected variant {' or '.join(map(repr, get_args(Variant)))}, got {variant!r}"
            )
        if diagonal is None:
            if callable(off_diagonal):
                raise ValueError("off_diagonal is a schedule: pass diagonal= too")
            diagonal = 10.0 * off_diagonal if variant == "I" else off_diagonal
        super().__init__({"off_diagonal": off_diagonal, "diagonal": diagonal}, **options)
        self.variant = variant

    def extra_repr(self) -> str:
        """The weights and the variant, for checkpoints and tables."""
        return f"{super().extra_repr()}, variant={self.variant!r}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KL and the two negative penalties, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        matrix = covariance(latents.means(), latents.weights)
        variances = matrix.diagonal(dim1=-2, dim2=-1)
        squares = matrix.square().sum() - variances.square().sum()
        if self.variant == "II":
            variances = variances + (latents.weights[:, None] * latents.variances()).sum(-2)
        return {
            **bound_terms(model_trace, sites),
            "off_diagonal": -latents.count * squares,
            "diagonal": -latents.count * (variances - 1).square().sum(),
        }


def covariance(values: Tensor, weights: Tensor) -> Tensor:
    r"""The covariance of ``values`` of shape ``(…, batch, dim)`` over the batch, of shape ``(…, dim, dim)``.

    .. math:: C = \sum_n w_n (v_n - \bar v)(v_n - \bar v)^\top, \quad \bar v = \sum_n w_n v_n

    Args:
        values: v.
        weights: w of shape ``(batch,)``, of sum 1.

    Example:
        >>> covariance(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), torch.full((2,), 0.5))
        tensor([[1., 2.],
                [2., 4.]])
    """
    weights = weights[:, None]
    centred = values - (weights * values).sum(-2, keepdim=True)
    # a product and a sum, since autocast would take a matrix product to bfloat16
    return ((weights * centred).unsqueeze(-1) * centred.unsqueeze(-2)).sum(-3)
