"""HFVAE's objective: the total correlation split in what is between groups of latents and what is within them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.aggregate import AggregateELBO, Estimator
from ppl_disentangle.inference.elbo.latents import Latents
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import added, log_likelihood
from ppl_disentangle.sites import Site, latent_sites

__all__ = ["HFELBO"]


class HFELBO(AggregateELBO):
    r"""The evidence lower bound with its KL decomposed on two levels and each part weighted [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - w_1 \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{\text{mutual information}}
       - w_2 \underbrace{\mathbb E \log \frac{q(z)}{\prod_g q(z^g)}}_{\text{between groups}}
       - w_3 \underbrace{\mathbb E \sum_g \log \frac{q(z^g)}{\prod_d q(z^g_d)}}_{\text{within groups}}
       - w_4 \underbrace{\mathbb E \log \frac{\prod_{g,d} q(z^g_d)}{p(z)}}_{\text{dimension-wise KL}}

    z^g is a group of latent sites side by side, z^g_d one of its coordinates, and q(z) = 1/N sum_n q(z | x_n) the
    aggregate posterior over the N data, estimated as in
    :class:`~ppl_disentangle.inference.AggregateELBO`. Terms: ``"log_likelihood"``, ``"mutual_information"``,
    ``"between_groups"``, ``"within_groups"``, ``"dimension_wise_kl"``, the last four with the sign of parts of the
    bound, each summed over the data that the batch stands for. Their sum is the bound of ``Trace_ELBO`` at the same
    draw, whatever the estimator. A large weight between groups and a small one within asks for groups that are
    independent of each other and may be entangled inside.

    Laws: between and within groups sum to the total correlation of
    :class:`~ppl_disentangle.inference.TCELBO`; one group of all latents has nothing between groups, groups of one
    coordinate each have nothing within.

    Where the prior is no product over coordinates, as in p(z2 | z1), its correlation counts in the dimension-wise KL,
    which is then a divergence from the product of the q(z_d) to a prior that is none: it keeps q from a prior that the
    other terms pull it away from. [1] takes the prior's correlation into the terms between and within groups instead;
    for a factorised prior both are the same.

    Avoids: an own posterior counted as one of the batch's others, which makes q(z) too high and the mutual information
    too low (beta-tcvae and its ports); the factor B(N - 1) / (N(B - 1)) that a mean over the batch leaves on q(z)
    (probtorch).

    Args:
        mutual_information: weight of the mutual information of data and latents.
        between_groups: weight of the total correlation between groups; the default is a choice of ours.
        within_groups: weight of the total correlation within groups.
        dimension_wise_kl: weight of the dimension-wise KL.
        groups: names of latent sites, in groups; every latent is in exactly one. By default each site is a group.
        estimator: ``"stratified"``, ``"symmetric"`` (that of [1]) or ``"weighted"``.
        **options: as in :class:`~ppl_disentangle.inference.DecomposedELBO`; ``num_data`` is needed where the plate over
            the data does not tell how many data a batch stands for.

    Raises:
        ValueError: a group is empty, a latent is in two groups or in none, or a group names what is no latent.

    References:
        [1] Esmaeili et al., 2019. https://arxiv.org/abs/1804.02086
    """

    def __init__(
        self,
        *,
        mutual_information: Weight = 1.0,
        between_groups: Weight = 4.0,
        within_groups: Weight = 1.0,
        dimension_wise_kl: Weight = 1.0,
        groups: Sequence[Sequence[str]] | None = None,
        estimator: Estimator = "symmetric",
        **options: Any,
    ) -> None:
        weights = {
            "mutual_information": mutual_information,
            "between_groups": between_groups,
            "within_groups": within_groups,
            "dimension_wise_kl": dimension_wise_kl,
        }
        super().__init__(weights, estimator=estimator, **options)
        self.groups = None if groups is None else _disjoint(groups)

    def extra_repr(self) -> str:
        """The weights, the estimator and the groups, for checkpoints and tables."""
        return f"{super().extra_repr()}, groups={self.groups}"

    def terms(self, model_trace: Trace, guide_trace: Trace) -> dict[str, Tensor]:
        """Log likelihood and the four parts of the negative KL, in nats."""
        sites = latent_sites(model_trace, guide_trace)
        latents = Latents([q for q, _ in sites])
        joint, by_group, factored = map(
            latents.total, self.densities(latents, self._grouped(latents.sites))
        )
        given_x = added([q.total(q.log_prob()) for q, _ in sites])
        prior = added([p.total(p.log_prob()) for _, p in sites])
        return {
            "log_likelihood": log_likelihood(model_trace),
            "mutual_information": joint - given_x,
            "between_groups": by_group - joint,
            "within_groups": factored - by_group,
            "dimension_wise_kl": prior - factored,
        }

    def _grouped(self, sites: Sequence[Site]) -> list[list[Site]]:
        if self.groups is None:
            return [[site] for site in sites]
        latents = {site.name: site for site in sites}
        for group in self.groups:
            for name in group:
                if name not in latents:
                    raise ValueError(
                        f"groups name {name!r}, the guide's latents are {list(latents)}"
                    )
        named = {name for group in self.groups for name in group}
        for name in latents:
            if name not in named:
                raise ValueError(f"latent {name!r} is in no group; the groups are {self.groups}")
        return [[latents[name] for name in group] for group in self.groups]


def _disjoint(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """Lists of names, each name once.

    Raises:
        ValueError: a group is empty or no sequence of names, or a name comes twice.
    """
    if isinstance(groups, str) or any(isinstance(group, str) for group in groups):
        raise ValueError(
            f"expected groups as sequences of names, such as [['a'], ['b', 'c']], got {groups!r}"
        )
    seen: set[str] = set()
    for group in groups:
        if not group:
            raise ValueError(
                f"expected at least one latent in each group, got {[list(g) for g in groups]}"
            )
        for name in group:
            if name in seen:
                raise ValueError(f"latent {name!r} is in groups twice: {[list(g) for g in groups]}")
            seen.add(name)
    return [list(group) for group in groups]
