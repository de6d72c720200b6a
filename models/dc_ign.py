"""DC-IGN [Kulkarni et al., 2015]: coordinates for factors that vary one at a time."""

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
from ppl_disentangle.models.bases.normal_code import NormalCode
from ppl_disentangle.names import check_names, free_name
from ppl_disentangle.networks import Networks

__all__ = ["DCIGN"]


class DCIGN(NormalCode):
    r"""Learns coordinates for named factors from groups in which one known factor varies.

    .. math:: q(z_d \mid x_{gm}) = \begin{cases}
       \mathcal N(\mu_d(x_{gm}), \sigma^2_d(x_{gm}))
       & d \text{ belongs to the factor that varies in } g \\
       \mathcal N(\bar\mu_d, \bar{\sigma^2_d}) & \text{else} \end{cases}
       \qquad \mathcal L - \frac{\lambda}{2} \sum_{d \text{ else}} (\mu_d(x_{gm}) - \bar\mu_d)^2

    Bars are means over the group, through which no gradient passes. Only the coordinates of the
    factor that varies distinguish the members of a group; the other coordinates learn to be equal
    in the group. The gradient of the last term is the gradient that [1] substitutes for them.

    - Story: As in :class:`~ppl_disentangle.models.IsotropicVAE`, for each member of a group.
    - Guide: The posteriors above; of a single observation, q(z | x).
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`; the last term is a ``pyro.factor`` of
      the guide.
    - Data: groups in which one known factor varies, ``(batch, members, *event)``, with the position
      of that factor as ``varied``, int64 ``(batch,)``. :func:`~ppl_disentangle.data.groups` draws
      them with ``conditions=True``.
    - For: factors that can be varied one at a time, by a renderer or in a laboratory, but not
      measured.

    Args:
        encoder: ``encoder(x)`` is q(z | x), a normal with one event coordinate per coordinate of z.
        decoder: ``decoder(z)`` is p(x | z).
        factors: Number of coordinates of each factor, by name, in the order of their positions;
            0 for a factor without coordinates.
        event_dim: Number of dimensions of one observation; groups have one dimension more.
        invariance: Weight lambda; 0.01 in [1].
        beta: Weight of the divergence.
        warm_up: Number of steps over which the weights rise from 0.
        members: Number of members of the groups that :meth:`training_data` draws.

    Raises:
        ValueError: No factor has a coordinate; when called, groups come without ``varied``.

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
        members: int = 4,
    ) -> None:
        if min(factors.values(), default=0) < 0 or not sum(factors.values()):
            raise ValueError(
                f"expected a number of coordinates for each factor, got {dict(factors)}"
            )
        super().__init__(encoder, decoder, sum(factors.values()))
        self.factors = tuple(factors)
        self.event_dim = event_dim
        self.invariance = invariance
        self.beta = beta
        self.warm_up = warm_up
        self.members = members
        check_names(factors, "factor", also=["invariance"])
        self.observation_site = free_name("x", factors)
        self.latents = (free_name("z", factors),)
        self.coordinate_names = {self.latents[0]: _coordinate_names(factors)}
        # (latent_dim,): position of the factor to which each coordinate belongs
        owners = [position for position, size in enumerate(factors.values()) for _ in range(size)]
        self.register_buffer("owners", torch.tensor(owners), persistent=False)

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
        """Build the story for groups drawn from ``data``, with coordinates for its factors.

        Args:
            data: Observations with factors.
            networks: Makes the encoder and the decoder.
            factor_dim: Number of coordinates of each factor that varies.
            members: Number of members of a group of :meth:`training_data`.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: No factor of the data varies.
        """
        factors = {name: factor_dim * (name in data.varying) for name in data.factor_names}
        if not any(factors.values()):
            raise ValueError(
                f"{cls.__name__} needs groups in which a factor varies:"
                f" {data.name} has none that does"
            )
        dim = sum(factors.values())
        return cls(
            Gaussian(networks.encoder(2 * dim)),
            networks.decoder(dim),
            factors,
            event_dim=len(data.observation_shape),
            members=members,
            **hyper,
        )

    def training_data(self, data: FactorDataset) -> FactorDataset:
        """As many groups as there are data, each with the position of the factor that varies."""
        return groups(data, self.members, conditions=True)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, varied: Tensor | None = None
    ) -> Tensor:
        """p(x, z) of every member."""
        if x is not None and self._are_groups(x):
            x = x.flatten(0, 1)
        with self.data_plate(x, batch_size):
            z = pyro.sample(self.latents[0], self.prior())
            return pyro.sample(self.observation_site, self.decoder(z), obs=x)

    def guide(self, x: Tensor, *, varied: Tensor | None = None) -> None:
        """q(z | x) of every member; in a group, only coordinates of the varied factor differ."""
        if not self._are_groups(x):
            with self.data_plate(x):
                pyro.sample(self.latents[0], self.encoder(x))
            return
        if varied is None:
            raise ValueError(
                "groups (batch, members, …) need varied=,"
                " the position of the factor that varies in each"
            )
        num_members = x.shape[1]
        members = x.flatten(0, 1)
        # (groups * members, latent_dim): whether a coordinate belongs to a factor that stays
        stays = self.owners.ne(varied[:, None]).repeat_interleave(num_members, 0)
        posterior, deviation = self.clamped(self.encoder(members), stays, num_members)
        with self.data_plate(members):
            pyro.sample(self.latents[0], posterior)
            pyro.factor("invariance", 0.5 * deviation.square().sum(-1), has_rsample=True)

    def clamped(
        self, posterior: TorchDistribution, stays: Tensor, num_members: int
    ) -> tuple[TorchDistribution, Tensor]:
        """Set coordinates of factors that stay to the mean of their group.

        Args:
            posterior: q(z | x) of all members, of batch shape ``(groups * members,)``; the members
                of a group follow each other.
            stays: Whether a coordinate belongs to a factor that stays,
                ``(groups * members, latent_dim)``.
            num_members: Number of members of a group.

        Returns:
            The posterior, and how far each posterior mean was from the mean of its group, 0 for
            coordinates of the factor that varies.
        """
        normal = posterior.base_dist
        group_loc = _group_mean(normal.loc.detach(), num_members)
        group_variance = _group_mean(normal.scale.square().detach(), num_members)
        loc = torch.where(stays, group_loc, normal.loc)
        scale = torch.where(stays, group_variance.sqrt(), normal.scale)
        deviation = torch.where(stays, normal.loc - group_loc, 0.0)
        return dist.Normal(loc, scale).to_event(1), deviation

    def _are_groups(self, x: Tensor) -> bool:
        """Whether observations are groups, ``(batch, members, *event)``, or single."""
        return x.dim() == 2 + self.event_dim

    def objective(self) -> BetaELBO:
        """The bound less the squared deviations within groups."""
        return BetaELBO(self.beta, warm_up=self.warm_up, factors={"invariance": self.invariance})


def _coordinate_names(factors: Mapping[str, int]) -> tuple[str, ...]:
    """The name of each coordinate: ``azimuth``, or ``identity[0]``, ``identity[1]``, …."""
    names: list[str] = []
    for factor, size in factors.items():
        names += [factor] if size == 1 else [f"{factor}[{i}]" for i in range(size)]
    return tuple(names)


def _group_mean(values: Tensor, num_members: int) -> Tensor:
    """The mean of each group of ``num_members`` rows, repeated for each of its rows."""
    return values.unflatten(0, (-1, num_members)).mean(1).repeat_interleave(num_members, 0)
