"""The objective of QLAE: the bound of quantised codes, and their distances from the code values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import bound_terms, sum_tensors
from ppl_disentangle.sites import Site, deterministic_sites, latent_sites

__all__ = ["QuantisedELBO"]


class QuantisedELBO(DecomposedELBO):
    r"""The bound minus the squared distances between latents and their quantised values [1].

    .. math:: \mathbb E \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - \lambda_v \sum_d
       (\operatorname{sg} u_d - v_d)^2 - \lambda_c \sum_d (u_d - \operatorname{sg} v_d)^2

    u is the continuous output of the encoder, v the nearest of the learned values, and z is v with
    the gradient of u; sg stops the gradient. For each latent ``z`` the guide states u and v as the
    auxiliary sites ``"z_continuous"`` and ``"z_nearest"``, as :class:`~ppl_disentangle.models.QLAE`
    does. Terms: ``"log_likelihood"``, ``"kl"``, and ``"quantisation"`` and ``"commitment"``, minus
    the two distances, not part of the bound. The first distance trains the values, the second the
    encoder.

    Args:
        quantisation: Weight lambda_v; [1] uses 0.01.
        commitment: Weight lambda_c; [1] uses 0.01.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.

    Raises:
        ValueError: A weight is negative; at the first call, the guide lacks an auxiliary site.

    References:
        [1] Hsu et al., 2023. https://arxiv.org/abs/2305.18378

    Example:
        >>> QuantisedELBO(commitment=0.1)
        QuantisedELBO(quantisation=0.01, commitment=0.1, warm_up=0)
    """

    penalties: ClassVar[tuple[str, ...]] = ("quantisation", "commitment")

    def __init__(
        self, quantisation: Weight = 0.01, commitment: Weight = 0.01, **options: Any
    ) -> None:
        super().__init__({"quantisation": quantisation, "commitment": commitment}, **options)

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood, negative KL and the negative distances, in nats and squared latents."""
        sites = latent_sites(model_trace, guide_trace)
        stated = deterministic_sites(guide_trace)
        value_errors: list[Tensor] = []
        code_errors: list[Tensor] = []
        for q, _ in sites:
            u = _stated(stated, f"{q.name}_continuous", q).value
            v = _stated(stated, f"{q.name}_nearest", q).value
            value_errors.append(q.total((u.detach() - v).square().sum(-1)))
            code_errors.append(q.total((u - v.detach()).square().sum(-1)))
        distances = {
            "quantisation": -sum_tensors(value_errors),
            "commitment": -sum_tensors(code_errors),
        }
        return bound_terms(model_trace, sites) | distances


def _stated(stated: Mapping[str, Site], name: str, latent: Site) -> Site:
    """An auxiliary site of the guide."""
    if name not in stated:
        raise ValueError(f"the guide does not state {name!r}, of latent {latent.name!r}")
    return stated[name]
