"""The objective of HFVAE: total correlation between groups of latents and within them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pyro.poutine import Trace
from torch import Tensor

from ppl_disentangle.inference.elbo.aggregate import AggregateELBO, Estimator
from ppl_disentangle.inference.elbo.latents import pairs_by_plate
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.inference.elbo.terms import log_likelihood, shared_terms, sum_tensors
from ppl_disentangle.sites import Site

__all__ = ["HFELBO"]


class HFELBO(AggregateELBO):
    r"""The evidence lower bound with its KL decomposed on two levels, each part weighted: HFVAE [1].

    .. math:: \mathbb E_{q(z \mid x)} \log p(x \mid z)
       - w_1 \underbrace{\mathbb E \log \frac{q(z \mid x)}{q(z)}}_{\text{mutual information}}
       - w_2 \underbrace{\mathbb E \log \frac{q(z)}{\prod_g q(z^g)}}_{\text{between groups}}
       - w_3 \underbrace{\mathbb E \sum_g \log \frac{q(z^g)}{\prod_d q(z^g_d)}}_{\text{within groups}}
       - w_4 \underbrace{\mathbb E \log \frac{\prod_{g,d} q(z^g_d)}{p(z)}}_{\text{dimension-wise KL}}

    z^g is a group of latent sites side by side, z^g_d one of its coordinates, and
    q(z) = 1/N sum_n q(z | x_n) the aggregate posterior over the N data, estimated as in
    :class:`~ppl_disentangle.inference.AggregateELBO`. Terms: ``"log_likelihood"``,
    ``"mutual_information"``, ``"between_groups"``, ``"within_groups"``, ``"dimension_wise_kl"``, the
    last four negative, as parts of the bound, each summed over the data that the batch stands for.
    For every estimator they sum to the bound of ``Trace_ELBO`` at the same draw. Latents that all
    data share have a separate term, ``"shared_kl"``, of weight 1, and belong to no group. A
    coordinate that is masked for a datum is compared among the data that have it. A large weight
    between groups and a small one within asks for groups that are independent of each other and may
    be entangled inside.

    The terms between and within groups sum to the total correlation of
    :class:`~ppl_disentangle.inference.TCELBO`. With a single group the term between groups is zero;
    with groups of one coordinate each the term within groups is.

    If the prior does not factorise over coordinates, as p(z2 | z1), its correlation counts in the
    dimension-wise KL. That term then compares the product of the q(z_d) with a prior that is not a
    product, and the penalties between and within groups pull q away from that prior. [1] moves the
    prior's correlation into the terms between and within groups; for a factorised prior both are
    equal.

    Other implementations: In beta-tcvae and its ports, the datum's own posterior also counts as one
    of the others, which makes q(z) too high and the mutual information too low. In probtorch, a
    mean over the batch leaves a factor B(N - 1) / (N(B - 1)) on q(z).

    Args:
        mutual_information: Weight of the mutual information of data and latents.
        between_groups: Weight of the total correlation between groups; the default is our choice.
        within_groups: Weight of the total correlation within groups.
        dimension_wise_kl: Weight of the dimension-wise KL.
        groups: Names of latent sites, in groups; every latent must be in exactly one. By default
            each site is a group.
        estimator: Estimator of q(z): ``"stratified"``, ``"symmetric"``, as in [1], or
            ``"weighted"``; see :class:`~ppl_disentangle.inference.AggregateELBO`.
        **options: Further options of :class:`~ppl_disentangle.inference.DecomposedELBO`; see there.
            ``num_data`` is required if the plate over the data has only the size of the batch.

    Raises:
        ValueError: A group is empty, a latent is in two groups or is missing, or a group has a name
            that is not a latent.

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
        """The log likelihood and the four parts of the negative KL, in nats."""
        pairs = pairs_by_plate(model_trace, guide_trace)
        latents = pairs.latents()
        joint, by_group, factored = self.densities(latents, self._grouped(latents.sites))
        posterior = sum_tensors([q.total(q.log_prob()) for q, _ in pairs.local])
        prior = sum_tensors([p.total(p.log_prob()) for _, p in pairs.local])
        return shared_terms(pairs, sampled=True) | {
            "log_likelihood": log_likelihood(model_trace),
            "mutual_information": joint - posterior,
            "between_groups": by_group - joint,
            "within_groups": factored - by_group,
            "dimension_wise_kl": prior - factored,
        }

    def _grouped(self, sites: Sequence[Site]) -> list[list[Site]]:
        """The sites in their groups."""
        if self.groups is None:
            return [[site] for site in sites]
        latents = {site.name: site for site in sites}
        named = list(itertools.chain(*self.groups))
        for name in named:
            if name not in latents:
                raise ValueError(f"groups name {name!r}, the guide's latents are {list(latents)}")
        for name in latents:
            if name not in named:
                raise ValueError(f"latent {name!r} is in no group; the groups are {self.groups}")
        grouped = []
        for group in self.groups:
            grouped.append([latents[name] for name in group])
        return grouped


def _disjoint(groups: Sequence[Sequence[str]]) -> list[list[str]]:
    """The groups as lists, with each name in one group at most.

    Raises:
        ValueError: A group is empty or is not a sequence of names, or a name occurs twice.
    """
    if isinstance(groups, str) or any(isinstance(group, str) for group in groups):
        raise ValueError(
            f"expected groups as sequences of names, such as [['a'], ['b', 'c']], got {groups!r}"
        )
    lists = [list(group) for group in groups]
    if [] in lists:
        raise ValueError(f"expected at least one latent in each group, got {lists}")
    counts = Counter(itertools.chain(*lists))
    for name, count in counts.items():
        if count > 1:
            raise ValueError(f"latent {name!r} is in groups twice: {lists}")
    return lists
