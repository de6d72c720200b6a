"""DC-IGN [Kulkarni et al., 2015]: groups in which one known factor varies, and a coordinate for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import FactorDataset, groups
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.isotropic import IsotropicVAE
from ppl_disentangle.networks import Networks

__all__ = ["DCIGN"]


class DCIGN(IsotropicVAE):
    r"""The isotropic story of groups in which one factor varies, whose coordinates alone may tell the members apart.

    .. math:: q(z_d \mid x_{gm}) = \begin{cases} \mathcal N(\mu_d(x_{gm}), \sigma^2_d(x_{gm})) & d \text{ belongs to the
       factor that varies in } g \\ \mathcal N(\bar\mu_d, \bar{\sigma^2_d}) & \text{else} \end{cases}
       \qquad \mathcal L - \frac{\lambda}{2} \sum_{d \text{ else}} (\mu_d(x_{gm}) - \bar\mu_d)^2

    Bars are means over the group, through which no gradient passes: what a coordinate of another factor learns is to
    be alike in the group. The gradient of the last term is the one by which [1] replaces that of such coordinates.

    - Story: as of :class:`IsotropicVAE`.
    - Guide: above; of single observations each coordinate is its own.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; the last term is a ``pyro.factor`` of the guide.
    - Data: groups ``(batch, members, *event)`` that are told what varies in them, ``varied``, the position of a factor,
      int64 ``(batch,)``, such as of :func:`~ppl_disentangle.data.groups` with ``conditions=True``.
    - For: coordinates of factors that can be varied one at a time, as a renderer or a lab can, but not measured.

    Args:
        encoder: as in :class:`IsotropicVAE`.
        decoder: as in :class:`IsotropicVAE`.
        factors: number of coordinates of each factor, by name, in the order of their positions; 0 for none.
        event_dim: number of dimensions of one observation, by which groups are told from single ones.
        invariance: lambda; 0.01 in [1].
        beta: weight of the divergence.
        warm_up: steps over which the weights rise from 0.

    Raises:
        ValueError: no coordinate; when called, groups that are not told what varies.

    References:
        [1] Kulkarni et al., 2015. https://arxiv.org/abs/1503.03167

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli
        >>> networks = Gaussian(nn.Linear(6, 6)), Bernoulli(nn.Linear(3, 6))
        >>> story = DCIGN(*networks, {"azimuth": 1, "identity": 2}, event_dim=1)
        >>> story.coordinate_names["z"]
        ('azimuth', 'identity[0]', 'identity[1]')
    """

    owners: Tensor
    members: int = 4
    """Of the groups of :meth:`training_data`."""

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        factors: Mapping[str, int],
        *,
        event_dim: int = 3,
        invariance: Weight = 0.01,
        beta: Weight = 1.0,
        warm_up: int = 0,
    ) -> None:
        if min(factors.values(), default=0) < 0 or not sum(factors.values()):
            raise ValueError(
                f"expected a number of coordinates for each factor, got {dict(factors)}"
            )
        super().__init__(encoder, decoder, sum(factors.values()))
        self.factors, self.event_dim = tuple(factors), event_dim
        self.invariance, self.beta, self.warm_up = invariance, beta, warm_up
        owners = torch.tensor([k for k, size in enumerate(factors.values()) for _ in range(size)])
        self.register_buffer("owners", owners, persistent=False)
        names = (
            (n,) if size == 1 else tuple(f"{n}[{i}]" for i in range(size))
            for n, size in factors.items()
        )
        self.coordinate_names = {"z": sum(names, ())}

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        factor_dim: int = 1,
        members: int = 4,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks for ``data``; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with factors.
            networks: what encoder and decoder are made by.
            factor_dim: coordinates of each factor that varies.
            members: of a group of :meth:`training_data`.
            **hyper: of the story.

        Raises:
            ValueError: data none of whose factors vary.
        """
        factors = {name: factor_dim * (name in data.varying) for name in data.factor_names}
        if not any(factors.values()):
            raise ValueError(
                f"{cls.__name__} needs groups in which a factor varies: {data.name} has none that does"
            )
        dim = sum(factors.values())
        encoder, decoder = Gaussian(networks.encoder(2 * dim)), networks.decoder(dim)
        story = cls(encoder, decoder, factors, event_dim=len(data.observation_shape), **hyper)
        story.members = members
        return story

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many groups as there are data, in which one factor varies, and which."""
        return groups(data, self.members, conditions=True)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, varied: Tensor | None = None
    ) -> Tensor:
        """p(x, z) of every member."""
        return super().model(x.flatten(0, 1) if self._are_groups(x) else x, batch_size=batch_size)  # type: ignore[union-attr]

    def guide(self, x: Tensor, *, varied: Tensor | None = None) -> None:
        """q(z | x) of every member, alike in a group but for what varies."""
        if not self._are_groups(x):
            super().guide(x)
            return
        if varied is None:
            raise ValueError(
                "groups (batch, members, …) need varied=, the position of the factor that varies in each"
            )
        members = x.flatten(0, 1)
        posterior = self.encoder(members)
        others = self.owners.ne(varied[:, None]).repeat_interleave(x.shape[1], 0)
        with self.data_plate(members):
            clamped, apart = self.clamped(posterior, others, x.shape[1])
            pyro.sample("z", clamped)
            pyro.factor("invariance", 0.5 * apart.square().sum(-1), has_rsample=True)

    def clamped(
        self, posterior: TorchDistribution, others: Tensor, members: int
    ) -> tuple[TorchDistribution, Tensor]:
        """Posteriors that are alike where ``others``, and how far they are from their group there.

        Args:
            posterior: of all members, ``(groups * members,)``, those of a group in a row.
            others: which coordinates are not of what varies, ``(groups * members, latent_dim)``.
            members: of a group.
        """
        q = posterior.base_dist
        loc, variance = (_group_mean(t.detach(), members) for t in (q.loc, q.scale.square()))
        alike = dist.Normal(
            torch.where(others, loc, q.loc), torch.where(others, variance.sqrt(), q.scale)
        )
        return alike.to_event(1), torch.where(others, q.loc - loc, 0.0)

    def _are_groups(self, x: Tensor | None) -> bool:
        return x is not None and x.dim() == 2 + self.event_dim

    def objective(self) -> BetaELBO:
        """The bound less the distances within groups."""
        return BetaELBO(self.beta, warm_up=self.warm_up, factors={"invariance": self.invariance})


def _group_mean(values: Tensor, members: int) -> Tensor:
    """Means over groups of ``members`` rows, for each row."""
    return values.unflatten(0, (-1, members)).mean(1).repeat_interleave(members, 0)
