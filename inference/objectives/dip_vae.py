"""The objective of DIP-VAE: the covariance of the latents is held at the identity."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.latents import Latents, pairs_by_plate
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import local_bound_terms

__all__ = ["DIPELBO", "Variant", "covariance"]

Variant = Literal["I", "II"]


class DIPELBO(DecomposedELBO):
    r"""The evidence lower bound with the latents decorrelated over the data: DIP-VAE [1].

    .. math:: \text{ELBO} - \lambda_{od} \sum_{i \ne j} C_{ij}^2 - \lambda_d \sum_i (C_{ii} - 1)^2

    C is a covariance over the data of the batch, of shape ``(dim, dim)``: of the posteriors' means
    for variant ``"I"``; of the aggregate posterior for variant ``"II"``, which adds the mean
    covariance of the posteriors, a diagonal matrix if their coordinates are independent. Entry (i,
    j) is over the data for which neither coordinate is masked. Terms: ``"log_likelihood"``;
    ``"kl"``, negative, in closed form where torch knows it; ``"off_diagonal"`` and ``"diagonal"``,
    minus the two sums times the number of data, not part of the bound.

    Other implementations: In disent, the mean of all variances, a scalar, is added to every entry
    of C; the mean variances belong on the diagonal.

    Args:
        off_diagonal: Weight of the covariances. [2] searches 1 to 50; 10 is our choice.
        diagonal: Weight of the variances. By default, as in [2], 10 times ``off_diagonal`` for
            variant ``"I"``, and ``off_diagonal`` for ``"II"``.
        variant: ``"I"`` or ``"II"``.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: A weight is negative; ``off_diagonal`` is a schedule and ``diagonal`` is
            missing; or the moments of a posterior have no closed form.

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
        pairs = pairs_by_plate(model_trace, guide_trace)
        latents = pairs.latents()
        matrix = _covariance_of_means(latents)  # (…, dim, dim)
        noise = latents.covariances() if self.variant == "II" else None
        if noise is not None:
            matrix = matrix + _mean_over_data(noise, latents)
        variances = matrix.diagonal(dim1=-2, dim2=-1)
        squared_covariances = matrix.square().sum() - variances.square().sum()
        if self.variant == "II" and noise is None:
            variances = variances + _mean_variances(latents)
        errors = (variances - 1).square()
        if latents.present is not None:  # a coordinate that no datum has needs no variance
            errors = errors.where(latents.present.any(-2), 0.0)
        return local_bound_terms(model_trace, pairs) | {
            "off_diagonal": -latents.count * squared_covariances,
            "diagonal": -latents.count * errors.sum(),
        }


def _covariance_of_means(latents: Latents) -> Tensor:
    """The covariance of the posteriors' means over the data, of shape ``(…, dim, dim)``.

    Each entry is over the data that have both coordinates.
    """
    means = latents.means()
    if latents.present is None:
        return covariance(means, latents.weights)
    # Without the mean of each coordinate first, small differences of large products would be lost.
    present = latents.present.to(means.dtype)
    weights = _normalised(present, -2)
    means = (means - (weights * means).sum(-2, keepdim=True)).where(latents.present, 0.0)
    of_pairs = _pair_weights(present)  # (…, batch, dim, dim)
    left = of_pairs * means.unsqueeze(-1)
    right = means.unsqueeze(-2)
    # left.sum(-3): means of i over the data with i and j
    return (left * right).sum(-3) - left.sum(-3) * (of_pairs * right).sum(-3)


def _pair_weights(present: Tensor) -> Tensor:
    """Weights of the data in means over those with both coordinates: ``(…, batch, dim, dim)``."""
    return _normalised(present.unsqueeze(-1) * present.unsqueeze(-2), -3)


def _normalised(present: Tensor, dim: int) -> Tensor:
    """Equal weights that sum to 1 over the entries along ``dim`` that are present, 1 and not 0."""
    return present / present.sum(dim, keepdim=True).clamp(min=1)


def _mean_over_data(matrices: Tensor, latents: Latents) -> Tensor:
    """The mean of matrices of shape ``(…, batch, dim, dim)`` over the data with both coordinates."""
    if latents.present is None:
        return (latents.weights[:, None, None] * matrices).sum(-3)
    return (_pair_weights(latents.present.to(matrices.dtype)) * matrices).sum(-3)


def _mean_variances(latents: Latents) -> Tensor:
    """The mean variance of each coordinate over the data that have it, of shape ``(…, dim)``."""
    if latents.present is None:
        return (latents.weights[:, None] * latents.variances()).sum(-2)
    variances = latents.variances()
    return (_normalised(latents.present.to(variances.dtype), -2) * variances).sum(-2)


def covariance(values: Tensor, weights: Tensor) -> Tensor:
    r"""The weighted covariance of rows, of shape ``(…, dim, dim)``.

    .. math:: C = \sum_n w_n (v_n - \bar v)(v_n - \bar v)^\top, \quad \bar v = \sum_n w_n v_n

    Args:
        values: The rows v, of shape ``(…, batch, dim)``.
        weights: The weights w, of shape ``(batch,)``, which sum to 1.

    Example:
        >>> covariance(torch.tensor([[1.0, 2.0], [-1.0, -2.0]]), torch.full((2,), 0.5))
        tensor([[1., 2.],
                [2., 4.]])
    """
    weights = weights[:, None]
    centred = values - (weights * values).sum(-2, keepdim=True)
    # A product and a sum: autocast would compute a matrix product in bfloat16.
    return ((weights * centred).unsqueeze(-1) * centred.unsqueeze(-2)).sum(-3)
