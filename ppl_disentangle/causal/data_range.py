"""The range of the data among a story's codes, and warnings of interventions that leave it."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from pyro import poutine
from torch import Tensor
from torch.distributions import Distribution

from ppl_disentangle.causal.action_text import to_text
from ppl_disentangle.causal.actions import Action, resolve
from ppl_disentangle.causal.interventions import Intervened, intervenable
from ppl_disentangle.conditions import story_batches
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.missing import for_missing
from ppl_disentangle.pairs import story_of
from ppl_disentangle.representation import code_names, encode, representation_of
from ppl_disentangle.sites import Site, site_values
from ppl_disentangle.story import GenerativeStory, evaluating

__all__ = ["DataRange", "OutsideDataWarning", "data_range"]

LOWER_QUANTILE = 0.01
UPPER_QUANTILE = 0.99
TOLERATED_SHARE_OUTSIDE = 0.05
"""Share of units that may be out of range if values are drawn or computed, as they have tails."""


class OutsideDataWarning(UserWarning):
    """An intervention leaves the range of the data, so that its results are extrapolated."""


def data_range(
    story: Any, data: FactorDataset | Tensor, *, seed: int = 0, **conditions: Any
) -> DataRange:
    r"""Estimate the range of the data among the codes of a story, by coordinate and jointly.

    With z drawn once from the representation of each datum, the range of a coordinate is the
    interval from its 1 % to its 99 % quantile. The joint distribution is summarised by the 99 %
    quantile of the distance [1]

    .. math:: d(z) = \sqrt{(z - \mu)^\top \Sigma^{-1} (z - \mu)}

    with mean :math:`\mu` and covariance :math:`\Sigma` of these draws. An intervention that sets a
    node to a value in its range may still be jointly improbable, because nodes that are not its
    descendants do not follow.

    Args:
        story: A story, or an object with a Pyro ``model`` and ``guide``.
        data: A data set, or float observations ``(num_data, *event)``; more data than the
            representation has coordinates.
        seed: Seed of the random draws.
        **conditions: Conditions of all data, such as ``labels``, ``(num_data, …)`` each. They win
            over those that the data carry.

    Raises:
        ValueError: There are too few data, or the model does not state a part of the
            representation.

    References:
        [1] Mahalanobis, 1936. On the generalised distance in statistics.

    Example:
        >>> from ppl_disentangle.causal import do
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> from ppl_disentangle.models import BetaVAE
        >>> story = BetaVAE(Gaussian(nn.Linear(6, 4)), Bernoulli(nn.Linear(2, 6)), 2)
        >>> seen = data_range(story, torch.rand(50, 6))
        >>> import pytest
        >>> with pytest.warns(OutsideDataWarning, match=r"z\[1\] = 40"):
        ...     do(story, {"z[1]": 40.0}, data_range=seen).rung
        'intervention'
    """
    story = for_missing(story_of(story), data)
    codes = encode(story, data, **conditions)
    sites, parts = _parts_of(story, data, conditions)
    if codes.sizes["data"] <= codes.sizes["code"]:
        raise ValueError(
            f"expected more data than the {codes.sizes['code']} coordinates, got {codes.sizes['data']}"
        )
    noise = np.random.default_rng(seed).standard_normal(codes["mean"].shape)
    draws = codes["mean"].values + codes["scale"].values * noise  # (data, code)
    return _range_of(story, sites, parts, draws)


def _range_of(
    story: GenerativeStory,
    sites: dict[str, Site],
    parts: dict[str, tuple[str, ...]],
    draws: ndarray,
) -> DataRange:
    low, high = np.quantile(draws, [LOWER_QUANTILE, UPPER_QUANTILE], axis=0)
    covariance = np.atleast_2d(np.cov(draws.T, ddof=0))
    # A code that is constant over the data has no inverse variance; the pseudoinverse leaves it out.
    precision = np.linalg.pinv(covariance, hermitian=True)
    unlimited = DataRange(story, sites, parts, low, high, draws.mean(0), precision, limit=np.inf)
    limit = float(np.quantile(unlimited.distance(draws), UPPER_QUANTILE))
    return dataclasses.replace(unlimited, limit=limit)


def _parts_of(
    story: GenerativeStory, data: FactorDataset | Tensor, conditions: Mapping[str, Any]
) -> tuple[dict[str, Site], dict[str, tuple[str, ...]]]:
    """The sites that can be set, and the coordinates of each part of the representation."""
    with evaluating(story) as device:
        x, given = next(story_batches(story, data, 1, device, conditions))
        representation = representation_of(story, x, given)
        sites = intervenable(story, given)
    unknown = [name for name in representation if name not in sites]
    if unknown:
        raise ValueError(
            f"the representation has {unknown[0]!r}, which the model does not state; it has {list(sites)}"
        )
    return sites, {
        name: code_names(story, name, q.event_shape.numel() if q.event_shape else None)
        for name, q in representation.items()
    }


@dataclasses.dataclass(frozen=True)
class DataRange:
    """The range of the data among a story's codes; see :func:`data_range`.

    Attributes:
        story: The story.
        sites: The sites of the story that can be set, from one draw.
        parts: Names of the coordinates of each latent or node in the representation.
        low: 1 % quantile of each coordinate.
        high: 99 % quantile of each coordinate.
        mean: Mean of each coordinate.
        precision: Inverse of the covariance of the coordinates.
        limit: 99 % quantile of the distances of the data.
    """

    story: GenerativeStory
    sites: dict[str, Site]
    parts: dict[str, tuple[str, ...]]
    low: ndarray
    high: ndarray
    mean: ndarray
    precision: ndarray
    limit: float

    def distance(self, codes: ndarray) -> ndarray:
        """Mahalanobis distances of rows of codes, ``(…, code)``, from the mean of the data."""
        centred = codes - self.mean
        squares = np.einsum("...i,ij,...j->...", centred, self.precision, centred)
        return np.sqrt(np.maximum(squares, 0.0))

    def check(
        self, values: Mapping[str, Tensor], actions: Mapping[str, Action], *, stacklevel: int = 3
    ) -> None:
        """Warn if the intervention ``actions`` leaves the range of the data.

        There is one warning for each coordinate that was set and is out of range: in any unit if
        its values were given, in more than 5 % of the units if they were drawn or computed from
        natural values. If all are in range, there is a warning if more than half of the units are
        farther from the data than 99 % of the data are.

        Args:
            values: The values of all sites under the intervention, ``(…, *event)`` each.
            actions: The actions of the intervention.
            stacklevel: Number of frames between the warning and the code that it is attributed to,
                as in ``warnings``.
        """
        codes = self._codes(values, self.sites)
        tolerated_shares = self._tolerated_shares(actions, self.sites)
        messages = [
            self._out_of_range(column, codes[..., column], tolerated)
            for column, tolerated in tolerated_shares.items()
        ]
        messages = [message for message in messages if message is not None]
        share_far_away = (self.distance(codes) > self.limit).mean()
        if actions and not messages and share_far_away > 0.5:
            messages.append(
                "each value is in its range, but with the other nodes as they then are"
                f" {share_far_away:.0%} of the units are farther from the data than 99 % of the data are"
            )
        for message in messages:
            text = f"{to_text(actions)}: {message}"
            warnings.warn(text, OutsideDataWarning, stacklevel=stacklevel)

    def check_draws(
        self, intervened: Intervened, actions: Mapping[str, Action], *, num: int = 256
    ) -> None:
        """Warn if units that are drawn from an intervened story leave the range of the data.

        Args:
            intervened: The intervened story.
            actions: The actions of the intervention.
            num: Number of units to draw. If ``actions`` have a value for each unit, there are as
                many as these values.
        """
        batch_size = _batch_size_of_values(intervened) or intervened.num_told or num
        with evaluating(intervened):
            trace = poutine.trace(intervened.model).get_trace(batch_size=batch_size)
        values = site_values(trace)
        self.check(values, actions, stacklevel=4)

    def _codes(self, values: Mapping[str, Tensor], sites: Mapping[str, Site]) -> ndarray:
        """The parts of the representation side by side, ``(…, code)``."""
        columns = []
        for part in self.parts:
            value = values[part]
            batch_shape = value.shape[: value.dim() - sites[part].fn.event_dim]
            columns.append(value.reshape(*batch_shape, -1))
        return torch.cat(columns, -1).detach().cpu().double().numpy()

    def _out_of_range(self, column: int, values: ndarray, tolerated_share: float) -> str | None:
        """A message if more than the tolerated share of values is out of range."""
        low = self.low[column]
        high = self.high[column]
        outside = (values < low) | (values > high)
        if outside.mean() <= tolerated_share:
            return None
        name = [name for names in self.parts.values() for name in names][column]
        distances = np.abs(values[outside] - self.mean[column])
        farthest = values[outside][distances.argmax()]
        return (
            f"{name!r} is between {low:.3g} and {high:.3g} in 98 % of the data, and outside in"
            f" {outside.mean():.0%} of the units, as far as {farthest:.3g}"
        )

    def _tolerated_shares(
        self, actions: Mapping[str, Action], sites: Mapping[str, Site]
    ) -> dict[int, float]:
        """The columns of codes that are set, and the share of units that may be out of range."""
        by_coordinate = {
            resolve(self.story, name, sites): _tolerated_share(action)
            for name, action in actions.items()
        }
        coordinates = [(part, i) for part, names in self.parts.items() for i in range(len(names))]
        shares: dict[int, float] = {}
        for column, (part, index) in enumerate(coordinates):
            share = by_coordinate.get((part, index), by_coordinate.get((part, None)))
            if share is not None:
                shares[column] = share
        return shares


def _tolerated_share(action: Action) -> float:
    is_drawn_or_computed = callable(action) or isinstance(action, Distribution)
    return TOLERATED_SHARE_OUTSIDE if is_drawn_or_computed else 0.0


def _batch_size_of_values(intervened: Intervened) -> int | None:
    """Number of units for which an intervention has a value each; ``None`` for one value."""
    for name, change in intervened.changes.items():
        for index, value in change.items():
            event_dim = intervened.event_dims[name] if index is None else 0
            if isinstance(value, Tensor) and value.dim() > event_dim and len(value) > 1:
                return len(value)
    return None
