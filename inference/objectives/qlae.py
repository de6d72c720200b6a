"""QLAE's objective: the bound of quantised codes, with the distances of codes from their values."""

from __future__ import annotations

from typing import Any, ClassVar

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.decomposed import DecomposedELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import added, bound_terms
from ppl_disentangle.sites import deterministic_sites, latent_sites

__all__ = ["QuantisedELBO"]


class QuantisedELBO(DecomposedELBO):
    r"""The bound, less the squared distances between what was quantised and what it became [1].

    .. math:: \mathbb E \log p(x \mid z) - \operatorname{KL}(q(z \mid x) \,\|\, p(z)) - \lambda_v \sum_d
       (\operatorname{sg} u_d - v_d)^2 - \lambda_c \sum_d (u_d - \operatorname{sg} v_d)^2

    v is the value nearest to u, and z is v with the gradient of u; sg lets no gradient through. For each latent ``z``
    the guide states both as auxiliary sites ``"z_continuous"`` and ``"z_nearest"``, as
    :class:`~ppl_disentangle.models.QLAE` does. Terms: ``"log_likelihood"``, ``"kl"``, and ``"quantisation"`` and
    ``"commitment"``, minus the distances, which are no part of the bound: values learn by the former, codes by the
    latter.

    Avoids: no mistake is known in the authors' code.

    Args:
        quantisation: lambda_v, 0.01 in [1].
        commitment: lambda_c, 0.01 in [1].
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`.

    Raises:
        ValueError: a negative weight; when called, a guide that does not state what it quantised.

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
        """The bound and the two negative distances, in nats and in squared units of the latents."""
        sites, stated = latent_sites(model_trace, guide_trace), deterministic_sites(guide_trace)
        values, codes = [], []
        for q, _ in sites:
            names = f"{q.name}_continuous", f"{q.name}_nearest"
            if missing := [name for name in names if name not in stated]:
                raise ValueError(f"the guide does not state {missing[0]!r}, of latent {q.name!r}")
            u, v = (stated[name].value for name in names)
            values.append(q.total((u.detach() - v).square().sum(-1)))
            codes.append(q.total((u - v.detach()).square().sum(-1)))
        distances = {"quantisation": -added(values), "commitment": -added(codes)}
        return bound_terms(model_trace, sites) | distances
