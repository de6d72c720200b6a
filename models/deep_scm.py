"""DeepSCM [Pawlowski et al., 2020]: measured nodes of a causal graph, and an image of them."""

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
from ppl_disentangle.conditions import check_conditions
from ppl_disentangle.data import CausalDataset, FactorDataset
from ppl_disentangle.graphs import graph_of
from ppl_disentangle.inference import BetaELBO
from ppl_disentangle.inference.elbo.schedules import Weight
from ppl_disentangle.models.bases.labelled import check_labels
from ppl_disentangle.models.bases.structural import normals_by_name
from ppl_disentangle.names import free_name
from ppl_disentangle.networks import Networks
from ppl_disentangle.story import GenerativeStory

__all__ = ["DeepSCM", "RescaledMechanism"]


class DeepSCM(GenerativeStory):
    r"""Answers counterfactual questions about images whose causes are measured, such as scans.

    .. math:: v_i = f_i(\varepsilon_i; v_{\text{parents}(i)}), \quad z \sim \mathcal N(0, I), \quad
       x \mid v, z \sim p(x \mid v, z), \quad q(z \mid x)

    Nodes v are measured and have mechanisms with exact densities; an image x depends on them and on
    a code z. The image is the last node of the graph: its noise is z, and the randomness of its
    likelihood. Measured nodes enter the bound through log p(v_i | parents), which is exact, on
    their own scales; their noise follows from their values. Mechanisms and decoder are therefore
    trained together without affecting each other. Nodes of the graph that are not measured are
    latents, as in :class:`~ppl_disentangle.models.CausalVAE`.

    - Story: Above.
    - Guide: q(z | x), and normal posteriors of the nodes that are not measured.
    - Objective: :class:`~ppl_disentangle.inference.BetaELBO`.
    - Data: labels of the nodes of a causal graph, for every observation:
      ``with_conditions(data, labels=…)`` with all columns of the graph. Columns of nodes that are
      not measured are ignored.
    - For: counterfactuals of images whose causes are on record, such as scans of patients.

    For a counterfactual of measured units, condition the model under ``do`` on the result of
    :meth:`latent_means`, or call :func:`~ppl_disentangle.causal.counterfactual` with ``labels``.

    Args:
        prior: The structural causal model of the nodes.
        encoder: ``encoder(x)`` is a normal over the coordinates of the nodes that are not measured,
            in the order of the graph, followed by the coordinates of z. The published encoder reads
            the measured nodes too.
        decoder: ``decoder(h)`` is p(x | v, z), for h all coordinates of the nodes followed by the
            coordinates of z.
        latent_dim: Number of coordinates of z; 16 in the public code.
        observed: Names of the measured nodes; by default all nodes.
        beta: Weight of the divergence of the latents.

    Raises:
        KeyError: An observed node is not in the graph.

    Attributes:
        observation_site: Name of the site of the observations: ``x``, or ``x_site`` if a node is
            named ``x``.
        code_site: Name of the site of the code: ``z``, or ``z_site`` if a node is named ``z``.

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
    conditions_in_latents = ("labels",)
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
        observed = prior.names if observed is None else observed
        unknown = [node for node in observed if node not in prior.names]
        if unknown:
            raise KeyError(f"no node named {unknown[0]!r}; the graph has {list(prior.names)}")
        self.observation_site = free_name("x", prior.names)
        self.code_site = free_name("z", prior.names)
        self.prior = prior
        self.encoder = encoder
        self.decoder = decoder
        self.beta = beta
        self.observed = tuple(node for node in prior.names if node in observed)
        self.hidden = tuple(node for node in prior.names if node not in observed)
        self.dag = prior.dag
        self.columns = prior.columns
        self.latents = (*(f"{node}{NOISE}" for node in prior.names), self.code_site)
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
        """Build the story for ``data``, with fresh networks and spline mechanisms.

        Args:
            data: Observations with measured nodes.
            networks: Makes the encoder and the decoder.
            graph: Graph of the nodes, in any form that :func:`~ppl_disentangle.graphs.as_dag`
                takes; by default the graph of the data.
            latent_dim: Number of coordinates of z.
            observed: Names of the measured nodes; by default all nodes of the graph that the data
                have.
            **hyper: Further arguments of the story.

        Raises:
            ValueError: The data lack a node of ``observed``, all nodes, or a graph.
        """
        prior = StructuralPrior(graph_of(cls.__name__, data, graph), MonotoneSpline)
        observed = cls._measured_nodes(data, prior.names, observed)
        dim = sum(prior.dims.values())
        observed_dim = sum(prior.dims[node] for node in observed)
        inferred_dim = dim - observed_dim + latent_dim
        return cls(
            prior,
            Gaussian(networks.encoder(2 * inferred_dim)),
            networks.decoder(dim + latent_dim),
            latent_dim,
            observed=observed,
            **hyper,
        )

    @classmethod
    def _measured_nodes(
        cls, data: FactorDataset, nodes: Sequence[str], observed: Sequence[str] | None
    ) -> list[str]:
        """``observed``, or all nodes that the data have; an error if the data lack one of them."""
        names = data.names if isinstance(data, CausalDataset) else ()
        available = [node for node in nodes if node in names]
        observed = available if observed is None else list(observed)
        if not observed or set(observed) - set(available):
            raise ValueError(
                f"{cls.__name__} needs data whose nodes are measured: of {observed or list(nodes)}"
                f" {data.name} has {available}"
            )
        return observed

    def model(
        self, x: Tensor | None = None, *, batch_size: int = 1, labels: Tensor | None = None
    ) -> Tensor:
        """p(x, v, z).

        Args:
            x: Observations; ``None`` draws them.
            batch_size: Number of observations to draw.
            labels: Values of the nodes, ``(batch, columns)``. Without ``x`` and ``labels`` the
                nodes are drawn too.
        """
        draws_nodes = x is None and labels is None
        with self.data_plate(x, batch_size):
            values = self.prior(observed={} if draws_nodes else self._measured(labels))
            z = pyro.sample(self.code_site, dist.Normal(self.zeros, 1.0).to_event(1))
            likelihood = self.decoder(side_by_side([*values.values(), z]))
            return pyro.sample(self.observation_site, likelihood, obs=x)

    def guide(self, x: Tensor, *, labels: Tensor | None = None) -> None:
        """q(z | x), and posteriors of the nodes that are not measured."""
        posteriors = self.representation(x)
        z = posteriors.pop(self.code_site)
        with self.data_plate(x):
            self.prior.pull_back(posteriors, observed=self._measured(labels))
            pyro.sample(self.code_site, z)

    def representation(self, x: Tensor, **conditions: Any) -> dict[str, TorchDistribution]:
        """q of each node that is not measured, and q(z | x)."""
        check_conditions(self, conditions)
        dims = {node: self.prior.dims[node] for node in self.hidden}
        return normals_by_name(self.encoder(x), dims | {self.code_site: len(self.zeros)})

    def latent_means(
        self, x: Tensor, *, labels: Tensor | None = None, **conditions: Any
    ) -> dict[str, Tensor]:
        """The posterior mean of z, and the noise of all nodes.

        The noise gives measured nodes their values, and other nodes their posterior means.
        """
        means = {name: q.mean for name, q in self.representation(x, **conditions).items()}
        z = means.pop(self.code_site)
        noise = self.prior.noise_of(means | self._measured(labels))
        return {f"{node}{NOISE}": value for node, value in noise.items()} | {self.code_site: z}

    def log_prob(self, values: Tensor) -> Tensor:
        """log p(node | parents) in nats, ``(…, nodes)``, for values ``(…, columns)``."""
        by_node = self.prior.split(values)
        log_probs = []
        for node, mechanism in self.prior.named_mechanisms():
            conditional = mechanism.conditional(self.prior.parents_of(node, by_node))
            log_probs.append(conditional.log_prob(by_node[node]))
        return torch.stack(log_probs, -1)

    def _measured(self, labels: Tensor | None) -> dict[str, Tensor]:
        """The values of the measured nodes, by name, from labels of shape ``(batch, columns)``."""
        if not self.observed:
            return {}
        columns = list(self.prior.columns)
        if labels is None:
            raise ValueError(
                f"expected labels, the values of {columns}, with each datum:"
                " fit to with_conditions(data, labels=…)"
            )
        by_node = self.prior.split(check_labels(labels, self.prior.columns))
        measured = {node: by_node[node] for node in self.observed}
        # reads the values, which would wait for the device: only under validation
        if is_validation_enabled():
            self._check_values(measured)
        return measured

    def _check_values(self, measured: dict[str, Tensor]) -> None:
        for node, value in measured.items():
            if value.isnan().any():
                raise ValueError(
                    f"labels of node {node!r}: expected a number for each datum, got NaN"
                )
            self.prior.mechanism_of(node).check(node, value)

    def check_intervention(self, name: str, value: Tensor) -> None:
        """Raise a ValueError if the node ``name`` cannot take ``value``."""
        if name in self.prior.names:
            self.prior.mechanism_of(name).check(name, value)

    def objective(self) -> BetaELBO:
        """The bound with the divergence of the latents weighted by beta."""
        return BetaELBO(self.beta)


class RescaledMechanism(InvertibleMechanism):
    r"""A mechanism followed by a fixed transform to the scale of a node, such as millimetres.

    .. math:: z = t(f(\varepsilon; \text{parents}))

    Args:
        mechanism: The mechanism f.
        transform: The transform t of each coordinate, one-to-one and onto the values that the node
            can take.

    Example:
        >>> from ppl_disentangle.causal.mechanisms import LocationScale
        >>> from torch.distributions.transforms import AffineTransform, SigmoidTransform
        >>> to_grey = ComposeTransform([SigmoidTransform(), AffineTransform(0.0, 255.0)])
        >>> grey = RescaledMechanism(LocationScale(1, 1), to_grey)
        >>> grey(torch.zeros(5, 1), torch.randn(5, 1)).shape
        torch.Size([5, 1])
    """

    def __init__(self, mechanism: InvertibleMechanism, transform: Transform) -> None:
        super().__init__(mechanism.dim, mechanism.parent_dim)
        self.mechanism = mechanism
        self.rescaling = transform

    def transform(self, parents: Tensor) -> Transform:
        """The transform from noise to value, given the values of the parents."""
        return ComposeTransform([self.mechanism.transform(parents), self.rescaling])

    def check(self, name: str, value: Tensor) -> None:
        """Refuse values outside of the range of the transform."""
        if not torch.isclose(self.rescaling(self.rescaling.inv(value)), value).all():
            raise ValueError(
                f"node {name!r}: expected values that it can have, got {value.tolist()}"
            )
