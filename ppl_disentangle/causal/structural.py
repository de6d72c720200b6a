"""The structural prior: the nodes of a causal graph as Pyro sites."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import networkx as nx
import pyro
import torch
from pyro import poutine
from pyro.distributions import Independent, MaskedMixture, Normal, TorchDistribution
from torch import Tensor, nn

from ppl_disentangle.causal.mechanisms import AdditiveNoise, Mechanism
from ppl_disentangle.graphs import as_dag, parents, topological_order
from ppl_disentangle.names import module_keys

__all__ = ["NOISE", "StructuralPrior"]

NOISE = "_noise"
"""Suffix of the site with the noise of a node."""


MechanismChoice: TypeAlias = "Callable[..., Mechanism] | Mechanism"
"""A mechanism, or a function ``(dim, parent_dim)`` that builds one."""


class StructuralPrior(nn.Module):
    r"""A structural causal model over the nodes of a graph, with independent noise for each node.

    .. math:: \varepsilon_i \sim p(\varepsilon_i), \quad z_i = f_i(\varepsilon_i; z_{\text{parents}(i)})

    with noise :math:`\varepsilon_i` and mechanism :math:`f_i` of node :math:`z_i`. Called inside a
    model, the prior samples ``<node>_noise`` and states ``<node>`` as a deterministic function of
    it, parents first. ``pyro.do`` on a node therefore affects its descendants, and the same program
    under ``do``, run with the noise that a guide inferred, gives the counterfactual. Called inside
    a guide, :meth:`pull_back` samples the noise from posteriors of the nodes. The only divergence
    is the divergence of the noise, which equals the divergence of the nodes pointwise.

    A node that is observed is sampled from its conditional distribution instead, and its noise is
    the noise that the observation implies.

    Args:
        graph: The causal graph, in any form that :func:`~ppl_disentangle.graphs.as_dag` takes.
        mechanism: A function ``mechanism(dim, parent_dim)`` for all nodes, or a mapping from nodes
            to such functions or to mechanisms that are built already. Nodes that are not named have
            :class:`~ppl_disentangle.causal.mechanisms.AdditiveNoise`.
        dims: Number of coordinates of each node; 1 for nodes that are not named.

    Raises:
        KeyError: A mechanism or a dimension is given for a node that is not in the graph.
        ValueError: A mechanism has other dimensions than its node, or :func:`as_dag` refuses the
            graph.

    Attributes:
        dag: The graph.
        names: Names of the nodes in topological order.
        dims: Number of coordinates of each node.
        parents: Parents of each node, sorted by name.
        mechanisms: Mechanism of each node whose name is an identifier; :meth:`mechanism_of` returns
            the mechanism of any node.

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
        mechanism: Callable[..., Mechanism] | Mapping[str, MechanismChoice] = AdditiveNoise,
        *,
        dims: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__()
        self.dag: nx.DiGraph = as_dag(graph)
        self.names = tuple(topological_order(self.dag))
        by_node = _for_each(self.names, mechanism)
        dims = dims or {}
        self._check_nodes(by_node)
        self._check_nodes(dims)
        self.dims = {n: dims.get(n, _dim_of(by_node.get(n))) for n in self.names}
        self.parents = {n: tuple(parents(self.dag, n)) for n in self.names}
        self._keys = module_keys(self.names)
        self.mechanisms = nn.ModuleDict(
            {self._keys[n]: self._build(n, by_node.get(n, AdditiveNoise)) for n in self.names}
        )

    def _build(self, node: str, mechanism: MechanismChoice) -> Mechanism:
        dim = self.dims[node]
        parent_dim = sum(self.dims[parent] for parent in self.parents[node])
        built = mechanism if isinstance(mechanism, Mechanism) else mechanism(dim, parent_dim)
        if (built.dim, built.parent_dim) != (dim, parent_dim):
            raise ValueError(
                f"node {node!r} has {dim} coordinates and {parent_dim} of parents, its mechanism"
                f" {type(built).__name__} {built.dim} and {built.parent_dim}"
            )
        return built

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of all coordinates in topological order: ``a``, or ``a[0]``, ``a[1]``, …."""
        columns: list[str] = []
        for node, dim in self.dims.items():
            columns += [node] if dim == 1 else [f"{node}[{i}]" for i in range(dim)]
        return tuple(columns)

    def forward(
        self,
        *,
        observed: Mapping[str, Tensor] | None = None,
        base: Mapping[str, TorchDistribution] | None = None,
        interventions: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Sample all nodes; returns their values, of shape ``(…, dim)``, in topological order.

        Args:
            observed: Values of observed nodes, ``(…, dim)`` each. If a node was set in any
                coordinate, its value says nothing about its noise: its density is left out, and its
                noise is drawn anew.
            base: Distributions that replace the mechanisms' own distributions of the noise, by
                node.
            interventions: Values that the coordinates are set to in each datum,
                ``(batch, columns)``; NaN where a coordinate is not set.

        Raises:
            KeyError: A node is not in the graph.
            ValueError: Observed values or interventions have other dimensions than the nodes.
        """
        observed = self._checked(observed)
        base = base or {}
        self._check_nodes(base)
        values: dict[str, Tensor] = {}
        for node, mechanism in self.named_mechanisms():
            parent_values = self.parents_of(node, values)
            if node in observed:
                values[node] = self._observe(node, parent_values, observed[node], interventions)
                continue
            noise = pyro.sample(f"{node}{NOISE}", base.get(node) or mechanism.base())
            value = self._set(node, mechanism(noise, parent_values), interventions)
            values[node] = self._like(node, pyro.deterministic(node, value, event_dim=1), value)
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
            posteriors: Distributions of event shape ``(dim,)`` by node; observed nodes need none.
            observed: Values of observed nodes, as in :meth:`forward`.
            interventions: Values that the coordinates are set to, as in :meth:`forward`. The data
                say nothing about the noise of a node that was set: its posterior is its prior, and
                adds nothing to the divergence.

        Raises:
            KeyError: A node is not in the graph, or has neither a posterior nor an observation.
            ValueError: Values have other dimensions than the nodes; or, under ``interventions``, a
                node with several coordinates has a posterior of its noise that is not normal.
        """
        observed = self._checked(observed)
        self._check_nodes(posteriors)
        for node in self.names:
            if node not in posteriors and node not in observed:
                raise KeyError(f"node {node!r} has neither a posterior nor an observation")
        values: dict[str, Tensor] = {}
        for node, mechanism in self.named_mechanisms():
            if node in observed:
                values[node] = observed[node]
                continue
            parent_values = self.parents_of(node, values)
            noise_posterior = mechanism.pull_back(posteriors[node], parent_values)
            if interventions is not None:
                noise_posterior = self._prior_where_set(node, noise_posterior, interventions)
            noise = pyro.sample(f"{node}{NOISE}", noise_posterior)
            values[node] = self._set(node, mechanism(noise, parent_values), interventions)
        return values

    def _prior_where_set(
        self, node: str, noise_posterior: TorchDistribution, interventions: Tensor
    ) -> TorchDistribution:
        target = self.column_of(interventions, node)
        return posterior_unless_set(noise_posterior, self.mechanism_of(node).base(), target)

    def values_of(
        self, noise: Mapping[str, Tensor], *, interventions: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The values of all nodes for given noise, parents first.

        Args:
            noise: The noise of each node.
            interventions: Values that the coordinates are set to, as in :meth:`forward`.
        """
        values: dict[str, Tensor] = {}
        for node, mechanism in self.named_mechanisms():
            value = mechanism(noise[node], self.parents_of(node, values))
            values[node] = self._set(node, value, interventions)
        return values

    def noise_of(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The noise that gives all nodes their values; the inverse of :meth:`values_of`."""
        return {
            node: mechanism.abduct(values[node], self.parents_of(node, values))
            for node, mechanism in self.named_mechanisms()
        }

    def parents_of(self, node: str, values: Mapping[str, Tensor]) -> Tensor:
        """Values of a node's parents side by side, of shape ``(…, parent_dim)``."""
        if not self.parents[node]:
            return next(self.buffers()).new_zeros(0)
        return side_by_side([values[parent] for parent in self.parents[node]])

    def side_by_side(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values of all nodes side by side, of shape ``(…, columns)``."""
        return side_by_side([values[node] for node in self.names])

    def split(self, columns: Tensor) -> dict[str, Tensor]:
        """Split columns into the values of the nodes; the inverse of :meth:`side_by_side`.

        Raises:
            ValueError: There are more or fewer columns than coordinates.
        """
        if columns.shape[-1] != len(self.columns):
            raise ValueError(f"expected the columns {list(self.columns)}, got {columns.shape[-1]}")
        return dict(zip(self.names, columns.split(list(self.dims.values()), -1), strict=True))

    def column_of(self, columns: Tensor, node: str) -> Tensor:
        """The columns of one node, ``(…, dim)``."""
        return self.split(columns)[node]

    def mechanism_of(self, node: str) -> Mechanism:
        """The mechanism of a node."""
        mechanism = self.mechanisms[self._keys[node]]
        assert isinstance(
            mechanism, Mechanism
        )  # torch types the entries of a ModuleDict as modules
        return mechanism

    def named_mechanisms(self) -> Sequence[tuple[str, Mechanism]]:
        """Each node with its mechanism, parents first."""
        return [(node, self.mechanism_of(node)) for node in self.names]

    def _observe(
        self, node: str, parent_values: Tensor, value: Tensor, interventions: Tensor | None
    ) -> Tensor:
        """Score an observed node and state the noise that gives its value."""
        mechanism = self.mechanism_of(node)
        noise = mechanism.abduct(value, parent_values)
        conditional = mechanism.conditional(parent_values)
        if interventions is None:
            sampled = pyro.sample(node, conditional, obs=value)
        else:
            is_natural = self.column_of(interventions, node).isnan().all(-1)  # (batch,)
            with poutine.mask(mask=is_natural):
                sampled = pyro.sample(node, conditional, obs=value)
            new_noise = mechanism.base().expand(is_natural.shape).sample()
            noise = noise.where(is_natural[..., None], new_noise)
        pyro.deterministic(f"{node}{NOISE}", noise, event_dim=1)
        return self._like(node, sampled, value)

    def _like(self, node: str, stated: Tensor, value: Tensor) -> Tensor:
        """The value of a site; a number from ``pyro.do`` is expanded to the coordinates."""
        if stated is value:
            return value
        dim = self.dims[node]
        if stated.shape[-1:] not in ((), (1,), (dim,)):
            raise ValueError(
                f"expected values of node {node!r} of shape (…, {dim}), got {tuple(stated.shape)}"
            )
        return stated.to(value).expand(*stated.shape[:-1], dim)

    def _check_nodes(self, nodes: Iterable[str]) -> None:
        unknown = [n for n in nodes if n not in self.dag]
        if unknown:
            raise KeyError(f"no node named {unknown[0]!r}; the graph has {list(self.names)}")

    def _checked(self, observed: Mapping[str, Tensor] | None) -> Mapping[str, Tensor]:
        observed = observed or {}
        self._check_nodes(observed)
        for node, value in observed.items():
            dim = self.dims[node]
            if value.shape[-1:] != (dim,):
                raise ValueError(
                    f"expected values of node {node!r} of shape (…, {dim}), got {tuple(value.shape)}"
                )
        return observed

    def _set(self, node: str, value: Tensor, interventions: Tensor | None) -> Tensor:
        if interventions is None:
            return value
        target = self.column_of(interventions, node)
        return torch.where(target.isnan(), value, target)


def side_by_side(values: Sequence[Tensor]) -> Tensor:
    """Concatenate values in the last dimension; their batch dimensions broadcast."""
    batch_shape = torch.broadcast_shapes(*(value.shape[:-1] for value in values))
    return torch.cat([value.expand(*batch_shape, value.shape[-1]) for value in values], -1)


def _for_each(
    names: Sequence[str], mechanism: MechanismChoice | Mapping[str, MechanismChoice]
) -> Mapping[str, MechanismChoice]:
    return mechanism if isinstance(mechanism, Mapping) else dict.fromkeys(names, mechanism)


def _dim_of(mechanism: object) -> int:
    return mechanism.dim if isinstance(mechanism, Mechanism) else 1


def posterior_unless_set(
    posterior: TorchDistribution, prior: TorchDistribution, target: Tensor
) -> TorchDistribution:
    """``posterior`` for the data in which a node was not set, ``prior`` for the others.

    Args:
        posterior: Posterior of the node's noise.
        prior: Prior of the node's noise.
        target: Values that the node was set to, ``(batch, dim)``; NaN where it was not set.

    Raises:
        ValueError: The node has several coordinates and the posterior is not normal.
    """
    is_natural = target.isnan()
    if _is_normal(posterior) and _is_normal(prior):
        q = posterior.base_dist
        p = prior.base_dist
        loc = torch.where(is_natural, q.loc, p.loc)
        scale = torch.where(is_natural, q.scale, p.scale)
        return Normal(loc, scale).to_event(1)
    if target.shape[-1] == 1:
        return MaskedMixture(is_natural[..., 0], prior, posterior)
    raise ValueError(
        f"interventions on {target.shape[-1]} coordinates need normal posteriors of their noise, got"
        f" {type(posterior).__name__}: make them nodes of one coordinate each"
    )


def _is_normal(distribution: TorchDistribution) -> bool:
    return isinstance(distribution, Independent) and isinstance(distribution.base_dist, Normal)
