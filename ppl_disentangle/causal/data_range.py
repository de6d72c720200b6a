"""Where the data are among a story's codes, and warnings of interventions that lead out of there."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor
from torch.distributions import Distribution

from ppl_disentangle.causal.actions import Action, resolve, to_text
from ppl_disentangle.causal.interventions import Intervened, intervenable
from ppl_disentangle.causal.worlds import worlds
from ppl_disentangle.data import FactorDataset
from ppl_disentangle.data.batches import float_batches
from ppl_disentangle.representation import code_names, encode
from ppl_disentangle.sites import Site
from ppl_disentangle.story import GenerativeStory, evaluating, story_of

__all__ = ["OutsideDataWarning", "DataRange", "data_range"]


class OutsideDataWarning(UserWarning):
    """An intervention leads to where there are no data, so that what follows is extrapolated."""


def data_range(story: Any, data: FactorDataset | Tensor, *, seed: int = 0) -> DataRange:
    r"""The range of each coordinate of the representation over data, and their joint distribution.

    With z drawn once from the representation of each datum, this is the range from the 1 % to the 99 % quantile of
    each coordinate, and the distance [1]

    .. math:: d(z) = \sqrt{(z - \mu)^\top \Sigma^{-1} (z - \mu)}

    with mean :math:`\mu` and covariance :math:`\Sigma` of these draws, and its own 99 % quantile. An intervention on a
    node whose value is in range may still be jointly improbable, where the other nodes do not follow.

    Args:
        story: a story.
        data: a data set, or float observations ``(num_data, *event)``; more of them than there are coordinates.
        seed: of the draws.

    References:
        [1] Mahalanobis, 1936. On the generalised distance in statistics.

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> from ppl_disentangle.causal.interventions import do
        >>> from ppl_disentangle.models import BetaVAE
        >>> story = BetaVAE(Gaussian(nn.Linear(6, 4)), Bernoulli(nn.Linear(2, 6)), 2)
        >>> seen = data_range(story, torch.rand(50, 6))
        >>> import pytest
        >>> with pytest.warns(OutsideDataWarning, match=r"z\[1\] = 40"):
        ...     do(story, {"z[1]": 40.0}, data_range=seen).rung
        'intervention'
    """
    story = story_of(story)
    codes, parts = encode(story, data), _parts(story, data)
    if codes.sizes["data"] <= codes.sizes["code"]:
        raise ValueError(
            f"expected more data than the {codes.sizes['code']} coordinates, got {codes.sizes['data']}"
        )
    noise = np.random.default_rng(seed).standard_normal(codes["mean"].shape)
    draws = codes["mean"].values + codes["scale"].values * noise
    low, high = np.quantile(draws, [0.01, 0.99], axis=0)
    precision = np.linalg.pinv(np.atleast_2d(np.cov(draws.T, ddof=0)), hermitian=True)
    found = DataRange(story, parts, low, high, draws.mean(0), precision, limit=np.inf)
    return dataclasses.replace(found, limit=float(np.quantile(found.distance(draws), 0.99)))


def _parts(story: GenerativeStory, data: FactorDataset | Tensor) -> dict[str, tuple[str, ...]]:
    """Names of the coordinates of each part of the representation."""
    with evaluating(story) as device:
        laws = story.representation(next(float_batches(data, 1, device)))
    sites = intervenable(story)
    if unknown := [name for name in laws if name not in sites]:
        raise ValueError(
            f"the representation has {unknown[0]!r}, which the model does not state; it has {list(sites)}"
        )
    return {
        name: code_names(story, name, q.event_shape.numel() if q.event_shape else None)
        for name, q in laws.items()
    }


@dataclasses.dataclass(frozen=True)
class DataRange:
    """Where the data are; see :func:`data_range`.

    Attributes:
        story: the story.
        parts: names of the coordinates of each latent or node that makes up the representation.
        low: 1 % quantile of each.
        high: 99 % quantile of each.
        mean: mean of each.
        precision: the inverse of their covariance.
        limit: the distance that 99 % of the data keep.
    """

    story: GenerativeStory
    parts: dict[str, tuple[str, ...]]
    low: ndarray
    high: ndarray
    mean: ndarray
    precision: ndarray
    limit: float

    def distance(self, codes: ndarray) -> ndarray:
        """Mahalanobis distances of rows ``(…, code)`` from the data."""
        away = codes - self.mean
        return np.sqrt(np.maximum(np.einsum("...i,ij,...j->...", away, self.precision, away), 0.0))

    def check(
        self, values: Mapping[str, Tensor], actions: Mapping[str, Action], *, stacklevel: int = 3
    ) -> None:
        """Warn if ``actions``, which led to ``values`` of all sites, ``(…, *event)`` each, lead out of the data.

        Each coordinate that was set must be in range in all units (nearly all, where its values are drawn or follow
        from natural ones); at least half of the units must jointly be as near the data as 99 % of the data are.
        """
        sites = intervenable(self.story)
        event_dims = {name: site.fn.event_dim for name, site in sites.items()}
        flat = [
            values[p].reshape(*values[p].shape[: values[p].dim() - event_dims[p]], -1)
            for p in self.parts
        ]
        codes = torch.cat(flat, -1).detach().cpu().double().numpy()
        told = [
            self._out_of_range(i, codes[..., i], tails) for i, tails in self._set_by(actions, sites)
        ]
        beyond = (self.distance(codes) > self.limit).mean()
        if actions and not any(told) and beyond > 0.5:
            told.append(
                f"each value is in its range, but with the other nodes as they then are {beyond:.0%} of the units are"
                " farther from the data than 99 % of the data are"
            )
        for message in filter(None, told):
            warnings.warn(
                f"{to_text(actions)}: {message}", OutsideDataWarning, stacklevel=stacklevel
            )

    def check_draws(
        self, intervened: Intervened, actions: Mapping[str, Action], *, num: int = 256
    ) -> None:
        """:meth:`check` of units drawn from an intervened story; where values differ by unit, of as many as these."""
        tensors = [
            (value, len(intervened.shapes[name])) for name, value in intervened.whole.items()
        ]
        tensors += [
            (v, 0)
            for change in intervened.changes.values()
            for v in change.values()
            if isinstance(v, Tensor)
        ]
        by_unit = [
            len(value) for value, event_dim in tensors if value.dim() > event_dim and len(value) > 1
        ]
        with evaluating(intervened):
            drawn = worlds(intervened.story, [actions]).values(
                batch_size=by_unit[0] if by_unit else num
            )
        self.check({name: value[0] for name, value in drawn.items()}, actions, stacklevel=4)

    def _out_of_range(self, index: int, values: ndarray, tails: float) -> str | None:
        low, high = self.low[index], self.high[index]
        outside = (values < low) | (values > high)
        if outside.mean() <= tails:
            return None
        name = [name for names in self.parts.values() for name in names][index]
        far = values[outside][np.abs(values[outside] - self.mean[index]).argmax()]
        return (
            f"{name!r} is between {low:.3g} and {high:.3g} in 98 % of the data, and outside in {outside.mean():.0%} of"
            f" the units, as far as {far:.3g}"
        )

    def _set_by(
        self, actions: Mapping[str, Action], sites: Mapping[str, Site]
    ) -> list[tuple[int, float]]:
        """Which coordinates of the representation are set, and what share of units may be outside their range.

        That is none for given values; draws, and what becomes of natural values, may have as long tails as data have.
        """
        where = {
            resolve(self.story, name, sites): 0.05
            if callable(action) or isinstance(action, Distribution)
            else 0.0
            for name, action in actions.items()
        }
        columns = [(part, i) for part, names in self.parts.items() for i in range(len(names))]
        tails = [where.get(column, where.get((column[0], None))) for column in columns]
        return [(k, share) for k, share in enumerate(tails) if share is not None]
