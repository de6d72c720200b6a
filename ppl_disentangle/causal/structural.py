"""Structural latents: the nodes of a causal graph as Pyro sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import networkx as nx
import pyro
import torch
from pyro import poutine
from pyro.distributions import Independent, MaskedMixture, Normal, TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.causal.mechanisms import AdditiveNoise, Mechanism
from ppl_disentangle.graphs import as_dag, parents, topological_order

__all__ = ["NOISE", "StructuralPrior"]

NOISE = "_noise"


class StructuralPrior(nn.Module):
    r"""A structural causal model over the nodes of a graph, each with noise of its own.

    .. math:: \varepsilon_i \sim p(\varepsilon_i), \quad z_i = f_i(\varepsilon_i; z_{\text{parents}(i)})

    Called inside a model, it samples ``<node>_noise`` and states ``<node>`` as a deterministic function of it, parents
    first. Hence ``pyro.do`` on a node acts on what follows from it, and the same program under ``do``, run with the
    noise that a guide found, is the counterfactual. Called inside a guide, :meth:`pull_back` samples the noise from
    posteriors that are stated for the nodes. There is one divergence, that of the noise; it equals that of the nodes
    pointwise.

    A node that is observed is sampled from its conditional instead, and its noise is what the observation implies.

    Args:
        graph: what :func:`~ppl_disentangle.graphs.as_dag` takes.
        mechanism: ``mechanism(dim, parent_dim)`` for all nodes, or by node; a node may also have a mechanism that is
            built already. Nodes that are not named have :class:`~ppl_disentangle.causal.mechanisms.AdditiveNoise`.
        dims: number of coordinates of a node, by node; 1 for those that are not named.

    Raises:
        KeyError: a mechanism or a dimension for a node that the graph lacks.
        ValueError: a built mechanism of other dimensions, a graph that :func:`as_dag` refuses, or a node named like
            an attribute of ``nn.ModuleDict``, such as ``"type"``.

    Example:
        >>> prior = StructuralPrior("light -> shadow; angle -> shadow")
        >>> with pyro.plate("data", 5):
        ...     values = prior()
        >>> list(values), values["shadow"].shape
        (['angle', 'light', 'shadow'], torch.Size([5, 1]))
    """

    def __init__(
        self,
        graph: Any,
        mechanism: Callable[..., Mechanism]
        | Mapping[str, Callable[..., Mechanism] | Mechanism] = AdditiveNoise,
        *,
        dims: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.dag: nx.DiGraph = as_dag(graph)
        self.names = tuple(topological_order(self.dag))
        by_node = (
            mechanism if isinstance(mechanism, Mapping) else dict.fromkeys(self.names, mechanism)
        )
        self._known(by_node)
        self._known(dims or {})
        self.dims = {n: (dims or {}).get(n, _dim(by_node.get(n))) for n in self.names}
        self.parents = {n: tuple(parents(self.dag, n)) for n in self.names}
        for node in self.names:
            if hasattr(nn.ModuleDict, node):
                raise ValueError(
                    f"node {node!r} needs another name: nn.ModuleDict has an attribute that is called so"
                )
        self.mechanisms = nn.ModuleDict(
            {n: self._build(n, by_node.get(n, AdditiveNoise)) for n in self.names}
        )

    def _build(self, node: str, mechanism: Callable[..., Mechanism] | Mechanism) -> Mechanism:
        dim, parent_dim = self.dims[node], sum(self.dims[p] for p in self.parents[node])
        built = mechanism if isinstance(mechanism, Mechanism) else mechanism(dim, parent_dim)
        if (built.dim, built.parent_dim) != (dim, parent_dim):
            raise ValueError(
                f"node {node!r} has {dim} coordinates and {parent_dim} of parents, its mechanism"
                f" {type(built).__name__} {built.dim} and {built.parent_dim}"
            )
        return built

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all coordinates in topological order: ``light``, or ``light[0]``, ``light[1]``, …."""
        return tuple(
            name
            for node, dim in self.dims.items()
            for name in ([node] if dim == 1 else [f"{node}[{i}]" for i in range(dim)])
        )

    def forward(
        self,
        *,
        observed: Mapping[str, Tensor] | None = None,
        base: Mapping[str, TorchDistribution] | None = None,
        interventions: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sample all nodes; returns their values, of shape ``(…, dim)``, in topological order.

        Args:
            observed: values of nodes that are data, ``(…, dim)`` each. Of a node that was set, in any coordinate, they
                say nothing: its density is left out, and its noise is drawn anew.
            base: distributions of the noise other than the mechanisms' own, by node.
            interventions: ``(batch, columns)``, the value that each coordinate is set to in each datum, NaN where it is
                left alone.

        Raises:
            KeyError: a node that the graph lacks.
            ValueError: observed values or interventions of other dimensions.
        """
        observed, base = self._checked(observed), base or {}
        self._known(base)
        values: dict[str, Tensor] = {}
        for node, mechanism in self.named_mechanisms():
            above = self.parents_of(node, values)
            if node in observed:
                values[node] = self._observe(node, above, observed[node], interventions)
                continue
            noise = pyro.sample(f"{node}{NOISE}", base.get(node) or mechanism.base())
            value = self._set(node, mechanism(noise, above), interventions)
            stated = pyro.deterministic(node, value, event_dim=1)
            values[node] = value if stated is value else self._alike(node, stated, value)
        return values

    def pull_back(
        self,
        posteriors: Mapping[str, TorchDistribution],
        *,
        observed: Mapping[str, Tensor] | None = None,
        interventions: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sample the noise, in a guide, from posteriors of the nodes; returns the nodes' values.

        Args:
            posteriors: distributions of event shape ``(dim,)`` by node; observed nodes need none.
            observed: as in :meth:`forward`.
            interventions: as in :meth:`forward`. Of the noise of a node that was set, data know nothing: its posterior
                is its prior, hence adds nothing to the divergence.

        Raises:
            KeyError: a node that the graph lacks, or one that has neither posterior nor observation.
            ValueError: as in :meth:`forward`; or posteriors of the noise that are not normal, of a node with several
                coordinates under ``interventions``.
        """
        observed = self._checked(observed)
        self._known(posteriors)
        missing = [n for n in self.names if n not in posteriors and n not in observed]
        if missing:
            raise KeyError(f"node {missing[0]!r} has neither a posterior nor an observation")
        values: dict[str, Tensor] = {}
        for node, mechanism in self.named_mechanisms():
            if node in observed:
                values[node] = observed[node]
                continue
            above = self.parents_of(node, values)
            law = mechanism.pull_back(posteriors[node], above)
            if interventions is not None:
                law = posterior_unless_set(
                    law, mechanism.base(), self.column_of(interventions, node)
                )
            noise = pyro.sample(f"{node}{NOISE}", law)
            values[node] = self._set(node, mechanism(noise, above), interventions)
        return values

    def values_of(self, noise: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What all nodes are for given noise, parents first."""
        values: dict[str, Tensor] = {}
        for node, mechanism in self.named_mechanisms():
            values[node] = mechanism(noise[node], self.parents_of(node, values))
        return values

    def noise_of(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The noise that gives all nodes their values."""
        return {
            n: m.abduct(values[n], self.parents_of(n, values)) for n, m in self.named_mechanisms()
        }

    def parents_of(self, node: str, values: Mapping[str, Tensor]) -> Tensor:
        """Values of a node's parents side by side, of shape ``(…, parent_dim)``."""
        above = [values[p] for p in self.parents[node]]
        return side_by_side(above) if above else next(self.buffers()).new_zeros(0)

    def side_by_side(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values of all nodes side by side, of shape ``(…, columns)``."""
        return side_by_side([values[n] for n in self.names])

    def split(self, columns: Tensor) -> dict[str, Tensor]:
        """The inverse of :meth:`side_by_side`."""
        if columns.shape[-1] != len(self.columns):
            raise ValueError(f"expected the columns {list(self.columns)}, got {columns.shape[-1]}")
        return dict(zip(self.names, columns.split(list(self.dims.values()), -1), strict=True))

    def column_of(self, columns: Tensor, node: str) -> Tensor:
        """The coordinates of one node."""
        return self.split(columns)[node]

    def _observe(
        self, node: str, above: Tensor, value: Tensor, interventions: Tensor | None
    ) -> Tensor:
        """Score an observed node and state the noise that gives its value."""
        mechanism = self.mechanism_of(node)
        noise, law = mechanism.abduct(value, above), mechanism.conditional(above)
        if interventions is None:
            stated = pyro.sample(node, law, obs=value)
        else:
            alone = self.column_of(interventions, node).isnan().all(-1)
            with poutine.mask(mask=alone):
                stated = pyro.sample(node, law, obs=value)
            noise = noise.where(alone[..., None], mechanism.base().expand(alone.shape).sample())
        pyro.deterministic(f"{node}{NOISE}", noise, event_dim=1)
        return value if stated is value else self._alike(node, stated, value)

    def _alike(self, node: str, stated: Tensor, value: Tensor) -> Tensor:
        """What a handler such as ``pyro.do`` put in the place of ``value``, be it a bare number."""
        dim = self.dims[node]
        if stated.shape[-1:] not in ((), (1,), (dim,)):
            raise ValueError(
                f"expected values of node {node!r} of shape (…, {dim}), got {tuple(stated.shape)}"
            )
        return stated.to(value).expand(*stated.shape[:-1], dim)

    def _known(self, nodes: Iterable[str]) -> None:
        unknown = [n for n in nodes if n not in self.dag]
        if unknown:
            raise KeyError(f"no node named {unknown[0]!r}; the graph has {list(self.names)}")

    def _checked(self, observed: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        observed = observed or {}
        self._known(observed)
        for node, value in observed.items():
            if value.shape[-1:] != (self.dims[node],):
                dim = self.dims[node]
                raise ValueError(
                    f"expected values of node {node!r} of shape (…, {dim}), got {tuple(value.shape)}"
                )
        return observed

    def _set(self, node: str, value: Tensor, interventions: Tensor | None) -> Tensor:
        if interventions is None:
            return value
        target = self.column_of(interventions, node)
        return torch.where(target.isnan(), value, target)

    def mechanism_of(self, node: str) -> Mechanism:
        """The mechanism of a node."""
        mechanism = self.mechanisms[node]
        assert isinstance(
            mechanism, Mechanism
        )  # torch types the entries of a ModuleDict as modules
        return mechanism

    def named_mechanisms(self) -> Sequence[tuple[str, Mechanism]]:
        """Each node with its mechanism, parents first."""
        return [(n, self.mechanisms[n]) for n in self.names]  # type: ignore[misc]


def side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Side by side in the last dimension, batch dimensions broadcast."""
    shape = torch.broadcast_shapes(*(p.shape[:-1] for p in parts))
    return torch.cat([p.expand(*shape, p.shape[-1]) for p in parts], -1)


def _dim(mechanism: object) -> int:
    return mechanism.dim if isinstance(mechanism, Mechanism) else 1


def posterior_unless_set(
    law: TorchDistribution, prior: TorchDistribution, target: Tensor
) -> TorchDistribution:
    """``law`` for the data in which a node was left alone, ``prior`` for the others."""
    alone = target.isnan()
    if _is_normal(law) and _is_normal(prior):
        q, p = law.base_dist, prior.base_dist
        loc, scale = (torch.where(alone, getattr(q, k), getattr(p, k)) for k in ("loc", "scale"))
        return Normal(loc, scale).to_event(1)
    if target.shape[-1] == 1:
        return MaskedMixture(alone[..., 0], prior, law)
    raise ValueError(
        f"interventions on {target.shape[-1]} coordinates need normal posteriors of their noise, got"
        f" {type(law).__name__}: make them nodes of one coordinate each"
    )


def _is_normal(law: TorchDistribution) -> bool:
    return isinstance(law, Independent) and isinstance(law.base_dist, Normal)
