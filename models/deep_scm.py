"""DeepSCM [Pawlowski et al., 2020]: measured nodes of a graph, and an image that depends on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from pyro.infer import is_validation_enabled
from torch import Tensor, nn
from torch.distributions import Transform
from torch.distributions.transforms import ComposeTransform

from ppl_disentangle.causal.mechanisms import InvertibleMechanism, MonotoneSpline
from ppl_disentangle.causal.structural import NOISE, StructuralPrior, side_by_side
from ppl_disentangle.conditionals import Gaussian
from ppl_disentangle.data import CausalDataset, FactorDataset
from ppl_disentangle.graphs import graph_of
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.structural import check_names
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["DeepSCM", "InUnits"]


class DeepSCM(GenerativeStory):
    r"""Nodes that are measured, by mechanisms with exact densities, and data given the nodes and a code of their own.

    .. math:: v_i = f_i(\varepsilon_i; v_{\text{parents}(i)}), \quad z \sim \mathcal N(0, I), \quad
       x \mid v, z \sim p(x \mid v, z), \quad q(z \mid x)

    The data are the last node of the graph: its noise is z and what its likelihood adds. Measured nodes enter the bound
    by log p(v_i | parents), in their own units, which is exact; their noise is what their values imply. Hence training
    the mechanisms and training the decoder are one, and neither knows of the other. Nodes of the graph that are not
    measured are latents, as in :class:`~ppl_disentangle.models.CausalVAE`.

    - Story: above.
    - Guide: q(z | x), and normal posteriors of the nodes that are not measured.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: observations and the values of all columns of the graph, ``with_conditions(data, labels=…)``; those of nodes
      that are not measured are not looked at.
    - For: counterfactuals of images whose causes are on record, such as scans and their patients.

    A counterfactual of measured units is the model under ``do``, conditioned on what :meth:`latent_means` returns, or
    :func:`~ppl_disentangle.causal.counterfactual` with ``labels``.

    Args:
        prior: the structural causal model of the nodes.
        encoder: ``encoder(x)`` is a normal over the coordinates of the nodes that are not measured, in the order of the
            graph, followed by those of z. The published one reads the measured nodes, too.
        decoder: ``decoder(h)`` is p(x | v, z), h all coordinates of the nodes followed by those of z.
        latent_dim: number of coordinates of z; 16 in the public code.
        observed: names of the measured nodes; by default all.
        beta: weight of the divergence of the latents.

    Raises:
        KeyError: an observed node that the graph lacks.
        ValueError: a node that is called like another site: ``x``, ``z``, ``data``, or ``<node>_noise`` of another.

    References:
        [1] Pawlowski et al., 2020. https://arxiv.org/abs/2006.06485

    Example:
        >>> from ppl_disentangle.conditionals import Bernoulli, Gaussian
        >>> prior = StructuralPrior("age -> volume")
        >>> story = DeepSCM(prior, Gaussian(nn.Linear(6, 8)), Bernoulli(nn.Linear(6, 6)), 4)
        >>> values = story.prior.values_of({"age": torch.zeros(5, 1), "volume": torch.zeros(5, 1)})
        >>> story.log_prob(story.prior.side_by_side(values)).shape
        torch.Size([5, 2])
    """

    needs_labels = True
    encoder: Callable[[Tensor], TorchDistribution]
    decoder: Callable[[Tensor], TorchDistribution]
    zeros: Tensor

    def __init__(
        self,
        prior: StructuralPrior,
        encoder: nn.Module,
        decoder: nn.Module,
        latent_dim: int = 16,
        *,
        observed: Sequence[str] | None = None,
        beta: Weight = 1.0,
    ) -> None:
        super().__init__()
        for node in observed or ():
            if node not in prior.names:
                raise KeyError(f"no node named {node!r}; the graph has {list(prior.names)}")
        check_names(prior.names, "x", "z", "data")
        self.prior, self.encoder, self.decoder, self.beta = prior, encoder, decoder, beta
        self.observed = (
            prior.names if observed is None else tuple(n for n in prior.names if n in observed)
        )
        self.hidden = tuple(n for n in prior.names if n not in self.observed)
        self.dag, self.columns = prior.dag, prior.columns
        self.latents = (*(f"{node}{NOISE}" for node in prior.names), "z")
        self.coordinate_names = {node: (node,) for node, dim in prior.dims.items() if dim == 1}
        self.register_buffer("zeros", torch.zeros(latent_dim), persistent=False)

    @classmethod
    def for_data(
        cls,
        data: FactorDataset,
        networks: Networks,
        *,
        graph: Any = None,
        latent_dim: int = 16,
        observed: Sequence[str] | None = None,
        **hyper: Any,
    ) -> Self:
        """A story with fresh networks and spline mechanisms; see :func:`~ppl_disentangle.zoo.build`.

        Args:
            data: with nodes.
            networks: what encoder and decoder are made by.
            graph: what :func:`~ppl_disentangle.graphs.as_dag` takes; by default that of the data.
            latent_dim: number of coordinates of z.
            observed: names of the measured nodes; by default those of the graph that the data have.
            **hyper: of the story.

        Raises:
            ValueError: data without a measured node.
        """
        prior = StructuralPrior(graph_of(cls.__name__, data, graph), MonotoneSpline)
        known = [
            name for name in prior.names if isinstance(data, CausalDataset) and name in data.names
        ]
        observed = known if observed is None else list(observed)
        if not observed or set(observed) - set(known):
            asked = observed or list(prior.names)
            raise ValueError(
                f"{cls.__name__} needs data whose nodes are measured: of {asked} {data.name} has {known}"
            )
        dim = sum(prior.dims.values())
        inferred = dim - sum(prior.dims[name] for name in observed) + latent_dim
        networks_of = Gaussian(networks.encoder(2 * inferred)), networks.decoder(dim + latent_dim)
        return cls(prior, *networks_of, latent_dim, observed=observed, **hyper)

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, v, z). ``labels``: values of the nodes, ``(batch, columns)``; without x and labels all is drawn."""
        with self.data_plate(x, batch_size):
            values = self.prior(
                observed=self._measured(labels) if x is not None or labels is not None else {}
            )
            z = pyro.sample("z", dist.Normal(self.zeros, 1.0).to_event(1))
            return pyro.sample("x", self.decoder(side_by_side([*values.values(), z])), obs=x)

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(z | x), and of the nodes that are not measured."""
        posteriors = self.representation(x)
        z = posteriors.pop("z")
        with self.data_plate(x):
            self.prior.pull_back(posteriors, observed=self._measured(labels))
            pyro.sample("z", z)

    def representation(self, x: Tensor) -> dict[str, TorchDistribution]:
        """q of each node that is not measured, and of z."""
        q, dims = (
            self.encoder(x).base_dist,
            [*(self.prior.dims[n] for n in self.hidden), len(self.zeros)],
        )
        parts = zip(
            (*self.hidden, "z"), q.loc.split(dims, -1), q.scale.split(dims, -1), strict=True
        )
        return {name: dist.Normal(loc, scale).to_event(1) for name, loc, scale in parts}

    def latent_means(self, x: Tensor, *, labels: Tensor | None = None) -> dict[str, Tensor]:
        """The noise that gives measured nodes their values and others their posterior means; the mean of z."""
        means = {name: q.mean for name, q in self.representation(x).items()}
        z = means.pop("z")
        noise = self.prior.noise_of(means | self._measured(labels))
        return {f"{node}{NOISE}": value for node, value in noise.items()} | {"z": z}

    def log_prob(self, values: Tensor) -> Tensor:
        """log p(node | parents) in nats, for values ``(…, columns)``: ``(…, nodes)``."""
        by_node = self.prior.split(values)
        laws = {
            n: m.conditional(self.prior.parents_of(n, by_node))
            for n, m in self.prior.named_mechanisms()
        }
        return torch.stack([law.log_prob(by_node[n]) for n, law in laws.items()], -1)

    def _measured(self, labels: Tensor | None) -> dict[str, Tensor]:
        columns = list(self.prior.columns)
        if not self.observed:
            return {}
        if labels is None:
            raise ValueError(
                f"expected labels, the values of {columns}, with each datum: fit to with_conditions(data, labels=…)"
            )
        if labels.dim() != 2 or labels.shape[-1] != len(columns):
            shape = tuple(labels.shape)
            raise ValueError(
                f"expected labels of {columns}, (batch, {len(columns)}), got shape {shape}"
            )
        measured = {
            node: value for node, value in self.prior.split(labels).items() if node in self.observed
        }
        if is_validation_enabled():  # reads the values, hence is left out of most of training
            for node, value in measured.items():
                if value.isnan().any():
                    raise ValueError(
                        f"labels of node {node!r}: expected a number for each datum, got NaN"
                    )
                self.prior.mechanism_of(node).check(node, value)
        return measured

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError where the node ``name`` cannot have ``value``."""
        if name in self.prior.names:
            self.prior.mechanism_of(name).check(name, value)

    def objective(self) -> BetaELBO:
        """The evidence lower bound."""
        return BetaELBO(self.beta)


