"""The objective of beta-TCVAE: mutual information, total correlation and dimension-wise KL."""

from __future__ import annotations

from typing import Any

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.aggregate import AggregateELBO, Estimator
from ppl_disentangle.inference.elbo.latents import pairs_by_plate
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import log_likelihood, shared_terms, sum_tensors

__all__ = ["TCELBO"]


class TCELBO(AggregateELBO):
    r"""The evidence lower bound with its KL decomposed, each part weighted: beta-TCVAE [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - \alpha \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{\text{mutual information}}
       - \beta \underbrace{\mathbb E \log \frac{q(z)}{\prod_d q(z_d)}}_{\text{total correlation}}
       - \gamma \underbrace{\mathbb E \sum_d \log \frac{q(z_d)}{p(z_d)}}_{\text{dimension-wise KL}}

    z are all latents of a datum side by side; q(z) = 1/N sum_n q(z | x_n) is the aggregate
    posterior over the N data, estimated as in :class:`~ppl_disentangle.inference.AggregateELBO`.
    Terms: ``"log_likelihood"``, ``"mutual_information"``, ``"total_correlation"`` and
    ``"dimension_wise_kl"``, the last three negative, as parts of the bound. For every estimator
    they sum to the bound of ``Trace_ELBO`` at the same draw. Latents that all data share have a
    separate term, ``"shared_kl"``, of weight 1. A coordinate that is masked for a datum is compared
    among the data that have it.

    Other implementations: The authors' beta-tcvae, disentangling-vae, pythae and
    disentangling-correlated-factors put the stratified weights in columns, not on the diagonal.
    disentanglement_lib, disent and disentangling-vae drop the constants of the weighted estimator,
    so they do not log a total correlation. disent applies beta to the KL as well as beta - 1 to the
    total correlation.

    Args:
        alpha: Weight of the mutual information.
        beta: Weight of the total correlation; [1] uses 6 on dSprites.
        gamma: Weight of the dimension-wise KL.
        estimator: Estimator of q(z): ``"stratified"``, ``"symmetric"`` or ``"weighted"``; see
            :class:`~ppl_disentangle.inference.AggregateELBO`.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.
            ``num_data`` is required if the plate over the data has only the size of the batch.

    References:
        [1] Chen et al., 2018. https://arxiv.org/abs/1802.04942
    """

    def __init__(
        self,
        alpha: Weight = 1.0,
        beta: Weight = 6.0,
        gamma: Weight = 1.0,
        *,
        estimator: Estimator = "stratified",
        **options: Any,
    ) -> None:
        weights = {
            "mutual_information": alpha,
            "total_correlation": beta,
            "dimension_wise_kl": gamma,
        }
        super().__init__(weights, estimator=estimator, **options)

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """The log likelihood and the three parts of the negative KL, in nats."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        latents = pairs.latents()
        joint, _, factored = self.densities(latents, [latents.sites])
        posterior = sum_tensors([q.total(q.log_prob()) for q, _ in pairs.local])
        prior = sum_tensors([p.total(p.log_prob()) for _, p in pairs.local])
        return shared_terms(pairs, sampled=True) | {
            "log_likelihood": log_likelihood(model_trace),
            "mutual_information": joint - posterior,
            "total_correlation": factored - joint,
            "dimension_wise_kl": prior - factored,
        }
