"""Discrete latents of a model that its guide lacks, which are summed out."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pyro import poutine
from pyro.infer import is_validation_enabled
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ppl_disentangle._pyro_private import log_sum_product
from ppl_disentangle.inference.distributed.joined_traces import ScoreOnly
from ppl_disentangle.inference.elbo.terms import sum_tensors
from ppl_disentangle.sites import (
    Plate,
    Site,
    observed_sites,
    sampled_sites,
    scaled_and_masked,
    site_values,
    with_sites,
    without_sites,
)

__all__ = ["FixedClasses", "check_number_of_combinations", "outside_of_class", "summed_out_trace"]

MAX_COMBINATIONS = 4096
"""Largest number of combinations of classes; model and guide run once for each."""


class FixedClasses(Messenger):
    """An effect handler that fixes discrete latents: to given values, else to their first value.

    Args:
        values: The values by name of the latent.

    Attributes:
        supports: All values of each discrete latent that was visited, by name.
    """

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.values = values
        self.supports: dict[str, Tensor] = {}

    def _pyro_sample(self, msg: Any) -> None:
        if msg["is_observed"] or msg["done"] or not msg["fn"].has_enumerate_support:
            return
        name = msg["name"]
        support = msg["fn"].enumerate_support()
        self.supports[name] = support
        msg["value"] = self.values.get(name, support[0])
        msg["done"] = True


def outside_of_class(name: str, y: str) -> str:
    """The message about a site that depends on a class of which a plate is not around it."""
    return (
        f"site {name!r} depends on the class {y!r}, but is outside of a plate around {y!r}: its"
        " elements would need all their combinations; put the site into that plate, or sample a"
        " class for each element in a Python loop"
    )


def check_number_of_combinations(supports: Mapping[str, Tensor]) -> None:
    """Refuse more combinations of classes than can be run one by one.

    Raises:
        ValueError: There are more than :data:`MAX_COMBINATIONS`.
    """
    number = math.prod(len(support) for support in supports.values())
    if number > MAX_COMBINATIONS:
        raise ValueError(
            f"the classes {list(supports)} have {number} combinations, and the programs would run"
            f" once for each, at most {MAX_COMBINATIONS} times; use pyro.infer.TraceEnum_ELBO"
        )


def summed_out_trace(
    model: Callable[..., Any],
    guide_trace: Trace,
    supports: Mapping[str, Tensor],
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> Trace:
    """A trace of the model, replayed against a trace of the guide, without its own classes.

    The model runs once for each combination of the classes, with the same draws of the guide. In
    the trace a sum over the classes takes the place of the sites that may depend on them: of the
    observed sites, log sum_y p(y) p(x | y, z) - log p(z), with the name of the first of them.

    Args:
        model: The model.
        guide_trace: Trace of the guide.
        supports: All values of each class, by name.
        args: Positional arguments of both.
        kwargs: Keyword arguments of both.

    Raises:
        ValueError: Sites that depend on the classes have different scales, or a latent that may
            depend on them is in other plates than they are.
    """
    replayed = poutine.trace(poutine.replay(model, trace=guide_trace))
    traces: list[Trace] = []
    for values in itertools.product(*supports.values()):
        with FixedClasses(dict(zip(supports, values, strict=True))):
            traces.append(replayed.get_trace(*args, **kwargs))
    return _SummedOut(traces, supports).trace()


class _SummedOut:
    """The sum over the classes that only a model has.

    Args:
        traces: Traces of the model for all combinations of its classes, in order, with the same
            values of all other latents.
        supports: All values of each class, by name.
    """

    def __init__(self, traces: Sequence[Trace], supports: Mapping[str, Tensor]) -> None:
        self.traces = traces
        self.sizes = {name: len(support) for name, support in supports.items()}
        drawn = sampled_sites(traces[0])
        self.classes = {name: drawn[name] for name in supports}
        self.order = list(site_values(traces[0]))
        self.latents = self._dependent(drawn)
        self.observed = self._dependent(observed_sites(traces[0]))
        self.scale = self._common_scale()
        if is_validation_enabled():
            for name in drawn | observed_sites(traces[0]):
                self._check_plates(name)

    def trace(self) -> Trace:
        """The trace with the sums, without the classes."""
        summed = without_sites(self.traces[0], self.classes)
        if not self.observed and not self.latents:
            return summed  # nothing depends on the classes, whose probabilities sum to 1
        sites: dict[str, Site] = {}
        density = self._log_sum([*self.latents, *self.observed])
        if self.latents:
            prior = self._log_sum(list(self.latents))
            sites |= self._scored_latents(*prior)
            density = (density[0] - prior[0], density[1])
        if not self.observed:
            return with_sites(summed, sites)
        first, *others = self.observed
        sites[first] = self._scored(self.observed[first], *density)
        return with_sites(without_sites(summed, others), sites)

    def _dependent(self, sites: Mapping[str, Site]) -> dict[str, Site]:
        """The sites that may depend on a class: run after it, within its plates."""
        found = {name: site for name, site in sites.items() if name not in self.classes}
        return {name: site for name, site in found.items() if self._classes_of(site)}

    def _classes_of(self, site: Site) -> list[str]:
        """The classes that a site may depend on."""
        ran_before = self.order[: self.order.index(site.name) + 1]
        around = [y for name, y in self.classes.items() if name in ran_before]
        return [y.name for y in around if all(map(site.is_in, y.plates))]

    def _check_plates(self, name: str) -> None:
        """Refuse a site that depends on a class although it is outside of a plate of the class."""
        if name in self.classes:
            return
        site = (sampled_sites(self.traces[0]) | observed_sites(self.traces[0]))[name]
        scores = torch.stack([self._score(trace, name) for trace in self.traces])
        scores = scores.unflatten(0, tuple(self.sizes.values()))
        dependent = self._classes_of(site)
        for axis, y in enumerate(self.classes):
            first = scores.select(axis, 0).unsqueeze(axis).expand_as(scores)
            if y not in dependent and not torch.equal(scores, first):
                raise ValueError(outside_of_class(name, y))

    def _common_scale(self) -> float | Tensor:
        """The scale of the classes and of all sites that depend on them.

        Raises:
            ValueError: They have different scales.
        """
        sites = [*self.classes.values(), *self.latents.values(), *self.observed.values()]
        scale = sites[0].scale
        if any(site.scale is not scale and isinstance(site.scale, Tensor) for site in sites) or (
            len({site.scale for site in sites if not isinstance(site.scale, Tensor)}) > 1
        ):
            scales = {site.name: site.scale for site in sites}
            raise ValueError(
                f"the classes {list(self.classes)} are summed out together with all sites that"
                f" depend on them; expected one scale for all, got {scales}"
            )
        return scale

    def _log_sum(self, names: Sequence[str]) -> tuple[Tensor, tuple[Plate, ...]]:
        """log sum_y p(y) prod p(site | y), for each element of the plates around all classes.

        Args:
            names: Names of the sites beside the classes.

        Returns:
            The sum, of the shape of the plates, and these plates.
        """
        factors = [self._factor(name) for name in [*self.classes, *names]]
        results = log_sum_product(factors, {self._symbol(name) for name in self.classes})
        plates = self._plates(frozenset.intersection(*(around for _, _, around in results)))
        terms = [self._summed_to(term, symbols, plates) for term, symbols, _ in results]
        return sum_tensors(terms), plates

    def _factor(self, name: str) -> tuple[Tensor, str, frozenset[str]]:
        """The log density of a site by the classes that it depends on.

        Returns:
            The log density, the symbols of its dimensions, and the symbols of its plates.
        """
        site = self.classes.get(name) or self.latents.get(name) or self.observed[name]
        scores = torch.stack([self._score(trace, name) for trace in self.traces])
        scores = scores.unflatten(0, tuple(self.sizes.values()))
        dependent = self._classes_of(site)
        # The other classes do not change the density: any of their values will do.
        index = tuple(slice(None) if y in dependent else 0 for y in self.classes)
        plates = sorted(site.plates, key=lambda plate: plate.dim)
        by_plate = (
            scores[index]
            .flatten(len(dependent))
            .reshape(*(self.sizes[y] for y in dependent), *(plate.size for plate in plates))
        )
        symbols = [self._symbol(y) for y in dependent] + [self._symbol(p.name) for p in plates]
        around = frozenset(self._symbol(plate.name) for plate in plates)
        return by_plate, "".join(symbols), around

    def _score(self, trace: Trace, name: str) -> Tensor:
        """The log density of a site; masked, unless it is a class, whose probabilities sum to 1."""
        site = (sampled_sites(trace) | observed_sites(trace))[name]
        if name in self.classes:
            return site.log_prob()
        return scaled_and_masked(site.log_prob(), 1.0, site.mask)

    def _symbol(self, name: str) -> str:
        """One character for each class and plate."""
        return chr(ord("a") + self._names().index(name))

    def _names(self) -> list[str]:
        sites = [*self.classes.values(), *self.latents.values(), *self.observed.values()]
        plates = dict.fromkeys(plate.name for site in sites for plate in site.plates)
        return [*self.classes, *plates]

    def _plates(self, symbols: frozenset[str]) -> tuple[Plate, ...]:
        sites = [*self.classes.values(), *self.latents.values(), *self.observed.values()]
        found = {plate.name: plate for site in sites for plate in site.plates}
        return tuple(p for p in found.values() if self._symbol(p.name) in symbols)

    def _scored(self, site: Site, scores: Tensor, plates: tuple[Plate, ...]) -> Site:
        """A site whose log density is given."""
        fn = ScoreOnly(scores, site.fn.event_shape)
        return dataclasses.replace(site, fn=fn, scale=self.scale, mask=None, plates=plates)

    def _scored_latents(self, scores: Tensor, plates: tuple[Plate, ...]) -> dict[str, Site]:
        """The latents that depend on the classes: the first has the density of all of them."""
        names = {plate.name for plate in plates}
        for site in self.latents.values():
            if {plate.name for plate in site.plates} != names:
                raise ValueError(
                    f"latent {site.name!r} may depend on the classes {list(self.classes)}, which are"
                    " summed out, and is in other plates than they are; sample it before them, or"
                    " use pyro.infer.TraceEnum_ELBO"
                )
        remaining = [scores, *[torch.zeros_like(scores)] * (len(self.latents) - 1)]
        pairs = zip(self.latents.items(), remaining, strict=True)
        return {name: self._scored(site, score, plates) for (name, site), score in pairs}

    def _summed_to(self, term: Tensor, symbols: str, plates: Sequence[Plate]) -> Tensor:
        """A tensor summed over all other plates, of the shape of ``plates`` in a trace.

        Args:
            term: The tensor.
            symbols: The symbols of its dimensions.
            plates: The plates that stay.
        """
        ordered = sorted(plates, key=lambda plate: plate.dim)
        kept = "".join(self._symbol(plate.name) for plate in ordered)
        summed = torch.einsum(f"{symbols}->{kept}", term)
        by_dim = {plate.dim: plate.size for plate in plates}
        return summed.reshape([by_dim.get(d, 1) for d in range(min(by_dim, default=0), 0)])