class InUnits(InvertibleMechanism):
    r"""A mechanism of a node in units of its own, such as millimetres: :math:`z = t(f(\varepsilon; \text{parents}))`.

    Args:
        mechanism: f.
        transform: t, fixed, one-to-one and onto the values that the node can take, for each coordinate alone.

    Example:
        >>> from ppl_disentangle.causal.mechanisms import LocationScale
        >>> from torch.distributions.transforms import AffineTransform, SigmoidTransform
        >>> grey = InUnits(LocationScale(1, 1), ComposeTransform([SigmoidTransform(), AffineTransform(0.0, 255.0)]))
        >>> grey(torch.zeros(5, 1), torch.randn(5, 1)).shape
        torch.Size([5, 1])
    """

    def __init__(self, mechanism: InvertibleMechanism, transform: Transform) -> None:
        super().__init__(mechanism.dim, mechanism.parent_dim)
        self.mechanism, self.units = mechanism, transform

    def transform(self, parents: Tensor) -> Transform:
        """From noise to value."""
        return ComposeTransform([self.mechanism.transform(parents), self.units])

    def check(self, name: str, value: Tensor) -> None:
        """Refuse values that the transform does not lead to."""
        if not torch.isclose(self.units(self.units.inv(value)), value).all():
            raise ValueError(
                f"node {name!r}: expected values that it can have, got {value.tolist()}"
            )
